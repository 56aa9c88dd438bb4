"""Values and comparisons at random, in the forms that applications write them."""

from random import Random

from schema import BY_NAME, COLUMNS, Column

SEARCHABLE = tuple(c for c in COLUMNS if c.searchable)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Statement:
    """SQL text with numbered parameters, which can be written as literals instead."""

    def __init__(self, random: Random, prepared: bool):
        self.random = random
        self.prepared = prepared
        self.parameters: list[tuple[str, str]] = []
        """Declared type and value of each, both as SQL."""

    def value(self, column: Column, nulls: bool = False) -> str:
        """One value to compare with the column or to store in it."""
        if nulls and self.random.random() < 0.15:
            return "null"
        value = self.random.choice(column.values)
        return self._write(quoted(value), self._parameter_type(column, value))

    def values(self, column: Column) -> list[str]:
        return [self.value(column) for _ in range(self.random.randint(1, 4))]

    def unknown(self, column: Column) -> str:
        """A value where the column's type and another can't be mixed: in COALESCE, say."""
        return quoted(self.random.choice(column.values))

    def array(self, column: Column) -> str:
        """An array of the type that a client would send. Its NULLs are part of the test."""
        values = self.random.choices(column.values, k=self.random.randint(0, 5))
        null = self.random.random() < 0.1
        if column.name == "nick" or self.random.random() < 0.3:
            elements = ['"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values] + ["null"] * null
            return self._write(quoted("{" + ",".join(elements) + "}"), "unknown")
        declared = self.random.choice(("text", "varchar")) if column.is_text else column.base
        elements = [quoted(v) for v in values] + ["null"] * null
        return self._write(f"array[{', '.join(elements)}]::{declared}[]", f"{declared}[]")

    def integer(self, low: int, high: int) -> str:
        return self._write(str(self.random.randint(low, high)), "integer")

    def _write(self, sql: str, declared: str) -> str:
        if not self.prepared or self.random.random() < 0.2:
            return sql
        self.parameters.append((declared, sql))
        return f"${len(self.parameters)}"

    def _parameter_type(self, column: Column, value: str) -> str:
        """unknown: PostgreSQL finds the type by itself, as for most drivers. The others declare what they have."""
        if column.name == "nick":
            return "unknown"
        declared = {"text": ("text", "varchar"), "bigint": ("bigint", "integer", "smallint"),
                    "integer": ("integer", "bigint", "smallint"), "numeric": ("numeric",)}
        types = [t for t in declared.get(column.base, (column.base,)) if fits(value, t)]
        return self.random.choice((*types, "unknown"))

    # ---- conditions -------------------------------------------------------------------------------------

    def condition(self, alias: str, depth: int = 2) -> str:
        random = self.random
        if depth and random.random() < 0.45:
            joiner = random.choice(("and", "and", "or"))
            inner = f"({self.condition(alias, depth - 1)} {joiner} {self.condition(alias, depth - 1)})"
            return f"not {inner}" if random.random() < 0.15 else inner
        if random.random() < 0.15:
            return f"{alias}.k {random.choice(('<', '>', '<>'))} {self.integer(0, 60)}"
        if random.random() < 0.12:
            return self._row_comparison(alias)
        return self.comparison(alias, random.choice(COLUMNS))

    def comparison(self, alias: str, column: Column) -> str:
        random, it = self.random, f"{alias}.{column.name}"
        if column.base == "boolean":
            return random.choice((lambda: it, lambda: f"not {it}", lambda: f"{it} is true", lambda: f"{it} is not false",
                                  lambda: f"{it} = {self.value(column)}"))()
        kinds = ["equal"] * 4 + ["in"] * 2 + ["any"] * 2 + ["null", "distinct", "other"]
        # PostgreSQL 15 to 18 sort jsonb by an order that counts keys first; here it is the base type's own.
        kinds += ["order", "between"]
        match random.choice(kinds):
            case "equal":
                left, right = it, self.value(column)
                if random.random() < 0.2:
                    left, right = right, left
                return f"{left} {random.choice(('=', '=', '=', '<>'))} {right}"
            case "in":
                return f"{it} {random.choice(('in', 'not in'))} ({', '.join(self.values(column))})"
            case "any":
                return f"{it} {random.choice(('= any', '<> all'))} ({self.array(column)})"
            case "order":
                return f"{it} {random.choice(('<', '<=', '>', '>='))} {self.value(column)}"
            case "between":
                return f"{it} between {self.value(column)} and {self.value(column)}"
            case "null":
                return f"{it} is {random.choice(('', 'not '))}null"
            case "distinct":
                return f"{it} is {random.choice(('', 'not '))}distinct from {self.value(column)}"
            case _:
                return self._function(it, column)

    def _row_comparison(self, alias: str) -> str:
        a, b = self.random.sample(SEARCHABLE, 2)
        left = f"({alias}.{a.name}, {alias}.{b.name})"
        if self.random.random() < 0.5:
            return f"{left} {self.random.choice(('=', '<>'))} ({self.value(a)}, {self.value(b)})"
        rows = ", ".join(f"({self.value(a)}, {self.value(b)})" for _ in range(3))
        return f"{left} in ({rows})"

    def _function(self, it: str, column: Column) -> str:
        choose = self.random.choice
        if column.name == "nick":
            return choose((f"length({it}) > 1", f"lower({it}) = 'ab'"))
        if column.is_text:
            return choose((f"{it} like '%b%'", f"{it} ilike 'b_b'", f"lower({it}) = 'bob'", f"length({it}) > 1",
                           f"{it} || 'x' = 'abx'", f"{it} ~ '^[ab]+$'", f"starts_with({it}, 'a')"))
        return {
            "bigint": choose((f"{it} % 2 = 0", f"abs({it} / 2) < 50")),
            "integer": choose((f"{it} % 2 = 0", f"{it} / 2 > 20")),
            "numeric": choose((f"round({it}) > 1", f"{it} * 2 = 3")),
            "date": choose((f"extract(month from {it}) = 2", f"{it} + 1 > date '2000-01-01'")),
            "timestamptz": choose((f"date_trunc('year', {it}) = '2024-01-01'", f"{it} + interval '1 day' < '2000-01-01'")),
            "uuid": f"{it}::text like '%1'",
            "jsonb": choose((f"{it} ->> 'a' = '1'", f"{it} @> '{{\"a\": 1}}'", f"{it} ? 'b'", f"jsonb_typeof({it}) = 'object'")),
            "bytea": choose((f"length({it}) > 0", f"encode({it}, 'hex') like 'e3%'")),
        }[column.base]


def fits(value: str, integer_type: str) -> bool:
    bits = {"smallint": 15, "integer": 31}.get(integer_type)
    return bits is None or -(2**bits) <= int(value) < 2**bits


def equal_columns() -> tuple[tuple[str, str], ...]:
    """Pairs of columns that join: of one type."""
    pairs = [(c.name, c.name) for c in COLUMNS if c.base not in ("boolean",)]
    return (*pairs, ("name", "alias"), ("alias", "name"))


def displayed(expression: str, column: str) -> str:
    """How a column is shown where any of several equal values may come out: numbers without their scale, words folded."""
    base = BY_NAME[column]
    if column == "nick":
        return f"lower({expression})"
    if base.base == "numeric":
        return f"trim_scale({expression})"
    if base.base == "jsonb":
        return f"jsonb_typeof({expression})"
    return expression
