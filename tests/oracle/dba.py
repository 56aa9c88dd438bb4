"""The administrator's session: runs the steps of a migration or rotation, and has a bad day."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import Callable

import psycopg

from journal import Journal
from session import connect, is_lost, rows
from victims import Victims, wait_until_up

ATTEMPTS = 25
"""Of one step, the first of them disturbed, before it is called stuck."""

DISTURBED = 5


class Stuck(Exception):
    """A step does not succeed although nobody disturbs it any more."""


class Dba:
    def __init__(self, random: Random, journal: Journal, victims: Victims, pids_of_writers: Callable[[], list[int]], kills: bool):
        self._random, self._journal, self._victims = random, journal, victims
        self._pids_of_writers = pids_of_writers
        self._kills = kills
        self._connection: psycopg.Connection | None = None

    # ---- in peace ------------------------------------------------------------------------------------------

    def connection(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            wait_until_up()
            self._connection = connect(statement_timeout="60s")
        return self._connection

    def ask(self, query: str, parameters=None) -> list[tuple]:
        """Idempotent queries only: a lost session asks again."""
        for _ in range(20):
            try:
                return rows(self.connection(), query, parameters)
            except psycopg.Error as error:
                if not is_lost(error):
                    raise
                self.forget()
        raise Stuck(f"no answer to {query}")

    def forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ---- with accidents ------------------------------------------------------------------------------------

    def step(self, what: str, statement: str, done: Callable[[], bool], chance: float) -> None:
        """Runs a statement until `done` says so, whatever happens to the session meanwhile."""
        errors = []
        for attempt in range(ATTEMPTS):
            error = self._attempt(statement, chance if attempt < DISTURBED else 0)
            if error is not None:
                self._journal.note(f"{what}: {error.sqlstate} {str(error).strip()[:300]}")
            if done():
                return
            if error is not None and not is_lost(error):
                errors.append(f"{error.sqlstate} {error}")
                # Cancelled, or a lock that others have: again. All else would fail again.
                if error.sqlstate not in ("57014", "55P03", "40P01", "40001"):
                    raise Stuck(f"{what}: {error.sqlstate} {error}")
            time.sleep(0.02)
        raise Stuck(f"{what}: not done after {ATTEMPTS} attempts: {errors[-3:]}")

    def _attempt(self, statement: str, chance: float) -> psycopg.Error | None:
        connection = self.connection()
        accident = None
        if self._random.random() < chance:
            accident = Accident(self, self._random.random(), connection.info.backend_pid)
            accident.start()
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            if is_lost(error):
                self.forget()
            return error
        finally:
            if accident is not None:
                accident.join()
                # An answer may still be on its way to a session that was cancelled too late.
                self.forget()
        return None

    def strike(self, random: Random, pid: int) -> None:
        """One accident: to this session, to a worker, or to a session of the application."""
        victims = [pid, pid]
        victims += [int(worker) for worker, in self._workers()]
        victims += self._pids_of_writers()
        victim = random.choice(victims)
        choice = random.random()
        if self._kills and choice < 0.25:
            self._victims.kill(victim)
        elif choice < 0.6:
            self._victims.terminate(victim)
        else:
            self._victims.cancel(victim)

    def _workers(self) -> list[tuple]:
        try:
            with connect() as connection:
                return rows(connection, "select pid from encrypt._job_workers()")
        except psycopg.Error:
            return []


class Accident(threading.Thread):
    def __init__(self, dba: Dba, seed: float, pid: int):
        super().__init__(daemon=True)
        self._dba, self._random, self._pid = dba, Random(seed), pid

    def run(self) -> None:
        # Most steps are short, and their ends are as interesting as their beginnings.
        time.sleep(self._random.choice((0.002, 0.01, 0.03, 0.1, 0.3)) * self._random.random() * 2)
        self._dba.strike(self._random, self._pid)
