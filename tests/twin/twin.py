#!/usr/bin/env python3
"""Random statements on a table with encrypted columns and on its plain twin: every result must be the same.

    twin.py [--seed SEED] [--statements N] [--only NUMBER] [--show]

Connects as psql does (PGHOST, PGDATABASE, ...), as a superuser, to a database with the extension, and makes two schemas in
it. The text of a statement is the same for both twins, search_path decides. Planner switches, memory, parallelism, JIT and
plan_cache_mode change at random; statements come as literals or prepared, with parameters of the types that clients send.

Prints a TAP line per statement; what differs is shown with the statement and its settings. The same seed makes the same
statements. --only prints and checks one statement (those that write before it are run, too); --show prints them all.
"""

import argparse
import difflib
import subprocess
import sys
from dataclasses import dataclass
from random import Random, SystemRandom

import schema
import statements
from values import Statement

PSQL = ["psql", "-XAtq", "--set=ON_ERROR_STOP=0", "--pset=null=(null)"]
SWITCHES = ("hashagg", "hashjoin", "mergejoin", "nestloop", "indexscan", "indexonlyscan", "bitmapscan", "seqscan", "sort",
            "material", "memoize", "incremental_sort")
MARK = "@@twin"
# A statement that fails on both twins shows little; that only a few do is part of the test.
MAX_ERRORS = 0.1


@dataclass
class Case:
    number: int
    kind: str
    writes: bool
    settings: list[str]
    commands: list[str]
    """The statement, or PREPARE and what follows."""


def settings(random: Random, parallel_test: str, jit: bool) -> list[str]:
    lines = [f"set enable_{name} = off;" for name in SWITCHES if random.random() < 0.25]
    if random.random() < 0.3:
        lines.append("set work_mem = '64kB';")
    if random.random() < 0.3:
        lines += [f"set {parallel_test} = on;"]
    if random.random() < 0.3:
        lines += ["set parallel_setup_cost = 0;", "set parallel_tuple_cost = 0;", "set min_parallel_table_scan_size = 0;",
                  "set min_parallel_index_scan_size = 0;"]
    if jit and random.random() < 0.02:
        lines += ["set jit = on;", "set jit_above_cost = 0;"]
    lines.append(f"set plan_cache_mode = {random.choice(('auto', 'force_custom_plan', 'force_generic_plan'))};")
    return lines


def make_case(number: int, seed: int, parallel_test: str, jit: bool) -> Case:
    random = Random(f"{seed}/{number}")
    generator = statements.kind(random)
    prepared = statements.can_be_prepared(generator) and random.random() < 0.5
    statement = Statement(random, prepared)
    text = generator(statement)
    commands = [f"{text};"]
    if statement.parameters:
        types = ", ".join(declared for declared, _ in statement.parameters)
        values = ", ".join(value for _, value in statement.parameters)
        commands = [f"prepare p ({types}) as {text};", f"execute p ({values});"]
        if not statements.is_write(generator):
            commands.append(commands[-1])
    if generator is statements.loop:
        commands = ["set twin.result = '';", *commands, "select current_setting('twin.result');"]
    return Case(number, generator.__name__, statements.is_write(generator), settings(random, parallel_test, jit), commands)


def script(case: Case) -> list[str]:
    lines = ["reset all;", *BASE_SETTINGS, *case.settings]
    for twin in (schema.ENCRYPTED, schema.PLAIN):
        lines += [f"set search_path = {twin}, public;", f"\\echo {MARK} {case.number} {twin}"]
        for command in case.commands:
            # What an error says may differ; that it is one, and of which kind, may not.
            lines += [command, "\\echo SQLSTATE :SQLSTATE"]
        if len(case.commands) > 1:
            lines.append("deallocate all;")
        if case.writes:
            lines.append("select * from t order by k;")
    return lines


BASE_SETTINGS = ("set pg_encrypt.reveal = on;", "set client_min_messages = error;", "set statement_timeout = '30s';")


def run(lines: list[str]) -> str:
    return subprocess.run(PSQL, input="\n".join(lines), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def ask(query: str) -> str:
    return subprocess.run([*PSQL, "-c", query], text=True, stdout=subprocess.PIPE, check=True).stdout.strip()


def make_twins(seed: int) -> None:
    """The rows are the same in both, as they come from the same seed."""
    def row(table: str, k: int) -> str:
        return statements.row_text(Random(f"{seed}/{table}/{k}"), k)
    subprocess.run([*PSQL, "--set=ON_ERROR_STOP=1", "--output=/dev/null"],
                   input="set client_min_messages = error;\n" + schema.setup(row), text=True, check=True)


def results(output: str) -> dict[tuple[int, str], list[str]]:
    """What each twin printed for each statement."""
    found, lines = {}, []
    for line in output.splitlines():
        if line.startswith(MARK + " "):
            _, number, twin = line.split(" ")
            lines = found.setdefault((int(number), twin), [])
        else:
            lines.append(line)
    return found


def failed(lines: list[str]) -> bool:
    return any(line.startswith("SQLSTATE ") and line != "SQLSTATE 00000" for line in lines)


def report(case: Case, plain: list[str], encrypted: list[str]) -> None:
    for line in (*case.settings, *case.commands):
        print("# " + line.replace("\n", "\n# "))
    for line in list(difflib.unified_diff(plain, encrypted, "plain", "encrypted", lineterm="", n=1))[:40]:
        print("# " + line)


def compare(cases: list[Case], found: dict) -> tuple[int, int]:
    differ = errors = 0
    for case in cases:
        encrypted, plain = (found.get((case.number, twin)) for twin in (schema.ENCRYPTED, schema.PLAIN))
        same = encrypted is not None and encrypted == plain
        print(f"{'ok' if same else 'not ok'} {case.number} - {case.kind}")
        if same and failed(plain):
            errors += 1
            print("# both fail: " + " ".join(case.commands)[:300].replace("\n", " "))
            print("# " + " ".join(line for line in plain if line.startswith("SQLSTATE ")))
        if not same:
            differ += 1
            report(case, plain or ["nothing"], encrypted or ["nothing"])
            if case.writes:
                print("# the tables differ from here on")
                break
    return differ, errors


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    arguments.add_argument("--statements", type=int, default=500)
    arguments.add_argument("--only", type=int)
    arguments.add_argument("--show", action="store_true")
    options = arguments.parse_args()
    print(f"# seed {options.seed}")

    version = int(ask("show server_version_num"))
    parallel_test = "debug_parallel_query" if version >= 160000 else "force_parallel_mode"
    jit = ask("select pg_jit_available()") == "t"
    make_twins(options.seed)
    numbers = range(1, (options.only or options.statements) + 1)
    cases = [make_case(number, options.seed, parallel_test, jit) for number in numbers]
    if options.only:
        cases = [case for case in cases if case.writes or case.number == options.only]
    if options.show:
        for case in cases:
            print("\n".join((f"# {case.number}", *case.commands)))

    found = results(run([line for case in cases for line in script(case)]))
    if options.only:
        cases = cases[-1:]
        print("\n".join(script(cases[0])))
    differ, errors = compare(cases, found)
    print(f"# seed {options.seed}: {len(cases)} statements, {differ} differ, {errors} failed alike")
    if errors > max(1, MAX_ERRORS * len(cases)) and not options.only:
        print(f"not ok {len(cases) + 1} - more than {MAX_ERRORS:.0%} of the statements fail on both twins")
        return 1
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
