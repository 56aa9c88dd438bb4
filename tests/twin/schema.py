"""The twin tables: the same names in two schemas, with encrypted columns in one and ordinary ones in the other.

Statements name no schema, so that search_path alone decides which twin they are about: their text is the same, which is
what "applications don't change" means.
"""

from dataclasses import dataclass

ENCRYPTED, PLAIN = "twin_encrypted", "twin_plain"


@dataclass(frozen=True)
class Column:
    name: str
    base: str
    """Base of the encrypted type, and type of the parameters that are compared with the column."""
    searchable: bool
    values: tuple[str, ...]
    """Few, so that they meet; as SQL literals without quotes."""
    plain: str | None = None
    """Type in the plain twin, where it is not the base."""
    options: str = ""
    """More arguments of encrypt.create_type."""
    encrypted: str | None = None
    """The type that another column has as well; None: one of its own."""

    @property
    def type_name(self) -> str:
        return self.encrypted or f"{self.name}_type"

    @property
    def plain_type(self) -> str:
        return self.plain or self.base

    @property
    def is_text(self) -> bool:
        return self.base == "text"


# What sorts, compares or converts oddly: upper and lower case, combining characters, empty and blank texts, numbers that
# are equal and print differently, infinities, dates before the common era, values that look like stored ones.
NAMES = ("", " ", "a", "A", "ab", "abc", "b", "Bob", "bob", "É", "é", "e\u0301", "ß", "ss", "zoë", "日本", r"\xe3", r"\x", "%", "_",
         "''", "{}", "NULL", "x" * 200)
WORDS = ("ab", "AB", "aB", "cd", "Cd", "e f", "E F", "g", "42", "z")
INTEGERS = ("0", "1", "-1", "2", "7", "42", "100", "-100", "2147483647", "-2147483648")

COLUMNS = (
    Column("name", "text", True, NAMES),
    Column("alias", "text", True, NAMES, encrypted="name_type"),
    Column("note", "text", False, NAMES),
    Column("nick", "text", True, WORDS, plain="citext", options=", normalizer => 'casefold'"),
    Column("n8", "bigint", True, (*INTEGERS, "9223372036854775807", "-9223372036854775808")),
    Column("n4", "integer", True, INTEGERS),
    Column("h4", "integer", False, INTEGERS),
    Column("amount", "numeric", False, ("0", "0.0", "1", "1.0", "1.50", "-1.5", "100", "1e2", "12345678901234567890.1", "NaN")),
    Column("price", "numeric", True, ("0", "0.00", "2", "2.000", "2.50", "-2.5", "300", "0.1", "NaN", "Infinity")),
    Column("born", "date", False, ("2000-01-01", "1999-12-31", "0044-03-15 BC", "infinity", "2024-02-29")),
    Column("seen", "timestamptz", False, ("2000-01-01 00:00:00+00", "2024-02-29 12:34:56.789+05", "-infinity", "1969-07-20 20:17:40Z")),
    Column("u", "uuid", True, tuple(f"00000000-0000-0000-0000-{n:012d}" for n in (0, 1, 2, 10, 255))),
    Column("doc", "jsonb", False, ("{}", "[]", "null", '{"a": 1}', '{"a": 1.0}', '{"b": [1, "x"], "a": 2}', '"text"', "17")),
    Column("flag", "boolean", False, ("true", "false")),
    Column("raw", "bytea", True, (r"\x", r"\x00", r"\xff", r"\xe3", r"\x6162", r"\x" + "e3" * 60)),
)
BY_NAME = {column.name: column for column in COLUMNS}

# t is what statements write to; o joins with it. Both have a key that is not encrypted, so that results can be ordered.
TABLES = {"t": 60, "o": 25}
UNIQUE = ("name", "n8")


def setup(row_text) -> str:
    """Statements that make both twins. row_text(table, k) gives the text of the values of a row."""
    types = "\n".join(
        f"select encrypt.create_type('{ENCRYPTED}.{column.type_name}', '{column.base}', key => 'twin',"
        f" searchable => {str(column.searchable).lower()}{column.options});"
        for column in COLUMNS if column.encrypted is None
    )
    lines = ["create extension if not exists citext schema public;",
             "select encrypt.create_key('twin');",
             f"create schema {ENCRYPTED};", f"create schema {PLAIN};", types]
    for schema in (ENCRYPTED, PLAIN):
        lines.append(f"set search_path = {schema}, public;")
        for table, rows in TABLES.items():
            columns = ", ".join(
                f"{c.name} {c.type_name if schema == ENCRYPTED else c.plain_type}" for c in COLUMNS)
            lines.append(f"create table {table} (k integer primary key, grp integer, {columns});")
            if table == "t":
                for name in UNIQUE:
                    lines.append(f"create unique index on t ({_index(schema, BY_NAME[name])}, grp);")
            for column in COLUMNS:
                if column.searchable and column.name not in UNIQUE:
                    lines.append(f"create index on {table} ({_index(schema, column)});")
            lines += [f"insert into {table} values ({row_text(table, k)}) on conflict do nothing;" for k in range(rows)]
            lines.append(f"analyze {table};")
    return "\n".join(lines)


def _index(schema: str, column: Column) -> str:
    return f"{column.name} {column.type_name}_ops" if schema == ENCRYPTED else column.name
