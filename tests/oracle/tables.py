"""Whether tables hold the same rows, seen in one snapshot while others write."""

from __future__ import annotations

from typing import NamedTuple

import psycopg

from session import identifier, quoted, rows, scalar
from shapes import CHILDREN, TWIN, TWIN_CHILDREN, Shape


class Source(NamedTuple):
    """Where the rows of a shape are, and how each of its columns is read there."""
    relation: str
    columns: list[str]


def sources(connection: psycopg.Connection, shape: Shape, shadow: str | None) -> dict[str, Source]:
    """The table, its twin and, if it must be equal by now, the shadow."""
    exposed = rows(connection, "select exposed from encrypt.migrations where %s in (live::text, exposed::text)"
                               " order by migration_id desc limit 1", [plain_name(connection, shape.table)])
    found = {"table": Source(exposed[0][0] if exposed and exposed[0][0] else shape.table, shape.all), "twin": Source(TWIN, shape.all)}
    if shadow is not None:
        opened = encrypted_columns(connection, shadow)
        found["shadow"] = Source(shadow, [opened[name].opened if name in opened else name for name in shape.all])
    return found


class Encrypted(NamedTuple):
    """What an application that calls the functions has to know of a column."""
    value: str
    index: str | None
    context: str
    type: str

    @property
    def opened(self) -> str:
        # To the type without a length, to which values are sealed, and then to the column's own.
        bare = self.type.split("(")[0]
        return f"cast(encrypt.decrypt_as({self.value}, null::{bare}, {quoted(self.context)}) as {self.type})"

    def sealed(self, value: str | None) -> dict[str, str]:
        """What its columns are set to."""
        plain = f"cast({quoted(value)} as {self.type})"
        as_sealed = f"{plain}::text" if self.type.startswith("character varying") else plain
        made = {self.value: f"encrypt.encrypt_column({as_sealed}, 'default', {quoted(self.context)})"}
        if self.index is not None:
            made[self.index] = f"encrypt.blind_index({plain}::text, 'default', {quoted(self.context)}, 'exact')"
        return made


def encrypted_columns(connection: psycopg.Connection, relation: str) -> dict[str, Encrypted]:
    """Columns of an encrypted table whose values the functions read, by the quoted names that they had."""
    found = rows(connection, "select c.column_name, quote_ident(c.value_column), quote_ident(c.index_column), c.context,"
                             " c.plain_type from encrypt.migration_columns c join encrypt.migrations m using (migration_id)"
                             " join encrypt.migration_relations r using (migration_id)"
                             " where c.context is not null and r.encrypted = %s::regclass and m.ended_at is null", [relation])
    return {identifier(name): Encrypted(*rest) for name, *rest in found}


def plain_name(connection: psycopg.Connection, relation: str) -> str | None:
    return scalar(connection, "select to_regclass(%s)::text", [relation])


def differences(connection: psycopg.Connection, shape: Shape, shadow: str | None) -> list[str]:
    """Compares table, twin and, if it must be equal by now, the shadow."""
    tables = sources(connection, shape, shadow)
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        # TRUNCATE is not transactional for older snapshots: the lock comes before the snapshot.
        connection.execute(f"lock table {', '.join(table.relation for table in tables.values())} in access share mode")
        problems = children_problems(connection, shape)
        found = {name: rows(connection, f"select {', '.join(table.columns)} from {table.relation}") for name, table in tables.items()}
    at = shape.all.index("tag")
    wanted = {row[at]: row for row in found["twin"]}
    for name, content in found.items():
        if len({row[at] for row in content}) != len(content):
            problems.append(f"{name}: tags more than once")
        content_by_tag = {row[at]: row for row in content}
        for tag in sorted(wanted.keys() | content_by_tag.keys(), key=int):
            have, want = content_by_tag.get(tag), wanted.get(tag)
            if have != want:
                problems.append(f"{name}: row {tag} {difference(shape.all, have, want)}")
    if problems:
        problems.insert(0, f"{len(wanted)} rows in the twin; {shape.describe()}")
    return problems


def children_problems(connection: psycopg.Connection, shape: Shape) -> list[str]:
    """Rows that refer to the table by its key refer to the row with their tag, and are those that refer to the twin."""
    if not shape.has_children:
        return []
    same_key = " and ".join(f"c.{key.quoted} = t.{key.quoted}" for key in shape.keys)
    astray = rows(connection, f"select c.child, c.tag, t.tag from {CHILDREN} c left join {shape.table} t on {same_key}"
                              " where t.tag is distinct from c.tag limit 5")
    others = rows(connection, f"select c.child, c.tag, w.child, w.tag from {CHILDREN} c full join {TWIN_CHILDREN} w using (child)"
                              " where c.tag is distinct from w.tag limit 5")
    return [f"child {row} refers to another row" for row in astray] + [f"child {row} is not that of the twin" for row in others]


def difference(names: list[str], have: tuple | None, want: tuple | None) -> str:
    if have is None:
        return f"is missing: {str(want)[:300]}"
    if want is None:
        return f"should not be there: {str(have)[:300]}"
    return "differs: " + ", ".join(f"{name} is {str(h)[:100]!r} and should be {str(w)[:100]!r}"
                                   for name, h, w in zip(names, have, want) if h != w)


def search_problems(connection: psycopg.Connection, shape: Shape) -> list[str]:
    """Values that an index scan on the encrypted column does not find. While nobody writes."""
    problems = []
    with connection.transaction():
        connection.execute("set local enable_seqscan = off")
        for column in shape.migrated:
            if not column.searchable:
                continue
            for value, count in rows(connection, f"select {column.quoted}, count(*) from {TWIN}"
                                                 f" where {column.quoted} is not null group by 1 limit 30"):
                found = scalar(connection, f"select count(*) from {shape.table} where {column.quoted} = %s", [value])
                if found != count:
                    problems.append(f"{column.name} = {value[:100]!r} finds {found} of {count} rows")
    return problems
