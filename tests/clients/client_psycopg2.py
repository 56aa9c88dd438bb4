"""psycopg2: literals are put into the statement by the client; COPY, execute_values, named cursors."""

import datetime
import io

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras


# -- types
# Columns over text need nothing. Over other types: results are strings unless the type is made known.
def know_types(cursor):
    for name, caster in (("date_enc", psycopg2.extensions.PYDATE), ("bigint_enc", psycopg2.extensions.INTEGER)):
        cursor.execute("select to_regtype(%s)::oid", (name,))
        (oid,) = cursor.fetchone()
        if oid:
            caster = psycopg2.extensions.new_type((oid,), name, caster)
            psycopg2.extensions.register_type(caster, cursor.connection)
# -- end


def main():
    connection = psycopg2.connect("")
    with connection, connection.cursor() as cursor:
        # -- text
        upsert = """insert into users (email, note) values (%s, %s)
                    on conflict (email) do update set note = excluded.note"""
        cursor.execute(upsert, ("bob@example.org", "first"))
        cursor.execute(upsert, ("bob@example.org", "second"))
        cursor.execute("select email, note from users where email = %s", ("bob@example.org",))
        found = cursor.fetchall()
        # -- end
        print(found)
        rows = [(f"user{n}@example.org", f"note {n % 3}", datetime.date(1990, 1, n + 1), n % 4) for n in range(10)]
        print(psycopg2.extras.execute_values(
            cursor, "insert into users (email, note, born, visits) values %s returning id, email", rows, fetch=True))
        cursor.execute("select email from users where email in %s order by email",
                       (("user1@example.org", "user2@example.org"),))
        print(cursor.fetchall())
        cursor.execute("select email from users where email = any(%s) order by email desc",
                       (["user3@example.org", "user4@example.org"],))
        print(cursor.fetchall())
        cursor.execute("select visits, count(*) from users where visits is not null group by visits having count(*) > 1")
        print(len(cursor.fetchall()))
        know_types(cursor)
        cursor.execute("select email, born, visits from users where visits = %s order by email", (1,))
        print(cursor.fetchall())
        cursor.execute("select max(born), min(visits), sum(visits) from users")
        print(cursor.fetchall())
        target = io.StringIO("copied@example.org\t\\N\t1999-12-31\n")
        cursor.copy_expert("copy users (email, note, born) from stdin", target)
        source = io.StringIO()
        cursor.copy_expert("copy (select email, note, born, visits from users order by email) to stdout csv", source)
        print(source.getvalue())
    with connection, connection.cursor("on_server") as cursor:
        cursor.execute("select email from users order by email")
        print(cursor.fetchmany(3))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("update users set email = %s where email = %s", ("user1@example.org", "user2@example.org"))
    except psycopg2.errors.UniqueViolation as error:
        print(error.pgcode, error.diag.constraint_name)
    connection.close()


main()
