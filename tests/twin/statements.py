"""Statements at random. Every result has one order, and none depends on which of several equal values came first."""

from random import Random

from schema import BY_NAME, COLUMNS, UNIQUE
from values import SEARCHABLE, Statement, displayed, equal_columns, quoted

NAMES = tuple(column.name for column in COLUMNS)
# Two documents that are equal can print differently, and how they sort among themselves is open.
GROUPED = tuple(name for name in NAMES if name not in ("doc",))


def row_text(random: Random, k: int) -> str:
    """A new row's values as literals."""
    values = ["null" if random.random() < 0.1 else quoted(random.choice(c.values)) for c in COLUMNS]
    return f"{k}, {random.randint(0, 4)}, {', '.join(values)}"


# ---- reads ----------------------------------------------------------------------------------------------

def select(s: Statement) -> str:
    names = ", ".join(s.random.sample(NAMES, 3))
    return f"select k, {names} from t where {s.condition('t')} order by k"


def ordered(s: Statement) -> str:
    name = s.random.choice(GROUPED)
    direction = s.random.choice(("", " desc", " nulls first", " desc nulls last"))
    collation = ' collate "C"' if BY_NAME[name].is_text and name != "nick" and s.random.random() < 0.4 else ""
    return (f"select k, {name} from t where {s.condition('t', 1)}"
            f" order by {name}{collation}{direction}, k limit {s.integer(0, 30)} offset {s.integer(0, 3)}")


def join(s: Statement) -> str:
    left, right = s.random.choice(equal_columns())
    kind = s.random.choice(("join", "left join", "right join", "full join"))
    where = f"where {s.condition('t', 1)}" if s.random.random() < 0.5 else ""
    return (f"select t.k, o.k, t.{left}, o.{right} from t {kind} o on t.{left} = o.{right} {where}"
            f" order by t.k nulls last, o.k nulls last")


def join_plain(s: Statement) -> str:
    """An encrypted column with a plain one."""
    column = s.random.choice([c for c in COLUMNS if c.name not in ("nick", "flag")])
    values = ", ".join(f"({quoted(v)}::{column.base})" for v in s.random.sample(column.values, 3))
    if s.random.random() < 0.4:
        return (f"select k from t where {column.name} {s.random.choice(('in', 'not in', '= any'))}"
                f" (select x from (values {values}) v (x)) order by k")
    condition = s.random.choice((f"t.{column.name} = v.x", f"v.x = t.{column.name}"))
    kind = s.random.choice(("join", "left join"))
    return f"select t.k, v.x from t {kind} (values {values}) v (x) on {condition} order by t.k, v.x::text"


def semi_join(s: Statement) -> str:
    left, right = s.random.choice(equal_columns())
    return "select k from t where " + s.random.choice((
        lambda: f"{left} in (select {right} from o where {s.condition('o', 1)})",
        lambda: f"{left} not in (select {right} from o where {right} is not null and {s.condition('o', 1)})",
        lambda: f"exists (select from o where o.{right} = t.{left} and {s.condition('o', 1)})",
        lambda: f"not exists (select from o where o.{right} = t.{left} and {s.condition('o', 1)})",
        lambda: f"{left} = (select {right} from o where {s.condition('o', 1)} order by k limit 1)",
        lambda: f"{left} = any (select {right} from o where {s.condition('o', 1)})",
        lambda: f"({left}, grp) in (select {right}, grp from o)",
    ))() + " order by k"


def group(s: Statement) -> str:
    name, other = s.random.sample(GROUPED, 2)
    shown = displayed(name, name)
    total = s.random.choice(("count(*)", f"count(distinct {other})", "sum(h4)", "min(n8)", "max(note)", "min(born)",
                             "max(seen)", "trim_scale(sum(price))", "bool_or(flag)", "string_agg(note, ',' order by k)",
                             "array_agg(u order by k)", "count(*) filter (where flag)", "array_agg(n4 order by k)",
                             f"array_agg(distinct h4)"))
    having = f" having count(*) > {s.integer(0, 2)}" if s.random.random() < 0.3 else ""
    by = s.random.choice((name, name, f"rollup ({name})", f"grouping sets (({name}), ())"))
    return (f"select {shown} as shown, grouping({name}), {total} from t where {s.condition('t', 1)}"
            f" group by {by}{having} order by 2, {name} nulls last, 1, 3")


def aggregate(s: Statement) -> str:
    name = s.random.choice(GROUPED)
    return (f"select count({name}), count(distinct {name}), min(n8), max(n4), sum(n8), trim_scale(max(amount)), min(name),"
            f" max(alias), trim_scale(min(price)), max(born), min(seen), bool_and(flag) from t where {s.condition('t')}")


def window(s: Statement) -> str:
    by, order = s.random.sample(GROUPED, 2)
    call = s.random.choice(("row_number()", f"lag({by})", "first_value(k)", "count(*)", f"last_value({by})"))
    if "value" in call or "lag" in call:
        call = call.replace(f"({by})", "(note)")
    return (f"select k, {call} over (partition by {by} order by {order}, k), rank() over (order by {order})"
            f" from t where {s.condition('t', 1)} order by k")


def distinct(s: Statement) -> str:
    name = s.random.choice(GROUPED)
    if s.random.random() < 0.5:
        return f"select distinct on ({name}) k, grp, {name} from t where {s.condition('t', 1)} order by {name}, k"
    shown = displayed("x", name)
    return f"select {shown} from (select distinct {name} as x from t where {s.condition('t', 1)}) d order by x"


def set_operation(s: Statement) -> str:
    left, right = s.random.choice([pair for pair in equal_columns() if pair[0] != "doc"])
    operation = s.random.choice(("union", "union all", "intersect", "intersect all", "except", "except all"))
    shown = displayed("x", left)
    return (f"select {shown} from (select {left} as x from t where {s.condition('t', 1)} {operation}"
            f" select {right} from o where {s.condition('o', 1)}) q order by x, 1")


def nested(s: Statement) -> str:
    name = s.random.choice(NAMES)
    return s.random.choice((
        lambda: f"with w as materialized (select k, {name} from t where {s.condition('t', 1)}) select * from w order by k",
        lambda: f"select k, (select count(*) from o where o.{name} = t.{name}) from t where {s.condition('t', 1)} order by k",
        lambda: f"select t.k, l.k from t, lateral (select k from o where o.{name} = t.{name} order by k limit 1) l order by 1",
        lambda: f"select k, case when {s.condition('t', 0)} then {name} end from t order by k",
        lambda: f"select k, coalesce({name}, {s.unknown(BY_NAME[name])}), nullif({name}, {s.unknown(BY_NAME[name])}) from t order by k",
        lambda: f"select k, {name} from (select * from t union all select * from o) q where k < {s.integer(0, 60)} order by k, grp, n4, h4, 2",
        lambda: f"select k, array[{name}, {name}] from t where {s.condition('t', 1)} order by k",
        lambda: f"select greatest(n8, n8), least(name, alias), k from t where {s.condition('t', 1)} order by k",
        lambda: f"select k, t.name || '/' || t.note, upper(note), n8::text, amount + 1, n4 / 2 from t where n4 < 100 order by k",
    ))()


def loop(s: Statement) -> str:
    """plpgsql: row types, variables of the column's type, and statements with variables as parameters."""
    column = s.random.choice(SEARCHABLE)
    declared = s.random.choice((f"t.{column.name}%type", column.base))
    if column.name == "nick":
        declared = "t.nick%type"
    return f"""do $do$
declare
    wanted {declared} := {quoted(s.random.choice(column.values))};
    found t%rowtype;
    total text := '';
begin
    for found in select * from t where {column.name} = wanted order by k loop
        total := total || found.k || ':' || coalesce(found.{column.name}::text, '-') || ',';
        if found.{column.name} <> wanted then
            raise exception 'differs';
        end if;
    end loop;
    perform set_config('twin.result', total, false);
end
$do$"""


# ---- writes ---------------------------------------------------------------------------------------------

def returning(statement: str) -> str:
    """Rows of RETURNING come in the order of the plan."""
    return f"with changed as ({statement} returning *) select * from changed order by k"


def row(s: Statement) -> str:
    values = ", ".join(s.value(c, nulls=True) for c in COLUMNS)
    return f"{s.integer(0, 150)}, {s.integer(0, 4)}, {values}"


def insert(s: Statement) -> str:
    return returning(f"insert into t values ({row(s)})")


def upsert(s: Statement) -> str:
    target = s.random.choice(("(name, grp)", "(n8, grp)", "(k)", ""))
    name = s.random.choice(NAMES)
    action = f"do update set {name} = excluded.{name}, note = t.note || '+'"
    if not target or s.random.random() < 0.3:
        action = "do nothing"
    elif s.random.random() < 0.3:
        action += f" where t.{name} is distinct from excluded.{name}"
    return returning(f"insert into t values ({row(s)}) on conflict {target} {action}")


def insert_select(s: Statement) -> str:
    return returning("insert into t select k + 200, grp, {0} from o where {1} order by k on conflict do nothing".format(
        ", ".join(NAMES), s.condition("o", 1)))


def update(s: Statement) -> str:
    column = s.random.choice(COLUMNS)
    if s.random.random() < 0.25:
        # From one security domain to another only by way of the base type.
        return returning(f"update t set alias = name, h4 = n4::integer, note = lower(note) where {s.condition('t')}")
    new = s.value(column, nulls=True) if s.random.random() < 0.7 else column.name
    return returning(f"update t set {column.name} = {new} where {s.condition('t')}")


def update_from(s: Statement) -> str:
    # Which row of a unique index comes first could decide whether the statement fails.
    name = s.random.choice([name for name in NAMES if name not in UNIQUE])
    return (f"with changed as (update t set {name} = o.{name} from o where o.k = t.k and {s.condition('o', 1)} returning t.k, t.{name})"
            " select * from changed order by k")


def delete(s: Statement) -> str:
    return returning(f"delete from t where {s.condition('t')} and k % 7 = {s.integer(0, 6)}")


def merge(s: Statement) -> str:
    return (f"merge into t using (select distinct on (name, grp) * from o where {s.condition('o', 1)} order by name, grp, k) s"
            " on t.name = s.name and t.grp = s.grp"
            f" when matched and {s.condition('t', 0)} then update set note = s.note, u = s.u"
            f" when matched and {s.condition('t', 0)} then delete"
            f" when not matched then insert (k, grp, name, n4, nick) values (s.k + 400, s.grp, s.name, s.n4, s.nick)")


READS = (select,) * 4 + (ordered,) * 2 + (join,) * 2 + (
    join_plain, semi_join, semi_join, group, group, aggregate, window, distinct, set_operation, nested, nested, loop)
WRITES = (insert, upsert, upsert, insert_select, update, update_from, delete, merge)


def kind(random: Random):
    """What the next statement is about: the function that writes it."""
    return random.choice(READS) if random.random() < 0.8 else random.choice(WRITES)


def can_be_prepared(generator) -> bool:
    return generator is not loop


def is_write(generator) -> bool:
    return generator in WRITES
