-- Backfill: the rows that were there before dual write began, copied by the job engine.
--
-- Why every row arrives, none comes back, and nobody is kept waiting. No row of the live table is locked, which would write
-- all its pages again. In the words of one key k:
--
-- 1. Nothing is missed. The triggers were created under a lock that no writer holds at the same time, so a version of k was
--    either committed before, and is in the blocks of which the chunks are made afterwards, or was written by a
--    transaction that fires the triggers. start_backfill waits for all transactions of that moment besides. A row
--    that moves to another block meanwhile is updated meanwhile, by a trigger then. A table that is rewritten (VACUUM FULL)
--    gets new chunks; whatever is copied twice meets itself, see 2.
-- 2. Nothing newer is overwritten. A batch only inserts. Where the shadow has k already, the batch is undone and repeated
--    with ON CONFLICT DO NOTHING: a trigger's row is never older than what a batch read, because a trigger that changed k
--    leaves k in the shadow or in the tombstones. A trigger that meets a row which a batch has not committed yet waits for it, as
--    for any duplicate, and then writes its own over it.
-- 3. Nothing comes back. A batch reads as of its snapshot, and k may be deleted (or get another key) before the batch
--    commits: the deleter's trigger does not see the row that is on its way. So while rows are copied every delete and
--    every change of a key also leaves the old key in the tombstones. After the last batch all transactions that may have
--    deleted before it was committed are waited for: those that began to write before, whose numbers are below the next
--    one. (A snapshot's xmax is too low a bound: it follows the latest that ended, and a deleter can have begun after that.)
--    Then each tombstone's row is deleted from the shadow unless the live table has that key. A deleter that comes later
--    sees the batch's row.
--    Reconciling must not delete the row of one who inserts k anew just then. It locks the shadow's row first, and looks for k
--    in the live table with a later snapshot: an inserter that had the row before us is committed by then, and is seen; one
--    that comes after us waits for our commit, and inserts the row that we deleted. With one snapshot for both, the row would
--    be deleted after the lock was waited for, by what was known before.
-- 4. Snapshots of REPEATABLE READ and SERIALIZABLE writers do not matter: triggers look at the newest state (src/pg/plan.rs).
-- 5. TRUNCATE locks out batches and empties the shadow in the same transaction; a batch with an older snapshot finds nothing.
-- 6. What is unique besides the key: a row that is gone, on its way back by 3, still has it until it is reconciled. Whoever
--    takes it over meanwhile must not fail: the trigger's statements run in a subtransaction while rows are copied, and what
--    collides is replaced, which deletes the row that is gone (src/migrate/sync.rs).
-- 7. Batches give up a lock after a second, before any writer's deadlock_timeout can make it the victim.

create function encrypt._backfill_statement(migration integer, live regclass, shadow regclass, again boolean) returns text
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select format(
        'with copied as (insert into %s (%s) overriding system value select %s from only %s t'
        ' where t.ctid >= $1 and t.ctid < $2 %sreturning 1) select array[%s, count(*)] from copied',
        shadow, string_agg(quote_ident(c.name), ', ' order by c.ordinal) || s.name,
        string_agg(encrypt._sync_value(true, 't', c), ', ' order by c.ordinal) || s.value,
        live,
        case when again then format('on conflict (%s) do nothing ',
            string_agg(quote_ident(c.name), ', ' order by c.ordinal) filter (where c.is_key)) else '' end,
        -- Rows that were looked at, and rows that were copied.
        case when again then format('(select count(*) from only %s t where t.ctid >= $1 and t.ctid < $2)', live)
             else 'count(*)' end)
    from encrypt._sync_columns(migration, live, shadow) c
    cross join (select case when (m.options ->> 'metadata')::boolean then ', migration_status' else '' end as name,
                       case when (m.options ->> 'metadata')::boolean then ', ''pending''' else '' end as value
                from encrypt.migrations m where m.migration_id = migration) s
    where not c.is_generated
    group by s.name, s.value;
end;
comment on function encrypt._backfill_statement(integer, regclass, regclass, boolean) is
    'statement that copies the rows between two tids; again: those that are not there';

create function encrypt.start_backfill(migration integer, options jsonb default '{}') returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations := encrypt._own_migration(migration);
    pair record;
    prepared text;
    job integer;
begin
    if m.phase not in ('dual_writing', 'backfilling') then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s is %s: there is nothing to copy', migration, m.phase);
    end if;
    perform encrypt._take_over(migration);
    perform encrypt._check_sync(migration);
    -- Before anything else: of a job that exists already, the number is told.
    job := encrypt._create_job('backfill', migration::text, options);
    -- Only a person can end such a transaction, and the wait below would be for that.
    select p.gid into prepared from pg_prepared_xacts p where p.database = current_database() order by p.prepared limit 1;
    if prepared is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('prepared transaction "%s" has not ended and may have written to table %s', prepared, m.live),
            hint = format('Run: commit prepared %1$L; or: rollback prepared %1$L;', prepared);
    end if;
    -- A wait that shows up in pg_locks and ends with lock_timeout or statement_timeout of the caller.
    perform encrypt._wait_for_running_transactions();
    for pair in select * from encrypt._leaf_pairs(migration) loop
        perform encrypt._add_task(job, pair.live, encrypt._backfill_statement(migration, pair.live, pair.shadow, false),
                                  m.key_name, fallback => encrypt._backfill_statement(migration, pair.live, pair.shadow, true));
    end loop;
    update encrypt.migrations r set phase = 'backfilling', last_error = null where r.migration_id = migration;
    return job;
end
$$;
comment on function encrypt.start_backfill(integer, jsonb) is
    'makes the job that copies the rows of a migrating table; options are those of a job';

-- Names are looked up when it runs: a task outlives a rename. in_shadow and in_live: conditions that a row s of the shadow, t of
-- the live table has the key of a tombstone n.
create function encrypt._reconciliation(
    migration integer, out live regclass, out shadow regclass, out tombstones regclass, out in_shadow text, out in_live text
) returns record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    select m.live, m.shadow, m.tombstones, encrypt._key_condition(m.live, m.key_columns, 's', 'n'),
           encrypt._key_condition(m.live, m.key_columns, 't', 'n')
    into live, shadow, tombstones, in_shadow, in_live
    from encrypt.migrations m where m.migration_id = migration;
end
$$;
comment on function encrypt._reconciliation(integer) is 'tables that a backfill reconciles, and how their keys are compared';
-- Anyone may execute it: it tells what the catalogs tell.

-- Deletes rows of the shadow that came back: of keys in the tombstones between two tids which the live table has not.
-- horizon: all transactions that began to write before it must have ended. See 3 above.
create function encrypt._reconcile(migration integer, first tid, past tid, horizon xid8) returns bigint[]
    language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
    deadline timestamptz := clock_timestamp() + interval '500 ms';
    r record;
    visited bigint;
    deleted bigint;
begin
    -- Each statement of a volatile function has a new snapshot.
    while pg_snapshot_xmin(pg_current_snapshot()) < horizon loop
        if clock_timestamp() > deadline then
            raise exception using errcode = 'lock_not_available',
                message = 'transactions that began before the last rows were copied have not ended';
        end if;
        perform pg_sleep(0.01);
    end loop;
    select * into r from encrypt._reconciliation(migration);
    -- In the order in which TRUNCATE and its trigger lock them.
    execute format('lock table %s in access share mode', r.live);
    execute format('select count(*) from (select from %s s join %s n on %s where n.ctid >= $1 and n.ctid < $2 for update of s) l',
                   r.shadow, r.tombstones, r.in_shadow)
        using first, past;
    execute format('delete from %s s using %s n where %s and n.ctid >= $1 and n.ctid < $2'
                   ' and not exists (select from %s t where %s)', r.shadow, r.tombstones, r.in_shadow, r.live, r.in_live)
        using first, past;
    get diagnostics deleted = row_count;
    execute format('select count(*) from %s n where n.ctid >= $1 and n.ctid < $2', r.tombstones) into visited using first, past;
    -- What was copied, and is gone again.
    return array[visited, -deleted];
end
$$;
comment on function encrypt._reconcile(integer, tid, tid, xid8) is
    'deletes from the shadow what was deleted from the table while it was copied; with the caller''s own rights';
-- Anyone may execute it, as workers do in the name of the table's owner: it does what its caller could do.

create function encrypt._finish_backfill(job integer) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
begin
    select r.* into m
    from encrypt.jobs j join encrypt.migrations r on r.migration_id = j.subject::integer
    where j.job_id = job
    for update of r;
    if m.phase is distinct from 'backfilling' then
        return true;
    end if;
    -- The size counts what is not committed yet. Without a block, nobody has deleted anything so far; who does from now on sees
    -- all that was copied.
    if not exists (select from encrypt.job_tasks t where t.job_id = job and t.relation = m.tombstones)
       and pg_relation_size(m.tombstones) > 0 then
        delete from encrypt.job_tasks t where t.job_id = job;
        perform encrypt._add_task(job, m.tombstones,
            format('select encrypt._reconcile(%s, $1, $2, %L)', m.migration_id, encrypt._next_transaction_id()), null);
        return false;
    end if;
    update encrypt.migrations r set phase = 'backfilled', last_error = null where r.migration_id = m.migration_id;
    -- No tombstones any more. Sessions take the change in as they come to it; until then they write some that nobody reads,
    -- which is why the table stays until dual write ends.
    delete from encrypt.sync_statements s where s.migration_id = m.migration_id;
    insert into encrypt.sync_statements select * from encrypt._sync_statements(m.migration_id);
    return true;
end
$$;
comment on function encrypt._finish_backfill(integer) is
    'ends a round of a backfill: after the copy another one takes out what was deleted meanwhile';

-- Its last one, unless it is done or given up. One that failed goes on from where it was, like one that was paused.
create function encrypt._open_job(migration integer) returns integer
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    select j.job_id
    from (select l.job_id, l.state from encrypt.jobs l
          where l.kind in ('backfill', 'verify') and l.subject = migration::text
          order by l.job_id desc limit 1) as j
    where j.state in ('running', 'paused', 'failed')
$$;
comment on function encrypt._open_job(integer) is 'job of a migration that can go on';

-- The job that is open for a migration, or one that is started; null where the phase says that it has been done.
create function encrypt._job_of_migration(migration integer, kind text, options jsonb) returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations := encrypt._own_migration(migration);
    job encrypt.jobs;
begin
    select j.* into job from encrypt.jobs j where j.job_id = encrypt._open_job(migration) and j.kind = _job_of_migration.kind;
    if job.state = 'failed' then
        perform encrypt.resume_job(job.job_id);
    end if;
    if job.job_id is not null then
        return job.job_id;
    end if;
    if kind = 'verify' then
        return encrypt.start_verification(migration, options);
    end if;
    return case when m.phase in ('dual_writing', 'backfilling') then encrypt.start_backfill(migration, options) end;
end
$$;
comment on function encrypt._job_of_migration(integer, text, jsonb) is 'job of a migration that is open, or a new one';

create function encrypt._require_own_job(job integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    migration integer;
    job_state text;
begin
    select j.subject::integer, j.state into migration, job_state from encrypt.jobs j
    where j.job_id = job and j.kind in ('backfill', 'verify');
    if migration is null then
        raise exception using errcode = 'insufficient_privilege', message = format('job %s is not of a migration', job);
    end if;
    perform encrypt._own_migration(migration);
    -- Not run_job's own words: the owner need not be able to call resume_job.
    if job_state = 'paused' then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s is paused', migration),
            hint = format('Run: select encrypt.resume_migration(%s);', migration);
    end if;
end
$$;
comment on function encrypt._require_own_job(integer) is 'refuses all jobs but those of migrations of the caller''s tables';

-- Who may start a migration works on its jobs, and on no others.
create procedure encrypt._run_own_job(job integer)
    language c as 'MODULE_PATHNAME', 'run_own_job';
comment on procedure encrypt._run_own_job(integer) is 'run_job, for the job of a migration and the owner of its table';

-- A procedure that commits can have no settings of its own.
create procedure encrypt.backfill(migration integer, options jsonb default '{}')
    language plpgsql as
$$
declare
    job integer;
begin
    call encrypt._require_own_transactions();
    job := encrypt._job_of_migration(migration, 'backfill', options);
    commit;
    if job is not null then
        call encrypt._run_own_job(job);
    end if;
end
$$;
comment on procedure encrypt.backfill(integer, jsonb) is
    'copies the rows of a migrating table in this session; goes on with what was begun';

-- why: parts of functions that check their caller; what the procedures call checks it itself and stays with PUBLIC
revoke all on function
    encrypt._backfill_statement(integer, regclass, regclass, boolean),
    encrypt._finish_backfill(integer),
    encrypt._open_job(integer)
from public;
