"""Random work on tables and their plain twins, while what the extension does in the background has its worst day.

    oracle.py [--seed N] [--seconds N] [--sabotage NAME] [--verbose] --log FILE migration | rotation | self-test

Prints a line per check, as pg_regress does. PGHOST and the rest say where the server is; it is expected to be new, with
nothing in it, and to belong to the caller, who kills its processes.
"""

import argparse
import os
import re
import sys
from random import SystemRandom

import migration
import rotation
import sabotage
from journal import Journal
from session import connect
from victims import Victims

ORACLES = {"migration": migration.run, "rotation": rotation.run}


def server_problems(log: str, since: int, kills: int) -> list[str]:
    """What only the server's log tells: a process that died by itself takes a moment of all sessions, and is forgiven above.

    Of the part since a position: the log is of the server, which other oracles may have used before.
    """
    with open(log, encoding="utf-8", errors="replace") as lines:
        lines.seek(since)
        found = [line.rstrip() for line in lines
                 if re.search(r"PANIC:|TRAP:|terminated by signal|terminated abnormally|WARNING: .*leak", line)]
    killed = [line for line in found if "terminated by signal 9" in line]
    problems = [line for line in found if line not in killed]
    if len(killed) > kills:
        problems.append(f"{len(killed)} processes were killed, {kills} of them here")
    return problems


def run(name: str, options: argparse.Namespace) -> Journal:
    journal = Journal(options.verbose)
    victims = Victims(journal)
    log_begins = os.path.getsize(options.log)
    with connect() as connection:
        connection.execute("create extension if not exists pg_encrypt")
    broken = sabotage.GUARDS[options.sabotage] if options.sabotage else None
    ORACLES[name](options.seed, options.seconds, journal, victims, broken)
    journal.check("no process died by itself", server_problems(options.log, log_begins, victims.kills))
    print("# counts " + ", ".join(f"{what} {count}" for what, count in sorted(journal.counts.items())))
    return journal


def self_test(options: argparse.Namespace) -> Journal:
    """Each guard is taken away in a database of its own; a run that finds nothing is the failure."""
    result = Journal(options.verbose)
    for name, broken in (sabotage.CONTROLS | sabotage.GUARDS).items():
        with connect() as connection:
            connection.execute(f'create database "{name}"')
        os.environ["PGDATABASE"] = name
        with connect() as connection:
            connection.execute("create extension pg_encrypt")
        journal = Journal(options.verbose, is_result=False)
        ORACLES[broken.oracle](options.seed, options.seconds, journal, Victims(journal), broken)
        os.environ["PGDATABASE"] = "postgres"
        if name in sabotage.CONTROLS:
            result.check(f"{name} is no failure", ["it is"] if journal.failures else [])
        else:
            result.check(f"{name} is noticed", [] if journal.failures else [f"not in {options.seconds} seconds"])
    return result


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("oracle", choices=[*ORACLES, "self-test"])
    arguments.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    arguments.add_argument("--seconds", type=float, default=25)
    arguments.add_argument("--sabotage", choices=sabotage.GUARDS)
    arguments.add_argument("--log", required=True)
    arguments.add_argument("--verbose", action="store_true")
    options = arguments.parse_args()
    print(f"# seed {options.seed}", flush=True)
    journal = self_test(options) if options.oracle == "self-test" else run(options.oracle, options)
    return int(journal.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
