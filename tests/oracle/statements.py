"""The kinds of statements that an application runs.

A statement reports its rows by RETURNING where it can, and otherwise by the number that it leaves in `mark`. What the
table answers must be what the twin answers.
"""

from random import Random
from typing import Callable

import psycopg

from application import Application, Mismatch, Query, Row, escaped
from session import quoted
from shapes import CHILDREN, PARENTS, PARENTS_AT_FIRST, TWIN, TWIN_CHILDREN, Shape


class UnexpectedDuplicate(Exception):
    """A key that the server made itself was there already."""


def insert(a: Application) -> None:
    insert_rows(a, [a.row(a.number())])


def insert_many(a: Application) -> None:
    insert_rows(a, [a.row(number) for number in a.numbers(a.random.choice((3, 20, 60)))])


def insert_rows(a: Application, rows: list[Row]) -> None:
    query = Query(a.random)
    text = f"({', '.join(rows[0])}) {a.shape.overriding} values {a.value_lists(query, rows)} {a.returning}"
    live = a.execute(f"insert into {a.shape.table} {text}", query.parameters)
    a.compare(live, a.execute(f"insert into {TWIN} {text}", query.parameters))


def insert_defaults(a: Application) -> None:
    """Leaves out what has a default. An identity column gets its value from the sequence, also after it moved."""
    row = a.row(a.number())
    identity = [key.quoted for key in a.shape.keys if "identity" in key.definition]
    optional = [c.quoted for c in a.shape.columns if c.nullable or c.default is not None]
    for name in a.random.sample(optional, a.random.randint(0, len(optional))) + identity:
        del row[name]

    def insertion(table: str) -> list[tuple]:
        query = Query(a.random)
        values = a.value_lists(query, [row])
        return a.execute(f"insert into {table} ({', '.join(row)}) values {values} {a.returning}", query.parameters)

    try:
        live = insertion(a.shape.table)
    except psycopg.errors.UniqueViolation as error:
        if identity and len(a.shape.keys) == 1 and (error.diag.constraint_name or "").endswith("_pkey"):
            raise UnexpectedDuplicate(f"{a.last}: {error}") from error
        raise
    row |= {name: live[0][a.shape.all.index(name)] for name in identity}
    a.compare(live, insertion(TWIN))


def insert_select(a: Application) -> None:
    """A copy of another row: after the cutover its values go from column to column without being opened."""
    row = a.row(a.number())
    query = Query()
    copied = {column.quoted for column in a.shape.columns if a.random.random() < 0.7 and not column.unique_among}
    values = [f"s.{name}" if name in copied else value for name, value in zip(row, a.render(query, row, casts=True))]
    live = a.execute(f"insert into {a.shape.table} ({', '.join(row)}) {a.shape.overriding} select {', '.join(values)}"
                     f" from {a.shape.table} s where {a.key_is(query, a.number(), 's.')} {a.returning}")
    for found in live:
        written = {name: value for name, value in zip(a.shape.all, found) if name in row}
        twin = a.execute(f"insert into {TWIN} ({', '.join(written)}) values {a.value_lists(query, [written])} {a.returning}")
        a.compare([found], twin)


def upsert(a: Application) -> None:
    sources = a.rows(a.numbers(6))
    names = [column.quoted for column in a.some_columns()]
    changes = ", ".join(["mark = excluded.mark", "n = t.n + 1", *(f"{name} = excluded.{name}" for name in names)])
    where = "" if a.random.random() < 0.8 else f"where t.n %% 2 = {a.random.randrange(2)}"
    on_conflict(a, sources, f"({a.shape.key_list}) do update set {changes} {where}", changes)


def upsert_nothing(a: Application) -> None:
    key = f"({a.shape.key_list})"
    # Every constraint is an arbiter where none is named, and none may be deferrable.
    target = a.random.choice((key if any(column.is_deferrable for column in a.shape.columns) else "", key))
    on_conflict(a, a.rows(a.numbers(a.random.choice((6, 6, 150)))), f"{target} do nothing", "mark = excluded.mark")


def on_conflict(a: Application, sources: dict[str, Row], clause: str, changes: str) -> None:
    query = Query(a.random)
    rows = list(sources.values())
    live = a.execute(f"insert into {a.shape.table} as t ({', '.join(rows[0])}) {a.shape.overriding}"
                     f" values {a.value_lists(query, rows)} on conflict {clause} {a.returning}", query.parameters)
    a.write_twins(live, sources, changes)


def merge(a: Application) -> None:
    query = Query()
    numbers = a.numbers(6)
    sources = a.rows(numbers)
    rows = list(sources.values())
    # Rows to delete are locked before, so that those that vanish were deleted here.
    keys = " or ".join(a.key_is(query, number) for number in numbers)
    locked = [tag for tag, in a.execute(f"select tag from {a.shape.table} where {keys} for update")]
    tags = "'{" + ",".join(locked) + "}'"
    names = ["mark", *(column.quoted for column in a.some_columns())]
    on = " and ".join(f"t.{key.quoted} = s.{key.quoted}" for key in a.shape.keys)
    a.execute(f"merge into {a.shape.table} t using (values {a.value_lists(query, rows, casts=True)}) as s ({', '.join(rows[0])})"
              f" on {on}"
              f" when matched and s.n %% 3 = 0 and t.tag = any ({tags}) then delete"
              " when matched and s.n %% 3 = 0 then do nothing"
              f" when matched then update set {', '.join(f'{name} = s.{name}' for name in names)}, n = t.n + 1"
              f" when not matched and s.n %% 3 = 2 then insert ({', '.join(rows[0])}) {a.shape.overriding}"
              f" values ({', '.join(f's.{name}' for name in rows[0])})")
    left = {tag for tag, in a.execute(f"select tag from {a.shape.table} where tag = any ({tags})")}
    a.delete_twins([tag for tag in locked if tag not in left])
    changes = ", ".join(["n = t.n + 1", *(f"{name} = excluded.{name}" for name in names)])
    a.write_twins(a.find_marked(list(sources)), sources, changes)


def update(a: Application) -> None:
    query, finding = Query(a.random), Query(a.random)
    changes = a.assignments(query)
    live = a.execute(f"update {a.shape.table} set {changes} where {a.condition(finding)} {a.returning}",
                     query.parameters + finding.parameters)
    a.update_twins(live, changes, query.parameters)


def update_nothing(a: Application) -> None:
    """A new version of each row, as it was: on a full page it lies elsewhere, where a batch may have been or never comes."""
    query = Query(a.random)
    change_nothing(a, query, a.condition(query))


def touch(a: Application) -> None:
    """The same of one row, which nothing else brings to the shadow then."""
    query = Query(a.random)
    change_nothing(a, query, a.key_is(query, a.number()))


def change_nothing(a: Application, query: Query, condition: str) -> None:
    column = a.random.choice(["mark", "n", *(column.quoted for column in a.shape.columns)])
    live = a.execute(f"update {a.shape.table} set {column} = {column} where {condition} {a.returning}", query.parameters)
    a.update_twins(live, f"{column} = {column}")


def update_join(a: Application) -> None:
    """A value of another row of the table."""
    query = Query(a.random)
    column = a.random.choice([column for column in a.shape.columns if not column.unique_among]).quoted
    mark = a.next_number()
    conditions = f"{a.key_is(query, a.number(), 't.')} and {a.key_is(query, a.number(), 'o.')}"
    live = a.execute(f"update {a.shape.table} t set mark = {mark}, {column} = o.{column} from {a.shape.table} o"
                     f" where {conditions} returning {', '.join(f't.{name}' for name in a.shape.all)}", query.parameters)
    at = a.shape.all.index(column)
    for found in live:
        a.update_twins([found], f"mark = {mark}, {column} = {escaped(quoted(found[at]))}")


def set_key(a: Application, query: Query, source: int, target: int) -> None:
    values = zip(a.shape.keys, a.shape.key_value(target))
    changes = ", ".join([f"mark = {a.next_number()}", *(f"{key.quoted} = {query.value(value)}" for key, value in values)])
    parameters = list(query.parameters)
    live = a.execute(f"update {a.shape.table} set {changes} where {a.key_is(query, source)} {a.returning}", query.parameters)
    a.update_twins(live, changes, parameters)


def update_key(a: Application) -> None:
    if a.shape.moves:
        set_key(a, Query(a.random), a.number(), a.number())


def swap_keys(a: Application) -> None:
    """The three steps of clients whose keys are not deferrable."""
    one, other, away = a.number(), a.number(), 900_000 + a.random.randrange(90_000)
    if a.shape.moves and one != other:
        for source, target in ((one, away), (other, one), (away, other)):
            set_key(a, Query(a.random), source, target)


def shift_keys(a: Application) -> None:
    """Many keys move in one statement, some to where others were."""
    key = a.shape.keys[-1]
    if not key.arithmetic:
        return
    low = a.random.randrange(a.shape.rows)
    high = low + a.random.choice((3, 10, 40))
    if a.random.random() < 0.6:
        # Rows lie in the order of their keys at first: all can move one down if the first place is free.
        delete_where(a, f"{key.quoted} >= {low} and {key.quoted} < {low + 1}", [])
        change = f"{key.quoted} - 1"
    else:
        change = a.random.choice((f"{key.quoted} + 1", f"{key.quoted} + {a.shape.rows * 2}", f"-1 * {key.quoted}",
                                  f"{low} + {high} - {key.quoted}"))
    changes = f"mark = {a.next_number()}, {key.quoted} = {change}"
    live = a.execute(f"update {a.shape.table} set {changes} where {key.quoted} between {low} and {high} {a.returning}")
    a.update_twins(live, changes)


def delete(a: Application) -> None:
    query = Query(a.random)
    condition = a.condition(query, few=a.random.random() < 0.95)
    delete_where(a, condition, query.parameters)


def delete_where(a: Application, condition: str, parameters: list) -> None:
    live = a.execute(f"delete from {a.shape.table} where {condition} {a.returning}", parameters)
    if live:
        a.compare(live, a.execute(f"delete from {TWIN} where tag = any ('{a.tags(live)}') {a.returning}"))


def replace(a: Application) -> None:
    """A row is deleted, and another gets its key at once."""
    number = a.number()
    query = Query(a.random)
    delete_where(a, a.key_is(query, number), query.parameters)
    insert_rows(a, [a.row(number)])


def move_rows(a: Application) -> None:
    """One statement that deletes rows and inserts them again: the triggers of both fire at its end."""
    query = Query()
    mark = a.next_number()
    values = [str(mark) if name == "mark" else name for name in a.shape.written]
    live = a.execute(f"with gone as (delete from {a.shape.table} where {a.condition(query)} returning *)"
                     f" insert into {a.shape.table} ({', '.join(a.shape.written)}) {a.shape.overriding}"
                     f" select {', '.join(values)} from gone {a.returning}")
    a.update_twins(live, f"mark = {mark}")
    if a.shape.has_children and live:
        # The cascade of the deletion does not ask whether the key is there again.
        a.execute(f"delete from {TWIN_CHILDREN} where tag = any ('{a.tags(live)}')")


def two_updates(a: Application) -> None:
    query = Query()
    one, other = a.number(), a.number()
    if one == other:
        return
    changes = a.assignments(query)
    live = a.execute(
        f"with a as (update {a.shape.table} set {changes} where {a.key_is(query, one)} {a.returning}),"
        f" b as (update {a.shape.table} set {changes} where {a.key_is(query, other)} {a.returning})"
        " select * from a union all select * from b")
    a.update_twins(live, changes)


def through_cursor(a: Application) -> None:
    query = Query()
    # WHERE CURRENT OF knows no partitions that the cursor's condition excluded.
    condition = a.condition(query) if a.shape.partition is None else f"n > {a.random.randrange(1000)}"
    a.execute(f"declare c cursor for select tag from {a.shape.table} where {condition} for update")
    for _ in range(a.random.randint(1, 3)):
        if not a.execute("fetch c"):
            break
        if a.random.random() < 0.6:
            changes = a.assignments(query)
            a.update_twins(a.execute(f"update {a.shape.table} set {changes} where current of c {a.returning}"), changes)
        else:
            gone = a.execute(f"delete from {a.shape.table} where current of c returning tag")
            a.delete_twins([tag for tag, in gone])
    a.execute("close c")


def copy(a: Application) -> None:
    rows = [a.row(number) for number in a.numbers(a.random.choice((3, 30)))]
    for table in (a.shape.table, TWIN):
        a.last = f"copy {table} ({', '.join(rows[0])}) from stdin"
        with a.connection.cursor() as cursor, cursor.copy(a.last) as target:
            for row in rows:
                target.write_row(list(row.values()))


def exception_block(a: Application) -> None:
    """What a block did before it failed is undone; a handler writes."""
    query = Query()
    lost, kept = a.row(a.number()), a.row(a.number())
    column = a.random.choice(a.shape.columns).quoted

    def insertion(row: Row) -> str:
        return (f"insert into {a.shape.table} ({', '.join(row)}) {a.shape.overriding} values {a.value_lists(query, [row])};")

    value, mark = query.value(kept[column]), kept["mark"]
    key = " and ".join(f"t.{name.quoted} = {query.value(kept[name.quoted])}" for name in a.shape.keys)
    a.execute(f"""do $oracle$ begin
        begin
            {insertion(lost)}
            update {a.shape.table} set n = 0 where {a.condition(query)};
            raise exception 'undo';
        exception when raise_exception or unique_violation then null;
        end;
        begin
            {insertion(kept)}
        exception when unique_violation then
            update {a.shape.table} t set mark = {mark}, n = t.n + 1, {column} = {value} where {key};
        end;
    end $oracle$""")
    a.write_twins(a.find_marked([mark]), {mark: kept}, f"mark = {mark}, n = t.n + 1, {column} = {value}")


def truncate(a: Application) -> None:
    cascade = "cascade" if a.shape.has_children else ""
    a.execute(f"truncate {a.shape.table} {cascade}")
    a.execute(f"truncate {TWIN} {cascade}")


def add_children(a: Application) -> None:
    """Rows that refer to some of the table's, which are locked lest another row has their key when it is looked up."""
    if not a.shape.has_children:
        return
    query = Query(a.random)
    made = a.execute(f"insert into {CHILDREN} (tag, {a.shape.key_list}) select tag, {a.shape.key_list} from {a.shape.table}"
                     f" where {a.condition(query, few=True)} for share returning child, tag", query.parameters)
    for number, tag in made:
        a.execute(f"insert into {TWIN_CHILDREN} values ({number}, {tag})")


def change_parents(a: Application) -> None:
    """What the table refers to comes, goes and changes: rows of the table and of the twin follow by their foreign keys."""
    if not any(column.is_reference for column in a.shape.columns):
        return
    number = a.random.randrange(PARENTS_AT_FIRST)
    a.execute(a.random.choice((
        f"delete from {PARENTS} where id = {number}",
        f"update {PARENTS} set id = id + 10 where id = {number}",
        f"update {PARENTS} set id = id - 10 where id = {number + 10}",
        f"insert into {PARENTS} values ({number}) on conflict do nothing",
        f"insert into {PARENTS} select generate_series(0, {PARENTS_AT_FIRST - 1}) on conflict do nothing",
    )))


def undone(a: Application) -> None:
    """What was done since a savepoint is rolled back."""
    a.execute("savepoint undone")
    for _ in range(a.random.randint(1, 3)):
        try:
            choose(a.random, a.shape)(a)
        except psycopg.errors.UniqueViolation:
            break
    a.execute("rollback to undone")


def many_savepoints(a: Application) -> None:
    """More subtransactions than a backend keeps in shared memory."""
    for number in range(70):
        a.execute(f"savepoint s{number}")
        a.execute(f"update {a.shape.table} set n = 1 where false")
    update(a)


def search(a: Application) -> None:
    """A row is found by its own values."""
    column = a.random.choice(a.shape.columns).quoted
    for tag, value in a.execute(f"select tag, {column} from {a.shape.table} where {column} is not null limit 1 for update"):
        if (tag,) not in a.execute(f"select tag from {a.shape.table} where {column} = %s", [value]):
            raise Mismatch(f"{a.last}: row {tag} is not found by its own value {value!r}")


Kind = Callable[[Application], None]

KINDS: dict[Kind, float] = {
    insert: 8, insert_many: 5, insert_defaults: 4, insert_select: 4, upsert: 8, upsert_nothing: 5, merge: 7, update: 14,
    update_nothing: 3, touch: 4, update_join: 4, update_key: 7, shift_keys: 6, swap_keys: 3, delete: 12, replace: 5, move_rows: 4,
    two_updates: 3, through_cursor: 4, copy: 3, exception_block: 4, truncate: 0.05, undone: 5, many_savepoints: 0.3, search: 3,
    add_children: 4, change_parents: 0.6,
}

NOT_ON_VIEWS: set[Kind] = {upsert, upsert_nothing, merge, through_cursor, truncate}
"""What PostgreSQL 15 refuses on a view with INSTEAD OF triggers."""


def choose(random: Random, shape: Shape) -> Kind:
    kinds = {kind: weight for kind, weight in KINDS.items() if not (shape.is_view and kind in NOT_ON_VIEWS)
             and (shape.kinds is None or kind.__name__ in shape.kinds)}
    return random.choices(list(kinds), weights=list(kinds.values()))[0]
