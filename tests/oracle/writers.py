"""Sessions of the application in threads: transactions at random, and what may become of them."""

from __future__ import annotations

import itertools
import threading
import time
from random import Random

import psycopg

import statements
from application import Application, Mismatch
from journal import Journal
from session import STATEMENT_TIMEOUT, connect, is_lost, is_retry
from shapes import SCHEMA, WRITER, Shape
from victims import Victims

ISOLATION = ("read committed", "read committed", "read committed", "repeatable read", "serializable")

_numbers = itertools.count(1)


class Writers:
    """Several writers that can be told to pause between transactions."""

    def __init__(self, shape: Shape, seed: str, number: int, journal: Journal, victims: Victims):
        self._gate = Gate(number)
        self.failed = threading.Event()
        self._threads = [
            Writer(self, shape, f"{seed}/writer {n}", journal, victims, as_replica=n == number - 1) for n in range(number)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        self._gate.close()

    def go_on(self) -> None:
        self._gate.open()

    def stop(self) -> None:
        self._gate.end()
        for thread in self._threads:
            thread.join()

    def pids(self) -> list[int]:
        """Of those that are connected now."""
        return [pid for pid in (thread.pid for thread in self._threads) if pid is not None]

    def wait_at_gate(self) -> bool:
        return self._gate.pass_through()


class Gate:
    """Where writers wait while the table must be quiet."""

    def __init__(self, number: int):
        self._condition = threading.Condition()
        # How many want it closed.
        self._closed, self._ended = 0, False
        self._number, self._waiting = number, 0

    def pass_through(self) -> bool:
        """False: it is over."""
        with self._condition:
            self._waiting += 1
            self._condition.notify_all()
            while self._closed and not self._ended:
                self._condition.wait()
            self._waiting -= 1
            return not self._ended

    def close(self) -> None:
        with self._condition:
            self._closed += 1
            # A writer's statement is cancelled when it waits for too long, so that this ends.
            while self._waiting < self._number and not self._ended:
                self._condition.wait()

    def open(self) -> None:
        with self._condition:
            self._closed -= 1
            self._condition.notify_all()

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()


class Writer(threading.Thread):
    def __init__(self, writers: Writers, shape: Shape, seed: str, journal: Journal, victims: Victims, as_replica: bool):
        super().__init__(daemon=True, name=seed)
        self._writers, self._shape, self._journal, self._victims = writers, shape, journal, victims
        self._random = Random(seed)
        # Only superusers may be replicas: what logical replication's apply workers are.
        self._as_replica = as_replica
        self._application: Application | None = None

    @property
    def pid(self) -> int | None:
        application = self._application
        return application.pid if application else None

    def run(self) -> None:
        while self._writers.wait_at_gate():
            try:
                self._transaction()
            except Exception as error:  # noqa: BLE001: a thread that dies in silence would be a test that can't fail
                if not self._allowed(error):
                    statement = self._application.last if self._application else ""
                    self._journal.fail(f"{self.name}: {type(error).__name__} {getattr(error, 'sqlstate', '')}",
                                       str(error), statement, self._shape.describe())
                    self._writers.failed.set()
                    self._forget()
            if self._writers.failed.is_set():
                time.sleep(0.2)

    # ---- one transaction -----------------------------------------------------------------------------------

    def _connected(self) -> Application:
        if self._application is None:
            role = None if self._as_replica else WRITER
            connection = connect(role, statement_timeout=STATEMENT_TIMEOUT)
            self._application = Application(connection, self._shape, self._random, lambda: next(_numbers))
        return self._application

    def _transaction(self) -> None:
        application = self._connected()
        random, execute = self._random, application.execute
        execute(f"begin isolation level {random.choice(ISOLATION)}")
        if self._as_replica and random.random() < 0.5:
            execute("set local session_replication_role = replica")
        for _ in range(random.choice((1, 1, 2, 3, 5))):
            kind = statements.choose(random)
            protected = random.random() < 0.4
            if protected:
                execute("savepoint one")
            try:
                kind(application)
            except psycopg.errors.UniqueViolation as error:
                if not protected or not self._is_own_duplicate(error):
                    raise
                execute("rollback to one")
            self._journal.count(kind.__name__)
            if random.random() < 0.05:
                time.sleep(random.random() * 0.05)
        execute("rollback" if random.random() < 0.1 else "commit")
        self._journal.count("transactions")

    def _is_own_duplicate(self, error: psycopg.Error) -> bool:
        """Of the table's own key, and not of another's that a trigger wrote to."""
        return error.diag.schema_name == SCHEMA and error.diag.table_name in self._shape.relations

    def _allowed(self, error: Exception) -> bool:
        """Whether a client must expect this error; then the session is ready for the next transaction."""
        if isinstance(error, Mismatch) or not isinstance(error, psycopg.Error):
            return False
        application, pid = self._application, self.pid
        if is_lost(error):
            self._forget()
            self._journal.count("connections lost")
            time.sleep(0.05)
            return self._victims.explains_loss(pid)
        if is_retry(error):
            self._journal.count("retries")
        elif error.sqlstate == "23505" and self._is_own_duplicate(error):
            self._journal.count("duplicates")
        elif error.sqlstate == "57014" and self._victims.explains_cancel(pid):
            self._journal.count("cancelled")
        elif error.sqlstate == "0A000" and "cached plan" in str(error):
            # A prepared statement whose result has another type since the cutover: prepared again by a new session.
            self._journal.count("plans to prepare again")
            self._forget()
            return True
        else:
            return False
        try:
            if application is not None:
                application.connection.execute("rollback")
        except psycopg.Error as lost:
            return self._allowed(lost)
        return True

    def _forget(self) -> None:
        if self._application is not None:
            self._application.connection.close()
            self._application = None
