"""Whether tables hold the same rows, seen in one snapshot while others write."""

from __future__ import annotations

import psycopg

from session import rows, scalar
from shapes import CHILDREN, TWIN, TWIN_CHILDREN, Shape


def differences(connection: psycopg.Connection, shape: Shape, shadow: str | None) -> list[str]:
    """Compares table, twin and, if it must be equal by now, the shadow."""
    tables = {"table": shape.table, "twin": TWIN}
    if shadow is not None:
        tables["shadow"] = shadow
    names = ", ".join(shape.all)
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        # TRUNCATE is not transactional for older snapshots: the lock comes before the snapshot.
        connection.execute(f"lock table {', '.join(tables.values())} in access share mode")
        problems = children_problems(connection, shape)
        found = {name: rows(connection, f"select {names} from {table}") for name, table in tables.items()}
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
