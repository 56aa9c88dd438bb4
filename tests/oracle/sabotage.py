"""Guards of the extension, taken away one at a time to see the oracle notice. Only ever in a throwaway server.

Each is what a mistake in the extension would amount to, for instance a trigger that was forgotten or a race that was not
thought of.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import psycopg

from shapes import KEYS, Column, Shape


@dataclass(frozen=True)
class Sabotage:
    oracle: str
    statement: str
    """Breaks the guard: in a database without tables yet, or after each step."""
    phase: str = ""
    """After which phase; none: once, at the beginning."""
    turn: str = "backfilled"
    """Phase up to which it goes before it is rolled back and begins again."""
    expose: str = "type"
    kinds: tuple[str, ...] | None = None
    """Kinds of statements, where others would give away something else that is broken with it."""
    batch_rows: int | None = None
    """Rows of a batch of the backfill, where it is about rows that move from block to block between batches."""


def _returning(function: str, arguments: str, result: str, body: str) -> str:
    return f"create or replace function {function}({arguments}) returns {result} language sql as {body!r}"


_NOTHING = "s.statements := '{}'; s.replacing := '{}'; s.direct := '{}'; s.bulk := '{}';"


def _dual_write(condition: str, change: str = _NOTHING) -> str:
    """What triggers run, changed where it is generated: changed where it is kept, the extension itself would notice."""
    return f"""
        alter function encrypt._sync_statements(integer, encrypt._relation_name[]) rename to _whole_sync_statements;
        create function encrypt._sync_statements(migration integer, names encrypt._relation_name[] default null) returns setof encrypt.sync_statements language plpgsql as $sabotage$
        declare
            s encrypt.sync_statements;
        begin
            for s in select * from encrypt._whole_sync_statements(migration, names) loop
                if {condition} then
                    {change}
                end if;
                return next s;
            end loop;
        end $sabotage$"""


def _rewritten(function: str, old: str, new: str) -> str:
    return f"""
        do $sabotage$
        declare
            source text := pg_get_functiondef('{function}'::regprocedure);
        begin
            if strpos(source, $old${old}$old$) = 0 then
                raise 'there is nothing to break in {function}';
            end if;
            execute replace(source, $old${old}$old$, $new${new}$new$);
        end $sabotage$"""


def _slow_batches(seconds: float) -> str:
    """Breaks nothing: more can happen between a batch's snapshot and its commit, and from batch to batch."""
    return _rewritten("encrypt._backfill_statement(integer, regclass, regclass, boolean)", "from only %s t where t.ctid",
                      f"from only %s t cross join (select pg_catalog.pg_sleep({seconds})) as slow where t.ctid")


SLOW_BATCHES = _slow_batches(0.7)

CONTROLS = {"slow-batches": Sabotage("migration", SLOW_BATCHES)}
"""Nothing is broken: the oracle must find nothing."""

GUARDS = {
    "no-insert": Sabotage("migration", _dual_write("s.event = 'insert'")),
    "no-delete": Sabotage("migration", _dual_write("s.event = 'delete' and s.level = 'statement'")),
    "no-truncate": Sabotage("migration", _dual_write("s.event = 'truncate'")),
    "no-replica": Sabotage("migration", _dual_write("s.level = 'row'")),
    # Keys that rows had before they were changed.
    "no-moves": Sabotage("migration", _dual_write("s.event = 'update'", "s.replacing := s.replacing[2:];")),
    # Rows that are deleted while a batch that has seen them is not committed.
    "no-tombstones": Sabotage("migration", SLOW_BATCHES + ";" + _dual_write("true", """
        s.statements := array(select t from unnest(s.statements) t, encrypt.migrations m
                              where m.migration_id = migration and strpos(t, coalesce(m.tombstones::text, '-')) = 0);
        s.replacing := array(select t from unnest(s.replacing) t, encrypt.migrations m
                             where m.migration_id = migration and strpos(t, coalesce(m.tombstones::text, '-')) = 0);
        s.direct := array(select t from unnest(s.direct) t, encrypt.migrations m
                          where m.migration_id = migration and strpos(t, coalesce(m.tombstones::text, '-')) = 0);
        s.bulk := array(select t from unnest(s.bulk) t, encrypt.migrations m
                        where m.migration_id = migration and strpos(t, coalesce(m.tombstones::text, '-')) = 0);""")),
    # A batch that brings back what a row was before.
    "overwriting-batch": Sabotage("migration", SLOW_BATCHES + ";" + _rewritten(
        "encrypt._backfill_statement(integer, regclass, regclass, boolean)",
        "do nothing '", "do update set mark = excluded.mark, n = excluded.n, email = excluded.email '")),
    # Writes after the cutover that the way back would lose.
    "no-reverse": Sabotage("migration", "update encrypt.sync_statements set statements = '{}', direct = '{}', bulk = '{}' where event = 'update'",
                           "cut_over", "cut_over"),
    # Rows that an update did not change and moved behind the end of what is copied. By statements of one row, as others bring
    # what is missing; and by none that delete, since the triggers know by the same sign that deleted keys are to be recorded.
    "no-copying": Sabotage("migration", _slow_batches(0.02) + ";" + _dual_write(
        "s.event = 'delete' and s.level = 'row'", "s.direct := s.direct[:1];"), kinds=("touch",), batch_rows=40),
    # Rows that are not copied yet when they are changed one by one.
    "no-replacing": Sabotage("migration", _slow_batches(0.02) + ";" + _dual_write("s.level = 'row'", "s.replacing := '{}';"),
                             kinds=("update", "touch"), batch_rows=40),
    # Tokens beside values.
    "no-tokens": Sabotage("migration", _rewritten("encrypt._sync_value(boolean, text, encrypt._sync_column)",
                                                  "WHEN (c).is_index THEN", "WHEN (c).is_index THEN 'null::bytea' WHEN false THEN"),
                          turn="verified", expose="columns"),
    # Two writers that meet in one row of a view.
    "no-row-version": Sabotage("migration", _rewritten("encrypt._write_statements(regclass, name, text)",
                                                       "where %s and %s returning %s', row_is, unchanged, shown)",
                                                       "where %s returning %s', row_is, shown)"),
                               turn="cut_over", expose="view", kinds=("update",)),
    # Transactions that still use the version that was replaced.
    "no-settling": Sabotage("rotation", _returning("encrypt._is_settled", "job integer", "boolean", "select true")),
    # Values that moved while they were looked for.
    "one-round": Sabotage("rotation", _returning("encrypt._holds_values", "relation regclass, key text, key_ids integer[]",
                                                 "boolean", "select false")),
}


def break_guard(sabotage: Sabotage | None, connection: psycopg.Connection, phase: str) -> None:
    if sabotage is not None and sabotage.phase == phase:
        connection.execute(sabotage.statement)


def shape(random: Random, broken: Sabotage) -> Shape:
    """A table whose batches take long enough for a race."""
    columns = (Column("email", "text", True, broken.expose == "columns", True), Column("ssn", "text", True, False, True))
    return Shape("users", (KEYS[0],), columns, None, 600 if broken.batch_rows else random.choice((3000, 5000)),
                 is_wide=broken.batch_rows is not None, expose=broken.expose, kinds=broken.kinds)
