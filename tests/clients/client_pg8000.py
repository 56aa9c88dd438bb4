"""pg8000: pure Python, parameters of no declared type, text results."""

import datetime
import os

import pg8000.dbapi


# -- types
# Columns over text need nothing. Over other types: results are strings unless the type is made known.
def know_types(connection, cursor):
    for name, reader in (("date_enc", datetime.date.fromisoformat), ("bigint_enc", int)):
        cursor.execute("select to_regtype(%s)::oid", (name,))
        (oid,) = cursor.fetchone()
        if oid:
            connection.register_in_adapter(oid, reader)
# -- end


def main():
    connection = pg8000.dbapi.connect(
        user=os.environ["PGUSER"], database=os.environ["PGDATABASE"],
        unix_sock=f"{os.environ['PGHOST']}/.s.PGSQL.{os.environ['PGPORT']}")
    connection.autocommit = True
    cursor = connection.cursor()
    # -- text
    upsert = """insert into users (email, note) values (%s, %s)
                on conflict (email) do update set note = excluded.note"""
    cursor.execute(upsert, ("bob@example.org", "first"))
    cursor.execute(upsert, ("bob@example.org", "second"))
    cursor.execute("select email, note from users where email = %s", ("bob@example.org",))
    found = cursor.fetchall()
    # -- end
    print(found)
    cursor.executemany("insert into users (email, note) values (%s, %s)",
                       [(f"user{n}@example.org", f"note {n % 3}") for n in range(10)])
    cursor.execute("select email from users where email = any(%s) order by email",
                   (["user1@example.org", "user2@example.org", "nobody"],))
    print(cursor.fetchall())
    cursor.execute("select note, count(*) from users group by note order by note")
    print(cursor.fetchall())
    know_types(connection, cursor)
    cursor.execute("insert into users (email, born, visits) values (%s, %s, %s) returning email, born, visits",
                   ("typed@example.org", datetime.date(2000, 2, 29), 7))
    print(cursor.fetchall())
    cursor.execute("select email, born from users where visits = %s", (7,))
    print(cursor.fetchall())
    cursor.execute("copy (select email, born, visits from users order by email) to stdout", stream=(stream := Lines()))
    print(stream.text())
    try:
        cursor.execute("insert into users (email) values (%s)", ("bob@example.org",))
    except pg8000.dbapi.DatabaseError as error:
        print(error.args[0]["C"], error.args[0]["n"])
    connection.close()


class Lines:
    """Where COPY TO goes."""

    def __init__(self):
        self.chunks = []

    def write(self, chunk):
        self.chunks.append(bytes(chunk))

    def text(self):
        return b"".join(self.chunks).decode()


main()
