"""An application after a cutover to columns of their own: it encrypts and makes tokens by functions, and reads the view."""

from __future__ import annotations

from random import Random

import psycopg

from application import Application, Mismatch, Row
from session import quoted
from shapes import TWIN, Shape
from tables import encrypted_columns, sources


class FunctionCaller:
    """A session that has the table for itself, and changes its twin in the same transactions."""

    def __init__(self, connection: psycopg.Connection, shape: Shape, random: Random):
        numbers = iter(range(10**9, 2 * 10**9))
        self._application = Application(connection, shape, random, lambda: next(numbers))
        self._shape, self._random, self._connection = shape, random, connection
        self._columns = encrypted_columns(connection, shape.table)
        self._view = sources(connection, shape, None)["table"].relation

    def write(self, statements: int) -> int:
        """How many succeeded."""
        done = 0
        for _ in range(statements):
            try:
                with self._connection.transaction():
                    self._random.choice((self._insert, self._update, self._delete))()
                done += 1
            except (psycopg.errors.UniqueViolation, psycopg.errors.ForeignKeyViolation):
                # Of the table's own, as any writer of random rows meets them.
                pass
        return done

    def _insert(self) -> None:
        row = self._application.row(self._application.number())
        written = self._written(row)
        self._execute(f"insert into {self._shape.table} ({', '.join(written)}) {self._shape.overriding}"
                      f" values ({', '.join(written.values())})")
        self._execute(f"insert into {TWIN} ({', '.join(row)}) values ({', '.join(map(quoted, row.values()))})")
        self._compare(str(row["tag"]))

    def _update(self) -> None:
        tag = self._some_tag()
        changes: Row = {"mark": str(self._application.next_number())}
        changes |= {column.quoted: column.value(self._random) for column in self._application.some_columns()}
        for table, written in ((self._shape.table, self._written(changes)), (TWIN, self._plain(changes))):
            assignments = ", ".join(f"{name} = {value}" for name, value in written.items())
            self._execute(f"update {table} set {assignments} where tag = {tag}")
        self._compare(tag)

    def _delete(self) -> None:
        tag = self._some_tag()
        for table in (self._shape.table, TWIN):
            self._execute(f"delete from {table} where tag = {tag}")

    def _some_tag(self) -> str:
        found = self._execute(f"select tag from {TWIN} order by tag offset {self._random.randrange(100)} limit 1")
        return found[0][0] if found else "0"

    def _plain(self, row: Row) -> dict[str, str]:
        return {name: quoted(value) for name, value in row.items()}

    def _written(self, row: Row) -> dict[str, str]:
        written: dict[str, str] = {}
        for name, value in row.items():
            written |= self._columns[name].sealed(value) if name in self._columns else {name: quoted(value)}
        return written

    def _compare(self, tag: str) -> None:
        names = ", ".join(self._shape.all)
        live, twin = (self._execute(f"select {names} from {table} where tag = {tag}") for table in (self._view, TWIN))
        if live != twin:
            raise Mismatch(f"{self._view}: {live}\ntwin: {twin}")

    def _execute(self, text: str) -> list[tuple]:
        # Without parameters, so that % is no sign of one.
        cursor = self._connection.execute(text)
        return cursor.fetchall() if cursor.description else []
