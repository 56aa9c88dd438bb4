"""psycopg 3: text and binary results, prepared statements, pipelines, COPY, server-side cursors."""

import datetime

import psycopg
from psycopg.types.datetime import DateBinaryLoader, DateLoader
from psycopg.types.numeric import Int8BinaryLoader, IntLoader
from psycopg.types.string import TextBinaryLoader, TextLoader

# -- types
# Columns over text need this for binary results only; over other types, to get more than a string.
LOADERS = {
    "email_enc": (TextLoader, TextBinaryLoader),
    "note_enc": (TextLoader, TextBinaryLoader),
    "date_enc": (DateLoader, DateBinaryLoader),
    "bigint_enc": (IntLoader, Int8BinaryLoader),
}


def know_types(connection):
    for name, loaders in LOADERS.items():
        info = psycopg.types.TypeInfo.fetch(connection, name)
        if info:
            info.register(connection)
            for loader in loaders:
                connection.adapters.register_loader(info.oid, loader)
# -- end


def main():
    with psycopg.connect(autocommit=True) as connection:
        texts(connection)
        know_types(connection)
        types(connection)
        copy(connection)


def texts(connection):
    """Nothing is registered: what an application does that knows only text."""
    run = connection.execute
    # -- text
    run("insert into users (email, note) values (%s, %s)", ("bob@example.org", "first"))
    run(
        """insert into users (email, note) values (%s, %s)
           on conflict (email) do update set note = excluded.note""",
        ("bob@example.org", "second"),
    )
    found = run("select email, note from users where email = %s", ("bob@example.org",)).fetchall()
    # -- end
    print(found)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into users (email, note) values (%s, %s) returning email",
            [(f"user{n}@example.org", None if n % 3 == 0 else f"note {n % 4}") for n in range(10)],
            returning=True,
        )
        print([row for result in cursor.results() for row in result.fetchall()])
    # Prepared on the server, then with a generic plan.
    for n in range(8):
        print(run("select id from users where email = %s", (f"user{n}@example.org",), prepare=True).fetchone())
    print(run("select email from users where email = any(%s) order by email",
              (["user1@example.org", "user2@example.org", "nobody"],)).fetchall())
    print(run("select email from users where email in (%s, %s) order by email desc",
              ("user3@example.org", "user4@example.org")).fetchall())
    print(run("select note, count(*) from users group by note order by note").fetchall())
    print(run("select upper(email), note || '!' from users where email like 'user%%' order by email limit 3").fetchall())
    with connection.transaction(), connection.cursor(name="on_server") as cursor:
        cursor.execute("select email from users order by email")
        print(cursor.fetchmany(4))
    with connection.pipeline():
        update = run("update users set note = %s where email = %s returning note", ("piped", "user5@example.org"))
        select = run("select note from users where email = %s", ("user5@example.org",))
    print(update.fetchall(), select.fetchall())
    try:
        run("insert into users (email) values (%s)", ("bob@example.org",))
    except psycopg.errors.UniqueViolation as error:
        print(error.sqlstate, error.diag.constraint_name)


def types(connection):
    born = datetime.date(2000, 2, 29)
    connection.execute("insert into users (email, born, visits) values (%s, %s, %s)", ("typed@example.org", born, 7))
    # -- binary
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute("select email, note, born, visits from users where visits = %b", (7,))
            print(cursor.fetchall())
            cursor.execute("select born, visits from users where born = %b", (born,))
            print(cursor.fetchall())
            cursor.execute("select email from users where email = %b", ("typed@example.org",))
            print(cursor.fetchall())
    # -- end


def copy(connection):
    with connection.cursor() as cursor:
        with cursor.copy("copy users (email, note, born) from stdin") as target:
            for n in range(3):
                target.write_row((f"copied{n}@example.org", "a\tb\\c", datetime.date(1990, 1, n + 1)))
        with cursor.copy("copy users (email, visits) from stdin (format binary)") as target:
            target.set_types(["text", "int8"])
            target.write_row(("binary@example.org", 5_000_000_000))
        with cursor.copy("copy (select email, note, born from users where id > 0 order by email) to stdout") as source:
            print(b"".join(source).decode())
        query = "copy (select email, visits from users where visits is not null order by email) to stdout (format binary)"
        with cursor.copy(query) as source:
            source.set_types(["text", "int8"])
            print(list(source.rows()))


main()
