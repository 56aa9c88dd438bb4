"""asyncpg: always prepared, binary wherever it has a codec, text for types that it does not know."""

import asyncio
import datetime

import asyncpg


# -- types
# Columns over text need this for copy_records_to_table only, which is always binary. For a type over something else
# asyncpg would otherwise take and give strings.
async def know_types(connection):
    for name in ("email_enc", "note_enc"):
        if await connection.fetchval("select to_regtype($1) is not null", name):
            await connection.set_type_codec(
                name, encoder=str.encode, decoder=bytes.decode, schema="public", format="binary")
    if await connection.fetchval("select to_regtype('date_enc') is not null"):
        await connection.set_type_codec(
            "date_enc", encoder=str, decoder=datetime.date.fromisoformat, schema="public", format="text")
        await connection.set_type_codec("bigint_enc", encoder=str, decoder=int, schema="public", format="text")
# -- end


async def main():
    connection = await asyncpg.connect()
    # -- text
    upsert = """insert into users (email, note) values ($1, $2)
                on conflict (email) do update set note = excluded.note"""
    await connection.execute(upsert, "bob@example.org", "first")
    await connection.execute(upsert, "bob@example.org", "second")
    found = await connection.fetch("select email, note from users where email = $1", "bob@example.org")
    # -- end
    print([tuple(row) for row in found])
    await connection.executemany(
        "insert into users (email, note) values ($1, $2)", [(f"user{n}@example.org", f"note {n % 3}") for n in range(10)])
    statement = await connection.prepare("select id, email from users where email = $1")
    for n in range(8):
        print(tuple(await statement.fetchrow(f"user{n}@example.org")))
    many = ["user1@example.org", "user2@example.org", "nobody"]
    print([row["email"] for row in await connection.fetch(
        "select email from users where email = any($1::text[]) order by email", many)])
    print([row["email"] for row in await connection.fetch(
        "select email from users where email = any($1) order by email", many)])
    print([row["n"] for row in await connection.fetch("select count(*) n from users group by note order by note")])
    async with connection.transaction():
        print([row["email"] async for row in connection.cursor("select email from users order by email limit 5")])

    await know_types(connection)
    born = datetime.date(2000, 2, 29)
    print(tuple(await connection.fetchrow(
        "insert into users (email, born, visits) values ($1, $2, $3) returning email, born, visits",
        "typed@example.org", born, 7)))
    print(tuple(await connection.fetchrow("select email, born from users where visits = $1", 7)))
    print(await connection.copy_records_to_table(
        "users", columns=["email", "note"], records=[(f"copied{n}@example.org", "note") for n in range(3)]))
    print(await connection.fetchval("select count(*) from users where note = $1", "note"))
    try:
        await connection.execute("insert into users (email) values ($1)", "bob@example.org")
    except asyncpg.UniqueViolationError as error:
        print(error.sqlstate, error.constraint_name)
    await connection.close()


asyncio.run(main())
