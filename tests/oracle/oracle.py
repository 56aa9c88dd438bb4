"""Random work on tables and their plain twins, while what the extension does in the background has its worst day.

    oracle.py [--seed N] [--seconds N] [--sabotage NAME] [--verbose] --log FILE migration | rotation | self-test

Prints a line per check, as pg_regress does. PGHOST and the rest say where the server is; it is expected to be new, with
nothing in it, and to belong to the caller, who kills its processes.
"""

import argparse
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


def server_problems(log: str, kills: int) -> list[str]:
    """What only the server's log tells: a process that died by itself takes a moment of all sessions, and is forgiven above."""
    with open(log, encoding="utf-8", errors="replace") as lines:
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
    with connect() as connection:
        connection.execute("create extension if not exists pg_encrypt")
    ORACLES[name](options.seed, options.seconds, journal, victims, options.sabotage)
    journal.check("no process died by itself", server_problems(options.log, victims.kills))
    print("# counts " + ", ".join(f"{what} {count}" for what, count in sorted(journal.counts.items())))
    return journal


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
    return int(run(options.oracle, options).failures > 0)


if __name__ == "__main__":
    sys.exit(main())
