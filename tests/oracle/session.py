"""Connections that see every value as the text that the server prints, and what their errors mean."""

import psycopg
from psycopg.types.string import TextLoader

# A statement of the application that waits longer than this is a failure, whoever it waits for.
STATEMENT_TIMEOUT = "20s"

RETRY = {"40001", "40P01"}
"""What a client must expect of any concurrent writers: try again."""

LOST = {"57P01", "57P02", "57P03", "08000", "08003", "08006", "53300"}
"""The session ended, or could not begin, because somebody ended it or the server is recovering."""


def connect(role: str | None = None, **settings: str) -> psycopg.Connection:
    """A session outside a transaction: autocommit is on, transactions begin with an explicit BEGIN."""
    connection = psycopg.connect("", autocommit=True, options="-c client_min_messages=warning -c pg_encrypt.reveal=on")
    # Python's numbers and times don't have all of PostgreSQL's; texts are compared as they are.
    for oid in {info.oid for info in psycopg.adapters.types}:
        connection.adapters.register_loader(oid, TextLoader)
    connection.prepare_threshold = None
    if role is not None:
        connection.execute(f"set session authorization {role}")
    for name, value in settings.items():
        connection.execute("select set_config(%s, %s, false)", (name, value))
    return connection


def is_lost(error: Exception) -> bool:
    """Whether the session is gone, and not the statement wrong."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is not None:
        return error.sqlstate in LOST
    return isinstance(error, psycopg.OperationalError)


def is_retry(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate in RETRY


def rows(connection: psycopg.Connection, query: str, parameters=None) -> list[tuple]:
    return connection.execute(query, parameters).fetchall()


def scalar(connection: psycopg.Connection, query: str, parameters=None):
    found = connection.execute(query, parameters).fetchone()
    return None if found is None else found[0]


def quoted(text: str | None) -> str:
    """An SQL literal."""
    if text is None:
        return "null"
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def ensure_role(connection: psycopg.Connection, name: str) -> None:
    """Roles belong to the server, which another oracle may have used before."""
    if not rows(connection, "select from pg_roles where rolname = %s", (name,)):
        connection.execute(f"create role {name}")
