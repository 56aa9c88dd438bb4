"""Sessions and workers that are cancelled, terminated and killed, and the memory of it: an error that nobody caused is a failure."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg

from journal import Journal
from session import connect

# The server needs some seconds to recover, and a client may learn of its end late.
AFTERMATH = 30.0


class Victims:
    def __init__(self, journal: Journal):
        self._journal = journal
        self._lock = threading.Lock()
        self._cancelled: set[int] = set()
        self._ended: set[int] = set()
        self._crashed_at = -AFTERMATH
        self.kills = 0

    # ---- doing it ------------------------------------------------------------------------------------------

    def cancel(self, pid: int) -> None:
        with self._lock:
            self._cancelled.add(pid)
        self._journal.count("cancels")
        self._ask("select pg_cancel_backend(%s)", pid)

    def terminate(self, pid: int) -> None:
        with self._lock:
            self._ended.add(pid)
        self._journal.count("terminates")
        self._ask("select pg_terminate_backend(%s)", pid)

    def kill(self, pid: int) -> None:
        """A process that dies without a word takes all sessions with it: the server recovers as after a crash."""
        with self._lock:
            self._crashed_at = time.monotonic()
            self.kills += 1
        self._journal.count("kills")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            with self._lock:
                self.kills -= 1
            return
        wait_until_up()
        with self._lock:
            self._crashed_at = time.monotonic()

    def _ask(self, question: str, pid: int) -> None:
        try:
            with connect() as connection:
                connection.execute(question, (pid,))
        except psycopg.OperationalError:
            pass

    # ---- having done it ------------------------------------------------------------------------------------

    def explains_loss(self, pid: int | None) -> bool:
        with self._lock:
            return pid in self._ended or time.monotonic() - self._crashed_at < AFTERMATH

    def explains_cancel(self, pid: int | None) -> bool:
        with self._lock:
            return pid in self._cancelled


def wait_until_up() -> None:
    for _ in range(600):
        try:
            with connect() as connection:
                connection.execute("select 1")
                return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError("the server did not come up again within 30 seconds")
