"""Guards of the migration, taken away one at a time to see the oracle notice."""

from __future__ import annotations

from random import Random

import psycopg

from shapes import KEYS, Column, Shape

# Each is what a mistake in the extension would amount to.
GUARDS = {
    "no-delete": "update encrypt.sync_statements set statements = '{}' where event = 'delete' and level = 'statement'",
    "no-truncate": "update encrypt.sync_statements set statements = '{}' where event = 'truncate'",
    "no-replica": "update encrypt.sync_statements set statements = '{}' where level = 'row'",
}


def break_guard(name: str | None, connection: psycopg.Connection) -> None:
    if name is not None:
        connection.execute(GUARDS[name])


def shape(name: str, random: Random) -> Shape:
    """A table that leaves the race enough time: values that take long to encrypt, in few columns."""
    columns = (Column("email", "text", True, False, True), Column("ssn", "text", True, False, True))
    return Shape("users", (KEYS[0],), columns, None, 3000)
