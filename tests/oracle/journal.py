"""What the threads of a run found out: failures, and how often each thing was done."""

import sys
import threading
import time
from collections import Counter


class Journal:
    def __init__(self, verbose: bool, is_result: bool = True):
        """is_result: whether its checks are the result of the run, or only told."""
        self._lock = threading.Lock()
        self._verbose = verbose
        self._prefix = "" if is_result else "# "
        self._started = time.monotonic()
        self._checks = 0
        self.failures = 0
        self.counts: Counter[str] = Counter()

    def note(self, text: str) -> None:
        """Only read when something went wrong, or with --verbose."""
        if self._verbose:
            self._print(text)

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def check(self, what: str, problems: list[str]) -> bool:
        """One line of the result; it holds if there are no problems."""
        with self._lock:
            self._checks += 1
            number = self._checks
            self.failures += bool(problems)
        seconds = time.monotonic() - self._started
        print(f"{self._prefix}{'not ok' if problems else 'ok'} {number} - {what} ({seconds:.1f} s)", flush=True)
        for problem in problems[:20]:
            self._print(problem)
        if len(problems) > 20:
            self._print(f"and {len(problems) - 20} more")
        return not problems

    def fail(self, what: str, *details: str) -> None:
        self.check(what, list(details) or ["failed"])

    def _print(self, text: str) -> None:
        prefix = f"# {time.monotonic() - self._started:7.2f} "
        sys.stdout.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))
        sys.stdout.flush()
