"""Rotations under load: keys are rotated, values re-encrypted and tokens made anew while writers write and copy values."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import Sequence

import psycopg

import sabotage
import values
from application import Mismatch
from dba import Dba, Stuck
from journal import Journal
from session import connect, ensure_role, quoted, rows, scalar
from shapes import WRITER
from victims import Victims
from writers import ISOLATION, Writer, Writers

KEYS = ("rotation one", "rotation two")
WRITERS = 5

# A column of each kind: bound to its row, in a context of its own with a token, under another key; two encrypted types.
COLUMNS = ("bound", "free", "other", "typed", "number")
SEALED = {
    "bound": "encrypt.encrypt_column({}::text, 'rotation one', 'bound', id::text)",
    "free": "encrypt.encrypt_column({}::text, 'rotation one', 'free')",
    "other": "encrypt.encrypt_column({}::text, 'rotation two', 'other')",
    "typed": "{}::text",
    "number": "{}::integer",
    "token": "encrypt.blind_index({}::text, 'rotation one', 'free', bits => 64)",
}
OPENED = {
    "bound": "encrypt.decrypt_column(v.bound, 'bound', v.id::text)",
    "free": "encrypt.decrypt_column(v.free, 'free')",
    "other": "encrypt.decrypt_column(v.other, 'other')",
    "typed": "v.typed::text",
    "number": "v.number::integer::text",
}

PREPARATION = f"""
    select encrypt.create_key(name) from unnest(array{list(KEYS)}) as name;
    select encrypt.grant_key(name, '{WRITER}', 'encrypt', 'decrypt', 'search') from unnest(array{list(KEYS)}) as name;
    create schema vault;
    select encrypt.create_type('vault.typed', key => 'rotation one', searchable => true);
    select encrypt.create_type('vault.number', 'integer', key => 'rotation two');
    create table vault.t (id bigint not null, n integer, bound encrypt.ciphertext, free encrypt.ciphertext, token bytea,
                          other encrypt.ciphertext, typed vault.typed, number vault.number) partition by range (id);
    create table vault.t1 partition of vault.t (primary key (id)) for values from (0) to (300);
    create table vault.t2 (number vault.number, gone integer, typed vault.typed, other encrypt.ciphertext, token bytea,
                           free encrypt.ciphertext, bound encrypt.ciphertext, n integer, id bigint not null primary key);
    alter table vault.t2 drop column gone;
    alter table vault.t attach partition vault.t2 default;
    alter table vault.t add primary key (id);
    create index on vault.t (token);
    create index on vault.t (typed vault.typed_ops);
    create index on vault.t (encrypt.key_id(bound));
    create table vault.twin (id bigint primary key, bound text, free text, other text, typed text, number text);
    grant usage on schema vault to {WRITER};
    grant select, insert, update, delete on vault.t, vault.twin to {WRITER};
    select encrypt.register_column('vault.t', 'bound', key => 'rotation one', context => 'bound', row_id_column => 'id');
    select encrypt.register_column('vault.t', 'free', 'token', key => 'rotation one', context => 'free', bits => 64);
    select encrypt.register_column('vault.t', 'other', key => 'rotation two', context => 'other');
"""
ROWS = 800


class VaultWriter(Writer):
    """Writes values and tokens, copies sealed values from row to row, and searches."""

    def _transaction(self, connection: psycopg.Connection) -> None:
        random = self._random
        self._execute(connection, f"begin isolation level {random.choice(ISOLATION)}")
        for _ in range(random.choice((1, 1, 2, 4))):
            kind = random.choices((self.insert, self.update, self.copy, self.delete, self.search), (5, 5, 4, 2, 2))[0]
            kind(connection)
            self._journal.count(kind.__name__)
            if random.random() < 0.06:
                # Long enough for a rotation, and for a job that must wait for this transaction.
                time.sleep(random.choice((0.05, 0.6)))
        self._execute(connection, "rollback" if random.random() < 0.1 else "commit")

    def _execute(self, connection: psycopg.Connection, text: str, parameters=None) -> list[tuple]:
        self.last = text
        cursor = connection.execute(text, parameters, prepare=random_prepare(self._random, parameters))
        return cursor.fetchall() if cursor.description else []

    def _id(self) -> int:
        return self._random.randrange(8) if self._random.random() < 0.2 else self._random.randrange(ROWS)

    def _value(self, column: str) -> str | None:
        if self._random.random() < 0.1:
            return None
        if column == "number":
            return values.integer(self._random, 32)
        # The type's index holds whole values, of at most a third of a page.
        return values.text(self._random, 2000 if column == "typed" else 9000)

    def insert(self, connection: psycopg.Connection) -> None:
        given = {column: self._value(column) for column in COLUMNS}
        sealed = {column: SEALED[column].format(f"%({column})s") for column in COLUMNS}
        sealed["token"] = SEALED["token"].format("%(free)s")
        changes = ", ".join(f"{column} = excluded.{column}" for column in sealed)
        # Half of them are new: of a row that was there, a job waits for the lock.
        parameters = given | {"id": self._id() if self._random.random() < 0.5 else self._random.randrange(ROWS * 10)}
        self._execute(connection, f"insert into vault.t as v (id, {', '.join(sealed)}) select id, {', '.join(sealed.values())}"
                                  f" from (values (%(id)s::bigint)) as s (id) on conflict (id) do update set {changes}", parameters)
        names = ", ".join(COLUMNS)
        self._execute(connection, f"insert into vault.twin (id, {names})"
                                  f" values (%(id)s, {', '.join(f'%({column})s' for column in COLUMNS)}) on conflict (id)"
                                  f" do update set {', '.join(f'{column} = excluded.{column}' for column in COLUMNS)}", parameters)

    def update(self, connection: psycopg.Connection) -> None:
        column = self._random.choice(COLUMNS)
        parameters = {"id": self._id(), "value": self._value(column)}
        changes = f"{column} = {SEALED[column].format('%(value)s')}"
        if column == "free":
            changes += f", token = {SEALED['token'].format('%(value)s')}"
        for id, in self._execute(connection, f"update vault.t set {changes} where id = %(id)s returning id", parameters):
            self._execute(connection, f"update vault.twin set {column} = %s where id = %s", (parameters["value"], id))

    def copy(self, connection: psycopg.Connection) -> None:
        """Sealed values as they are, perhaps under a version that was replaced since this transaction's snapshot."""
        column = self._random.choice(("free", "other", "typed", "number"))
        changes = f"{column} = s.{column}" + (", token = s.token" if column == "free" else "")
        for id, value in self._execute(
            connection, f"update vault.t v set {changes} from vault.t s where v.id = %s and s.id = %s"
                        f" returning v.id, {OPENED[column]}", (self._id(), self._id())):
            self._execute(connection, f"update vault.twin set {column} = %s where id = %s", (value, id))

    def delete(self, connection: psycopg.Connection) -> None:
        low = self._id()
        gone = self._execute(connection, "delete from vault.t where id between %s and %s returning id", (low, low + 3))
        self._execute(connection, "delete from vault.twin where id = any (%s::bigint[])", ([id for id, in gone],))

    def search(self, connection: psycopg.Connection) -> None:
        for id, free, typed in self._execute(
            connection, f"select v.id, {OPENED['free']}, {OPENED['typed']} from vault.t v where v.id = %s for update", (self._id(),)):
            for value, condition in ((free, "token = any (encrypt.blind_index_all(%s, 'rotation one', 'free', bits => 64))"),
                                     (typed, "typed = %s")):
                if value is not None and (id,) not in self._execute(
                        connection, f"select id from vault.t where {condition}", (value,)):
                    raise Mismatch(f"{self.last}: row {id} is not found by its own value")


def random_prepare(random: Random, parameters) -> bool:
    return parameters is not None and random.random() < 0.5


class Rotation:
    def __init__(self, seed: int, journal: Journal, victims: Victims, deadline: float):
        self._random = Random(f"{seed}/rotation")
        self._journal, self._deadline = journal, deadline
        self._writers = Writers(WRITERS, lambda writers, n: VaultWriter(writers, f"{seed}/writer {n}", journal, victims))
        self._dba = Dba(self._random, journal, victims, self._writers.pids, kills=True)

    def run(self) -> None:
        self._writers.start()
        try:
            time.sleep(0.5)
            while time.monotonic() < self._deadline and not self._writers.failed.is_set():
                self._random.choice((self._rotate, self._reencrypt, self._finish, self._finish, self._reindex, self._try_to_retire,
                                     self._go_back, self._regrant, self._compromise, self._rewrite))(self._random.choice(KEYS))
                time.sleep(self._random.random() * 0.1)
            self._end()
        except (Stuck, psycopg.Error) as error:
            self._journal.fail("rotation", f"{type(error).__name__} {error}")
        finally:
            self._writers.stop()

    # ---- what an administrator does ------------------------------------------------------------------------

    def _try(self, what: str, query: str, parameters=None) -> None:
        """What may be refused, or meet an accident."""
        self._journal.count(what)
        try:
            self._dba.connection().execute(query, parameters)
        except psycopg.Error as error:
            self._journal.note(f"{what}: {error.sqlstate} {str(error).strip()[:200]}")
            self._journal.count(f"{what} refused")
            self._dba.forget()
            # The state of a key, a job that runs already, an accident, or one that waits for another in a circle.
            if error.sqlstate not in (None, "55000", "55006", "57P01", "57P03", "57014", "55P03", "40P01"):
                raise

    def _rotate(self, key: str) -> None:
        self._journal.note(f"rotation of {key}")
        self._try("rotation", "select encrypt.rotate_key(%s, %s)", (key, self._random.choice(("column", "column", "index"))))

    def _go_back(self, key: str) -> None:
        for id, in self._dba.ask("select key_id from encrypt.keys where name = %s and state = 'rotating' order by random() limit 1", (key,)):
            self._try("going back", "select encrypt.activate_key(%s)", (id,))

    def _compromise(self, key: str) -> None:
        for id, in self._dba.ask("select key_id from encrypt.keys where name = %s and purpose = 'column' and state <> 'retired'"
                                 " order by random() limit 1", (key,)):
            self._try("compromise", "select encrypt.mark_compromised(%s)", (id,))

    def _try_to_retire(self, key: str) -> None:
        for id, in self._dba.ask("select key_id from encrypt.keys where name = %s and state = 'rotating' order by random() limit 1", (key,)):
            self._try("retirement", "select encrypt.retire_key(%s)", (id,))

    def _regrant(self, key: str) -> None:
        """Taken and given back in one transaction: nobody must notice."""
        self._try("regrant", f"begin; select encrypt.revoke_key('{key}', '{WRITER}', 'encrypt', 'decrypt', 'search');"
                             f" select encrypt.grant_key('{key}', '{WRITER}', 'encrypt', 'decrypt', 'search'); commit")

    def _rewrite(self, key: str) -> None:
        self._try("rewrite", self._random.choice(("vacuum full vault.t1", "cluster vault.t2 using t2_pkey", "vacuum vault.t1")))

    def _reencrypt(self, key: str) -> None:
        self._work("reencrypt", "start_reencryption", key)

    def _finish(self, key: str) -> None:
        """A rotation from its beginning to its end: a transaction that has used the version before is part of it."""
        self._work("reencrypt", "start_reencryption", key)
        with connect() as late:
            self._write_late(late)
            self._dba.step("rotation", f"select encrypt.rotate_key('{key}')", lambda: True, 0)
            commit = threading.Timer(1.0 + self._random.random(), self._commit, [late])
            commit.start()
            # A rotation at the very end of the job would be the next one's work.
            self._work("reencrypt", "start_reencryption", key, is_last=True)
            commit.join()
        self._journal.check(f"all values of {key} are under the active version", self._old_values([key]))

    def _write_late(self, connection: psycopg.Connection) -> None:
        number = str(10**9 + self._random.randrange(10**6))
        given = {column: number if column == "number" else f"late {number}" for column in COLUMNS}
        sealed = {column: SEALED[column].format(quoted(given[column])) for column in COLUMNS}
        sealed["token"] = SEALED["token"].format(quoted(given["free"]))
        connection.execute("begin")
        connection.execute(f"insert into vault.t (id, {', '.join(sealed)}) select id, {', '.join(sealed.values())}"
                           f" from (values ({number}::bigint)) as s (id)")
        connection.execute(f"insert into vault.twin (id, {', '.join(given)})"
                           f" values ({number}, {', '.join(map(quoted, given.values()))})")

    def _commit(self, connection: psycopg.Connection) -> None:
        try:
            connection.execute("commit")
        except psycopg.Error as error:
            # The server crashed meanwhile, as one of the accidents.
            self._journal.note(f"late commit: {error.sqlstate}")

    def _reindex(self, key: str) -> None:
        self._work("reindex", "start_reindexing", "rotation one")

    def _work(self, kind: str, function: str, key: str, chance: float = 0.5, is_last: bool = False) -> None:
        """Starts a job, or goes on with the one that there is, and lets it end."""
        options = f'{{"batch_rows": {self._random.choice((10, 50, 5000))}}}'
        job: int | None = None

        def begun() -> bool:
            nonlocal job
            # One that was under way may have ended when it is asked for again.
            job = self._job(kind, key)
            return job is not None

        self._dba.step(kind, f"select encrypt.{function}('{key}', '{options}')", begun, 0)
        self._journal.count(kind)
        if self._random.random() < 0.5:
            self._dba.step(kind, f"call encrypt.run_job({job})", lambda: self._state(job) == "finished", chance)
            return
        for attempt in range(400):
            state = self._state(job)
            if state == "finished":
                return
            if state != "running":
                raise Stuck(f"{kind} of {key} is {self._dba.ask('select * from encrypt.jobs where job_id = %s', (job,))}")
            try:
                self._dba.connection().execute("select encrypt.start_workers(%s, %s)", (job, self._random.randint(1, 3)))
                if attempt < 4 and self._random.random() < chance:
                    time.sleep(self._random.random() * 0.1)
                    self._dba.strike(self._random, self._dba.connection().info.backend_pid)
                if attempt < 4 and self._random.random() < chance * 0.3:
                    self._dba.ask("select encrypt.pause_job(%s)", (job,))
                    time.sleep(self._random.random() * 0.2)
                    self._dba.ask("select encrypt.resume_job(%s)", (job,))
                if self._random.random() < chance * 0.1 and not is_last:
                    # The ground moves under the job.
                    self._rotate(key)
            except psycopg.Error as error:
                self._journal.note(f"{kind}: {error.sqlstate} {error}")
                self._dba.forget()
            time.sleep(0.1)
        raise Stuck(f"{kind} does not end: {self._dba.ask('select * from encrypt.jobs where job_id = %s', (job,))}")

    def _job(self, kind: str, key: str) -> int | None:
        found = self._dba.ask("select job_id from encrypt.jobs where kind = %s and subject = %s and ended_at is null", (kind, key))
        return int(found[0][0]) if found else None

    def _state(self, job: int | None) -> str:
        return self._dba.ask("select state from encrypt.jobs where job_id = %s", (job,))[0][0]

    # ---- the end -------------------------------------------------------------------------------------------

    def _end(self) -> None:
        for key in KEYS:
            # Twice: a job that was under way may have begun before the last rotation.
            for _ in range(2):
                self._work("reencrypt", "start_reencryption", key, chance=0)
        for _ in range(2):
            self._work("reindex", "start_reindexing", KEYS[0], chance=0)
        # The writers still write: what they write is under the active version.
        self._journal.check("no value is under an earlier version", self._old_values(KEYS))
        self._retire()
        self._writers.pause()
        with connect() as connection:
            self._journal.check("table and twin are equal", differences(connection))
            self._journal.check("tokens are those of the active version", wrong_tokens(connection))
        self._writers.go_on()

    def _old_values(self, keys: Sequence[str]) -> list[str]:
        problems = []
        for column in COLUMNS:
            key = "rotation two" if column in ("other", "number") else "rotation one"
            if key not in keys:
                continue
            for id, count in self._dba.ask(
                f"select encrypt._key_id_of({column}), count(*) from vault.t where {column} is not null and encrypt._key_id_of({column})"
                    " <> (select key_id from encrypt.keys where name = %s and purpose = 'column' and state = 'active') group by 1", (key,)):
                problems.append(f"{count} values of {column} are under key {id}")
        return problems

    def _retire(self) -> None:
        for id, key, purpose in self._dba.ask(
                "select k.key_id, k.name, k.purpose from encrypt.keys k where k.state = 'rotating' and k.name = any (%s)"
                " and not exists (select from encrypt.types t where t.index_key_id = k.key_id)", (list(KEYS),)):
            # Transactions that are older than the rotation are named, and waited for.
            self._dba.step("retirement", f"select encrypt.retire_key({id})", lambda: self._is_retired(id), 0)
        self._journal.check("earlier versions are retired", [])

    def _is_retired(self, id: str) -> bool:
        return self._dba.ask("select state from encrypt.keys where key_id = %s", (id,)) == [("retired",)]


def differences(connection: psycopg.Connection) -> list[str]:
    names = ", ".join(COLUMNS)
    opened = ", ".join(OPENED[column] for column in COLUMNS)
    found = {row[0]: row for row in rows(connection, f"select v.id, {opened} from vault.t v")}
    wanted = {row[0]: row for row in rows(connection, f"select id, {names} from vault.twin")}
    return [f"row {id}: {str(found.get(id))[:200]}, twin: {str(wanted.get(id))[:200]}"
            for id in sorted(found.keys() | wanted.keys(), key=int) if found.get(id) != wanted.get(id)]


def wrong_tokens(connection: psycopg.Connection) -> list[str]:
    count = scalar(connection, "select count(*) from vault.t v join vault.twin w using (id) where v.token is distinct from "
                               + SEALED["token"].format("w.free"))
    unfound = scalar(connection, "select count(*) from vault.twin w where typed is not null"
                                 " and not exists (select from vault.t v where v.id = w.id and v.typed = w.typed)")
    return [f"{count} tokens are wrong"] * (count != "0") + [f"{unfound} values are not found"] * (unfound != "0")


def run(seed: int, seconds: float, journal: Journal, victims: Victims, broken: sabotage.Sabotage | None = None) -> None:
    with connect() as connection:
        ensure_role(connection, WRITER)
        connection.execute(PREPARATION)
        sabotage.break_guard(broken, connection, "")
    Rotation(seed, journal, victims, time.monotonic() + seconds).run()
