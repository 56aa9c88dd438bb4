"""Sessions of the application in threads: transactions at random, and what may become of them."""

from __future__ import annotations

import itertools
import threading
import time
from random import Random
from typing import Callable

import psycopg

import statements
from application import Application, Mismatch
from journal import Journal
from session import STATEMENT_TIMEOUT, connect, is_lost, is_retry
from shapes import CHILDREN, PARENTS, SCHEMA, TWIN, TWIN_CHILDREN, WRITER, Shape
from victims import Victims

ISOLATION = ("read committed", "read committed", "read committed", "repeatable read", "serializable")

_numbers = itertools.count(1)


class Writers:
    """Several writers that can be told to pause between transactions."""

    def __init__(self, number: int, make: Callable[[Writers, int], Writer]):
        self._gate = Gate(number)
        self.failed = threading.Event()
        self._threads = [make(self, n) for n in range(number)]

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
    """One session that runs transactions until it is over; what they do is in the classes below."""

    role: str | None = WRITER

    def __init__(self, writers: Writers, seed: str, journal: Journal, victims: Victims):
        super().__init__(daemon=True, name=seed)
        self._writers, self._journal, self._victims = writers, journal, victims
        self._random = Random(seed)
        self._connection: psycopg.Connection | None = None
        self.pid: int | None = None
        self.last = ""

    def run(self) -> None:
        while self._writers.wait_at_gate():
            try:
                if self._connection is None:
                    self._connection = connect(self.role, statement_timeout=STATEMENT_TIMEOUT)
                    self.pid = self._connection.info.backend_pid
                    self._begin_session(self._connection)
                self._transaction(self._connection)
                self._journal.count("transactions")
            except Exception as error:  # noqa: BLE001: a thread that dies in silence would be a test that can't fail
                if not self._may_happen(error):
                    self._journal.fail(f"{self.name}: {type(error).__name__} {getattr(error, 'sqlstate', '')}",
                                       str(error), self.last)
                    self._writers.failed.set()
                    self._end_session()
            if self._writers.failed.is_set():
                time.sleep(0.2)

    def _begin_session(self, connection: psycopg.Connection) -> None:
        """What is kept as long as the session lasts."""

    def _transaction(self, connection: psycopg.Connection) -> None:
        raise NotImplementedError

    def _must_be_expected(self, error: psycopg.Error) -> str | None:
        """What an error is called that any client of this table must expect."""
        return None

    def _may_happen(self, error: Exception) -> bool:
        """Whether a client must expect this error; then the session is ready for the next transaction."""
        if isinstance(error, Mismatch) or not isinstance(error, psycopg.Error):
            return False
        if is_lost(error):
            self._end_session()
            self._journal.count("connections lost")
            time.sleep(0.05)
            return self._victims.explains_loss(self.pid)
        if is_retry(error):
            self._journal.count("retries")
        elif error.sqlstate == "57014" and self._victims.explains_cancel(self.pid):
            self._journal.count("cancelled")
        elif (expected := self._must_be_expected(error)) is not None:
            self._journal.count(expected)
        else:
            return False
        try:
            if self._connection is not None:
                self._connection.execute("rollback")
        except psycopg.Error as lost:
            return self._may_happen(lost)
        return True

    def _end_session(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class TableWriter(Writer):
    """Writes to a table that is migrated, and to its twin."""

    def __init__(self, writers: Writers, seed: str, journal: Journal, victims: Victims, shape: Shape, as_replica: bool):
        super().__init__(writers, seed, journal, victims)
        self._shape = shape
        # Only superusers may be replicas: what logical replication's apply workers are.
        self._as_replica = as_replica
        self.role = None if as_replica else WRITER

    def _begin_session(self, connection: psycopg.Connection) -> None:
        self._application = Application(connection, self._shape, self._random, lambda: next(_numbers))

    def _transaction(self, connection: psycopg.Connection) -> None:
        application = self._application
        random, execute = self._random, application.execute
        try:
            execute(f"begin isolation level {random.choice(ISOLATION)}")
            if self._as_replica and random.random() < 0.5:
                execute("set local session_replication_role = replica")
            for _ in range(random.choice((1, 1, 2, 3, 5))):
                self._statement(application)
                if random.random() < 0.05:
                    time.sleep(random.random() * 0.05)
            execute("rollback" if random.random() < 0.1 else "commit")
        finally:
            self.last = f"{application.last}\n{self._shape.describe()}"

    def _statement(self, application: Application) -> None:
        kind = statements.choose(self._random, self._shape)
        protected = self._random.random() < 0.4
        if protected:
            application.execute("savepoint one")
        try:
            kind(application)
        except psycopg.errors.UniqueViolation as error:
            if not protected or not self._is_own_duplicate(error):
                raise
            application.execute("rollback to one")
        self._journal.count(kind.__name__)

    def _is_own_duplicate(self, error: psycopg.Error) -> bool:
        """Of the table's own key, and not of another's that a trigger wrote to."""
        return error.diag.schema_name == SCHEMA and error.diag.table_name in (*self._own_relations(), bare(PARENTS))

    def _own_relations(self) -> list[str]:
        """Those that a statement on the table writes to itself: of a view the encrypted ones, which keep their names."""
        own = self._shape.relations
        return own + [shadow_name(name) for name in own] if self._shape.is_view else own

    def _is_own_reference(self, error: psycopg.Error) -> bool:
        """A row that the table or what refers to it needs, and that is not there or is gone."""
        return error.diag.schema_name == SCHEMA and error.diag.table_name in (
            *self._own_relations(), bare(CHILDREN), bare(TWIN), bare(TWIN_CHILDREN))

    def _must_be_expected(self, error: psycopg.Error) -> str | None:
        if error.sqlstate == "23505" and self._is_own_duplicate(error):
            return "duplicates"
        if error.sqlstate == "23503" and self._is_own_reference(error):
            return "missing references"
        if error.sqlstate in ("0A000", "42809") and self._shape.is_view and "cached plan" not in str(error):
            # A statement that was begun on the table and reached the view.
            return "not on a view"
        if error.sqlstate == "0A000" and "cached plan" in str(error):
            # A prepared statement whose result has another type since the cutover: prepared again by a new session.
            self._end_session()
            return "plans to prepare again"
        return None


def shadow_name(name: str) -> str:
    """What an encrypted table is called while there is a plaintext one: shortened to what fits into 63 bytes."""
    while len(f"{name}_encrypted".encode()) > 63:
        name = name[:-1]
    return f"{name}_encrypted"


def bare(qualified: str) -> str:
    return qualified.removeprefix(f"{SCHEMA}.")
