"""One session of the application: runs a statement on the table, then on the rows that it changed of the twin."""

from __future__ import annotations

from random import Random
from typing import Callable

import psycopg

from session import quoted
from shapes import TWIN, Column, Shape

Row = dict[str, str | None]
"""Values of a row's written columns by quoted name."""


class Mismatch(Exception):
    """The table and its twin answered differently."""


class Query:
    """SQL text whose values are parameters or literals."""

    def __init__(self, random: Random | None = None):
        self.parameters: list = []
        self._literals = random is None or random.random() < 0.5

    def value(self, text: str | None) -> str:
        if self._literals:
            return escaped(quoted(text))
        self.parameters.append(text)
        return "%s"


def escaped(text: str) -> str:
    """% is the driver's sign of a parameter."""
    return text.replace("%", "%%")


class Application:
    def __init__(self, connection: psycopg.Connection, shape: Shape, random: Random, next_number: Callable[[], int]):
        self.connection = connection
        self.pid = connection.info.backend_pid
        self.shape = shape
        self.random = random
        self.next_number = next_number
        self.last = ""
        self.returning = f"returning {', '.join(shape.all)}"

    # ---- running -------------------------------------------------------------------------------------------

    def execute(self, text: str, parameters: list | None = None) -> list[tuple]:
        self.last = text if len(text) < 3000 else text[:3000] + "…"
        prepare = bool(parameters) and self.random.random() < 0.3
        cursor = self.connection.execute(text, parameters or [], prepare=prepare)
        return cursor.fetchall() if cursor.description else []

    def compare(self, live: list[tuple], twin: list[tuple]) -> None:
        if sorted(live, key=str) != sorted(twin, key=str):
            only_live = [row for row in live if row not in twin]
            only_twin = [row for row in twin if row not in live]
            raise Mismatch(f"{self.last}\ntable: {shortened(only_live)}\ntwin:  {shortened(only_twin)}")

    # ---- values --------------------------------------------------------------------------------------------

    def number(self) -> int:
        """Which row: some are hot, and some are not there."""
        if self.random.random() < 0.25:
            return self.random.randrange(6)
        return self.random.randrange(self.shape.rows * 5 // 4)

    def numbers(self, most: int) -> list[int]:
        return list({self.number() for _ in range(self.random.randint(1, most))})

    def row(self, number: int) -> Row:
        row: Row = {key.quoted: value for key, value in zip(self.shape.keys, self.shape.key_value(number))}
        row |= {"tag": str(self.next_number()), "mark": str(self.next_number()), "n": str(self.random.randrange(1000))}
        return row | {column.quoted: column.value(self.random) for column in self.shape.columns}

    def rows(self, numbers: list[int]) -> dict[str, Row]:
        """By their marks."""
        return {row["mark"]: row for row in map(self.row, numbers)}  # type: ignore[misc]

    def render(self, query: Query, row: Row, casts: bool = False) -> list[str]:
        if not casts:
            return [query.value(value) for value in row.values()]
        types = self.shape.types
        return [f"cast({query.value(value)} as {types[name]})" for name, value in row.items()]

    def value_lists(self, query: Query, rows: list[Row], casts: bool = False) -> str:
        return ", ".join(f"({', '.join(self.render(query, row, casts))})" for row in rows)

    def key_is(self, query: Query, number: int, alias: str = "") -> str:
        return "(" + " and ".join(f"{alias}{key.quoted} = {query.value(value)}" for key, value in
                                  zip(self.shape.keys, self.shape.key_value(number))) + ")"

    def condition(self, query: Query, few: bool = False) -> str:
        """few: for deletions, which would leave nothing to work on."""
        choice = self.random.random() * (0.75 if few else 1)
        if choice < 0.5:
            return self.key_is(query, self.number())
        if choice < 0.75:
            return " or ".join(self.key_is(query, number) for number in self.numbers(8))
        if choice < 0.88:
            low = self.random.randrange(1000)
            return f"n between {low} and {low + self.random.randrange(20)}"
        if choice < 0.91:
            return f"n %% 11 = {self.random.randrange(11)}"
        column = self.random.choice(self.shape.columns)
        value = column.value(self.random)
        return f"{column.quoted} is null" if value is None else f"{column.quoted} = {query.value(value)}"

    def some_columns(self) -> list[Column]:
        columns = self.shape.columns
        return self.random.sample(columns, self.random.randint(0, len(columns)))

    def assignments(self, query: Query) -> str:
        chosen = [f"mark = {self.next_number()}"]
        if self.random.random() < 0.4:
            chosen.append(self.random.choice(("n = n + 1", "n = null", f"n = {self.random.randrange(1000)}")))
        chosen += [f"{column.quoted} = {self._assigned(query, column)}" for column in self.some_columns()]
        return ", ".join(chosen)

    def _assigned(self, query: Query, column: Column) -> str:
        choice = self.random.random()
        if column.is_bound and choice < 0.7:
            return self.random.choice(("null", column.quoted))
        if choice < 0.1:
            return column.quoted
        if choice < 0.2:
            others = [c for c in self.shape.columns if self._fits(c, column)]
            return self.random.choice(others).quoted
        if choice < 0.25 and (column.nullable or column.default is not None):
            return "default"
        if choice < 0.35 and column.type == "text":
            return f"left({column.quoted} || '+', {column.longest})"
        return query.value(column.value(self.random))

    @staticmethod
    def _fits(source: Column, target: Column) -> bool:
        if target.is_bound and source != target:
            return False
        # Between encrypted types PostgreSQL converts by itself only to types of strings (docs/limits.md).
        if source.migrated and target.migrated and source != target and source.type != "text":
            return False
        return (source.type == target.type and (target.nullable or not source.nullable)
                and source.longest <= target.longest)

    # ---- the twin ------------------------------------------------------------------------------------------

    def tags(self, live: list[tuple]) -> str:
        tag_at = self.shape.all.index("tag")
        return "{" + ",".join(str(row[tag_at]) for row in live) + "}"

    def find_marked(self, marks: list[str]) -> list[tuple]:
        return self.execute(f"select {', '.join(self.shape.all)} from {self.shape.table} where mark in ({', '.join(marks)})")

    def write_twins(self, live: list[tuple], sources: dict[str, Row], changes: str) -> None:
        """Rows that were inserted from `sources`, or where there was one with the key, changed. Their mark says which."""
        tag_at, mark_at = self.shape.all.index("tag"), self.shape.all.index("mark")
        twin = []
        for found in live:
            row = sources[found[mark_at]] | {"tag": found[tag_at]}
            values = self.value_lists(Query(), [row])
            twin += self.execute(f"insert into {TWIN} as t ({', '.join(row)}) values {values}"
                                 f" on conflict (tag) do update set {changes} {self.returning}")
        self.compare(live, twin)

    def update_twins(self, live: list[tuple], changes: str, parameters: list | None = None) -> None:
        if live:
            twin = self.execute(f"update {TWIN} set {changes} where tag = any ('{self.tags(live)}') {self.returning}", parameters)
            self.compare(live, twin)

    def delete_twins(self, tags: list[str]) -> None:
        if tags:
            self.execute(f"delete from {TWIN} where tag in ({', '.join(tags)})")


def shortened(rows: list[tuple]) -> str:
    text = str(rows[:3])
    return text if len(text) < 1500 else text[:1500] + "…"
