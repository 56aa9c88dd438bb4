"""Values at random: many odd ones, and few enough others that they meet."""

from random import Random

TEXTS = ("", " ", "a", "A", "bob@x.org", "Bob@X.org", "it's", 'say "hi"', "back\\slash", "\\xe3", "\\x", "\\N", "\\.",
         "tab\tline\nend\r", "é", "e\u0301", "日本語", "🙂", "ß", "%", "$1", "{}", "NULL", "null", "--", "$$", "trailing  ")


def text(random: Random, longest: int = 9000) -> str:
    choice = random.random()
    if choice < 0.5:
        value = f"user{random.randrange(40)}@example.org"
    elif choice < 0.85:
        value = random.choice(TEXTS)
    elif choice < 0.93:
        value = "".join(random.choice("abcdefghij é日'\\\"") for _ in range(random.randrange(200)))
    else:
        # Compressible and not: both ways of being stored out of line.
        value = "x" * 8192 if random.random() < 0.3 else random.randbytes(4096).hex()
    return value[:longest]


def integer(random: Random, bits: int) -> str:
    limit = 2 ** (bits - 1)
    return str(random.choice((random.randrange(50), random.randrange(-limit, limit), limit - 1, -limit, 0)))


def numeric(random: Random) -> str:
    return random.choice(("0", "0.0", "1.50", "-1.5", "NaN", "1e20", "0.000000001", str(random.randrange(10**12)),
                          f"{random.randrange(10**6)}.{random.randrange(1000)}"))


def date(random: Random) -> str:
    return random.choice(("2000-01-01", "0044-03-15 BC", "infinity", "2024-02-29", f"19{random.randrange(10, 99)}-07-20"))


def timestamptz(random: Random) -> str:
    return random.choice(("2000-01-01 00:00:00+00", "-infinity", "1969-07-20 20:17:40.123456Z",
                          f"2024-02-29 12:34:{random.randrange(10, 60)}.{random.randrange(10**6):06d}+05"))


def uuid(random: Random) -> str:
    value = random.randrange(30) if random.random() < 0.5 else random.getrandbits(128)
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def jsonb(random: Random) -> str:
    return random.choice(("{}", "[]", "null", '{"a": 1.0}', '{"b": [1, "x\'y"], "a": 2}', '"te\\"xt"', "17",
                          f'{{"n": {random.randrange(100)}}}'))


def bytea(random: Random) -> str:
    return "\\x" + random.choice(("", "00", "ff", "e3" * 60, random.randbytes(random.randrange(300)).hex()))


def boolean(random: Random) -> str:
    return random.choice(("t", "f"))


GENERATORS = {
    "text": text,
    "varchar(60)": lambda random: text(random, 60),
    "numeric(12,2)": lambda random: f"{random.randrange(-10**6, 10**6)}.{random.randrange(100):02d}",
    "smallint": lambda random: integer(random, 16),
    "integer": lambda random: integer(random, 32),
    "bigint": lambda random: integer(random, 64),
    "numeric": numeric,
    "date": date,
    "timestamptz": timestamptz,
    "uuid": uuid,
    "jsonb": jsonb,
    "bytea": bytea,
    "boolean": boolean,
}
