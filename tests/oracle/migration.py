"""Migrations under load: tables of random shapes go there, back, there again, and to the end.

    create ─ start ─ backfill ─ verify ─ cutover ─ finalize
               └───────┴──────────┴─────────┴── rollback: all over again
"""

from __future__ import annotations

import json
import time
from random import Random

import psycopg

import catalog
import sabotage
from application import Application
from dba import Dba, Stuck
from functions import FunctionCaller
from journal import Journal
from session import connect, ensure_role, quoted, rows
from shapes import OWNER, SCHEMA, WRITER, Shape, random_shape
from statements import insert_rows
from tables import differences, search_problems
from victims import Victims
from writers import TableWriter, Writers

PREPARATION = f"""
    select encrypt.create_key('default');
    select encrypt.grant_key('default', '{OWNER}', 'encrypt', 'decrypt');
"""

WRITERS = 5


class Migration:
    """One table from its creation to the end of its migration."""

    def __init__(self, seed: str, journal: Journal, victims: Victims, deadline: float,
                 broken: sabotage.Sabotage | None):
        self._random = Random(seed)
        self._journal, self._victims, self._deadline = journal, victims, deadline
        self._broken = broken
        self.shape = random_shape(self._random, with_modifiers=True, rows=self._random.choice((50, 600, 3000)))
        if broken is not None:
            self.shape = sabotage.shape(self._random, broken)
        self._writers = Writers(WRITERS, lambda writers, n: TableWriter(
            writers, f"{seed}/writer {n}", journal, victims, self.shape, as_replica=n == WRITERS - 1 and self.shape.permits_replicas))
        # One crash in some steps: recovery takes its time.
        self._dba = Dba(self._random, journal, victims, self._writers.pids, kills=self._random.random() < 0.5)
        self._chance = 0.0 if broken is not None else 0.5
        self._batch_rows = broken.batch_rows if broken is not None else None
        self._number = 0
        self._checks = 0

    # ---- the course of a run -------------------------------------------------------------------------------

    def run(self) -> None:
        self._journal.note(self.shape.describe())
        self._create()
        before = self._snapshot()
        self._writers.start()
        try:
            for rollback_after in self._plan():
                if not self._there_and_back(rollback_after, before):
                    return
        except Stuck as error:
            self._journal.fail(f"{self.shape.table}", str(error), self.shape.describe())
            self._writers.failed.set()
        finally:
            self._writers.stop()
        if not self._writers.failed.is_set():
            self._drop()

    def _plan(self) -> list[str | None]:
        """After which phases to turn back, and None: to the end."""
        if self._broken is not None:
            return [self._broken.turn] * 1000
        turns = [self._random.choice(("dual_writing", "backfilled", "verified", "cut_over"))
                 for _ in range(self._random.choice((0, 1, 1, 2)))]
        return [*turns, None]

    def _there_and_back(self, rollback_after: str | None, before: catalog.Snapshot) -> bool:
        """False: there is no use in going on."""
        self._start()
        steps = {"dual_writing": self._watch, "backfilled": self._backfill, "verified": self._verify, "cut_over": self._cut_over}
        for phase, step in steps.items():
            if self._broken is None and self._random.random() < 0.25:
                self._rotate()
            step()
            sabotage.break_guard(self._broken, self._dba.connection(), phase)
            if self._broken is not None:
                time.sleep(0.5)
            if not self._is_equal(phase):
                return False
            if phase == rollback_after or time.monotonic() > self._deadline:
                return self._roll_back(before) and time.monotonic() < self._deadline
        return self._finalize(before)

    # ---- steps ---------------------------------------------------------------------------------------------

    def _create(self) -> None:
        with connect() as connection:
            connection.execute(f"create schema {SCHEMA}")
            connection.execute(f"grant usage, create on schema {SCHEMA} to {OWNER}")
            connection.execute(f"grant usage on schema {SCHEMA} to {WRITER}")
            for statement in self.shape.create():
                connection.execute(statement)
            numbers = iter(range(1, 10**9))
            application = Application(connection, self.shape, self._random, lambda: -next(numbers))
            for start in range(0, self.shape.rows, 200):
                places = range(start, min(start + 200, self.shape.rows))
                unique = [column.quoted for column in self.shape.columns if column.unique_among]
                insert_rows(application, [application.row(n) | {name: str(n) for name in unique} for n in places])
            connection.execute(f"analyze {self.shape.table}")

    def _start(self) -> None:
        columns = "{" + ",".join('"' + c.name.replace('"', '\\"') + '"' for c in self.shape.migrated) + "}"
        search = "{" + ",".join('"' + c.name.replace('"', '\\"') + '"' for c in self.shape.migrated if c.searchable) + "}"
        statement = (f"select encrypt.start_migration({quoted(self.shape.table)}, {quoted(columns)}, 'default',"
                     f" {quoted(search)}, {quoted(json.dumps(self.shape.options))})")
        self._dba.step("start", statement, lambda: self._running() is not None, self._chance)
        self._number = int(self._running())  # type: ignore[arg-type]
        self._journal.count("migrations started")

    def _watch(self) -> None:
        time.sleep(self._random.random() * 0.3)

    def _backfill(self) -> None:
        if self._random.random() < 0.5 and self._batch_rows is None:
            self._dba.step("backfill", f"call encrypt.backfill({self._number})", lambda: self._reached("backfilled"), self._chance)
        else:
            self._in_background("backfill", "start_backfill", "backfilled")
        self._journal.count("backfills")
        for told in self._dba.ask("select j.kind, j.state, j.ended_at - j.created_at, p.retries, p.last_error from encrypt.jobs j"
                                  " join encrypt.job_progress p using (job_id)"
                                  " where j.subject = %s order by job_id desc limit 1", (str(self._number),)):
            self._journal.note(str(told))

    def _verify(self) -> None:
        if self._random.random() < 0.5:
            self._dba.step("verify", f"call encrypt.verify({self._number})", lambda: self._reached("verified"), self._chance)
        else:
            self._in_background("verify", "start_verification", "verified")

    def _cut_over(self) -> None:
        with connect() as connection:
            connection.execute("select encrypt.grant_key('default', %s::regrole, 'encrypt', 'decrypt', 'search')", [WRITER])
        self.shape.is_view = self.shape.expose == "view"
        if self.shape.expose == "columns":
            # The application changes with the table: from here on there is one that calls the functions.
            self._writers.pause()
        self._dba.step("cutover", f"call encrypt.cutover({self._number})", lambda: self._reached("cut_over"), self._chance)
        self._journal.count(f"cutovers to {self.shape.expose}")
        if self.shape.expose == "columns":
            with connect() as connection:
                written = FunctionCaller(connection, self.shape, self._random).write(40)
            self._journal.count("statements that call functions", written)
        if self._broken is None and self._random.random() < 0.5:
            self._verify_once_more()

    def _verify_once_more(self) -> None:
        """While writes flow back, which must not look like differences."""
        before = self._verification()
        self._dba.step("verify after cutover", f"call encrypt.verify({self._number})", lambda: self._verification() != before, 0)
        passed = self._dba.ask("select verification ->> 'passed', last_error from encrypt.migrations where migration_id = %s",
                               (self._number,))
        self._journal.check("verification after cutover", [] if passed[0][0] == "true" else [str(passed), self.shape.describe()])

    def _roll_back(self, before: catalog.Snapshot) -> bool:
        def gone() -> bool:
            return self._running() is None

        was = self._phase()
        self._dba.step("rollback", f"call encrypt.rollback_migration({self._number})", gone, self._chance)
        self.shape.is_view = False
        if was == "cut_over" and self.shape.expose == "columns":
            self._writers.go_on()
        self._journal.count(f"rollbacks after {was}")
        equal = self._is_equal(f"rollback after {was}")
        return self._journal.check(f"catalog after rollback from {was}", catalog.changes(before, self._snapshot())) and equal

    def _finalize(self, before: catalog.Snapshot) -> bool:
        def finished() -> bool:
            return self._running() is None

        self._dba.step("finalize", f"call encrypt.finalize_migration({self._number})", finished, self._chance)
        self._journal.count("migrations finalized")
        self._writers.pause()
        equal = self._is_equal("finalize")
        self._end_rotation()
        if self.shape.expose == "type":
            with connect() as connection:
                self._journal.check("searches after finalize", search_problems(connection, self.shape))
            if not self.shape.has_metadata:
                migrated = {column.name for column in self.shape.migrated}
                self._journal.check("catalog after finalize", catalog.changes_of_encryption(before, self._snapshot(), migrated))
        self._writers.go_on()
        return equal

    def _drop(self) -> None:
        with connect() as connection:
            # Also where a migration has not ended.
            connection.execute("set client_min_messages = error; set session_replication_role = replica")
            connection.execute(f"drop schema {SCHEMA} cascade")
            connection.execute("set session_replication_role = origin")
            connection.execute("select encrypt.cancel_job(job_id) from encrypt.jobs where kind = 'reencrypt' and ended_at is null")
            connection.execute("select encrypt.revoke_key('default', %s::regrole, 'encrypt', 'decrypt', 'search')", [WRITER])

    # ---- a rotation meanwhile ------------------------------------------------------------------------------

    def _rotate(self) -> None:
        """The key gets a new version, and whatever is encrypted is moved to it while the migration goes on."""
        try:
            with connect() as connection:
                if self._rotation() is None:
                    connection.execute("select encrypt.rotate_key('default')")
                    connection.execute("select encrypt.start_reencryption('default', '{\"batch_rows\": 100}')")
                    self._journal.count("rotations")
                connection.execute("select encrypt.start_workers(%s, 1)", [self._rotation()])
        except psycopg.Error as error:
            self._journal.note(f"rotate: {error.sqlstate} {error}")

    def _rotation(self) -> int | None:
        found = self._dba.ask("select job_id from encrypt.jobs where kind = 'reencrypt' and ended_at is null")
        return int(found[0][0]) if found else None

    def _end_rotation(self) -> None:
        """Nothing is left under earlier versions. While nobody writes."""
        for _ in range(300):
            job = self._rotation()
            if job is None:
                break
            self._dba.ask("select encrypt.start_workers(%s, 1)", (job,))
            time.sleep(0.1)
        problems = [f"job {job} {state}: {why}" for job, state, why in self._dba.ask(
            "select job_id, state, last_error from encrypt.job_progress"
            " where kind = 'reencrypt' and state not in ('finished', 'cancelled')")]
        if problems:
            problems += [f"worker {worker}" for worker in self._dba.ask("select * from encrypt._job_workers()")]
            problems += [f"chunk {chunk}" for chunk in self._dba.ask(
                "select c.* from encrypt.job_chunks c join encrypt.jobs j using (job_id) where j.kind = 'reencrypt' and j.ended_at is null")]
            problems += [str(session) for session in self._dba.ask(
                "select l.virtualtransaction, a.pid, a.backend_type, a.state, now() - a.xact_start, a.wait_event, a.query"
                " from pg_locks l join pg_stat_activity a using (pid) where l.locktype = 'virtualxid' and l.granted")]
        if self._journal.counts["rotations"]:
            problems += [str(use) for use in self._dba.ask(
                'select version, relation, "column", "values" from encrypt.key_usage(\'default\')'
                " where purpose = 'column' and state = 'rotating' and \"values\" > 0")]
            self._journal.check("all values are under the active version", problems)

    # ---- jobs ----------------------------------------------------------------------------------------------

    def _in_background(self, kind: str, function: str, phase: str) -> None:
        def job() -> int | None:
            found = self._dba.ask("select job_id from encrypt.jobs where kind = %s and subject = %s and ended_at is null",
                                  (kind, str(self._number)))
            return int(found[0][0]) if found else None

        options = json.dumps({"batch_rows": self._batch_rows or self._random.choice((20, 200, 5000))})
        self._dba.step(kind, f"select encrypt.{function}({self._number}, '{options}')",
                       lambda: job() is not None or self._reached(phase), self._chance)
        for attempt in range(300):
            if self._reached(phase):
                return
            found = job()
            if found is None:
                # Finished between the two questions, or failed.
                state = self._dba.ask("select state, last_error from encrypt.jobs where kind = %s and subject = %s"
                                      " order by job_id desc limit 1", (kind, str(self._number)))
                if self._reached(phase):
                    return
                raise Stuck(f"{kind} is {state}, migration is {self._verification()}")
            chance = self._chance if attempt < 5 else 0
            try:
                with connect() as connection:
                    workers = self._random.randint(1, 3)
                    connection.execute("select encrypt.start_workers(%s, %s)", (found, workers))
                if self._random.random() < chance:
                    time.sleep(self._random.random() * 0.1)
                    self._dba.strike(self._random, self._dba.connection().info.backend_pid)
                    self._dba.forget()
                if self._random.random() < chance * 0.3:
                    self._dba.ask("select encrypt.pause_job(%s)", (found,))
                    time.sleep(self._random.random() * 0.2)
                    self._dba.ask("select encrypt.resume_job(%s)", (found,))
            except psycopg.Error as error:
                # It may have ended meanwhile, and so may the server; the next round will tell.
                self._journal.note(f"{kind}: {error.sqlstate} {error}")
            time.sleep(0.1)
        raise Stuck(f"{kind} does not end: {self._dba.ask('select * from encrypt.job_progress order by job_id desc limit 1')}")

    # ---- what is so ----------------------------------------------------------------------------------------

    def _running(self) -> str | None:
        found = self._dba.ask("select migration_id from encrypt.migrations where table_schema = %s and table_name = %s"
                              " and ended_at is null", (SCHEMA, self.shape.name))
        return found[0][0] if found else None

    def _phase(self) -> str:
        return self._dba.ask("select phase from encrypt.migrations where migration_id = %s", (self._number,))[0][0]

    def _reached(self, phase: str) -> bool:
        order = ("dual_writing", "backfilling", "backfilled", "verified", "cut_over", "finalized")
        return order.index(self._phase()) >= order.index(phase)

    def _verification(self) -> list[tuple]:
        return self._dba.ask("select phase, verification, last_error from encrypt.migrations where migration_id = %s",
                             (self._number,))

    def _snapshot(self) -> catalog.Snapshot:
        with connect() as connection:
            return catalog.snapshot(connection)

    def _is_equal(self, what: str) -> bool:
        """Also while others write: a snapshot is as good as silence."""
        if self._writers.failed.is_set():
            return False
        quiet = self._random.random() < 0.5
        if quiet:
            self._writers.pause()
        shadow = None
        if what in ("backfilled", "verified", "cut_over"):
            shadow = self._dba.ask("select shadow from encrypt.migrations where migration_id = %s", (self._number,))[0][0]
        try:
            with connect() as connection:
                found = differences(connection, self.shape, shadow)
        finally:
            if quiet:
                self._writers.go_on()
        tables = "table, twin and shadow" if shadow else "table and twin"
        equal = self._journal.check(f"{tables} are equal: {what}{', quiet' if quiet else ''}", found)
        if not equal:
            self._writers.failed.set()
        return equal


def run(seed: int, seconds: float, journal: Journal, victims: Victims, broken: sabotage.Sabotage | None = None) -> None:
    with connect() as connection:
        ensure_role(connection, OWNER)
        ensure_role(connection, WRITER)
        if not rows(connection, "select from encrypt.keys where name = 'default'"):
            connection.execute(PREPARATION)
        sabotage.break_guard(broken, connection, "")
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline and not journal.failures:
        number += 1
        Migration(f"{seed}/{number}", journal, victims, deadline, broken).run()
