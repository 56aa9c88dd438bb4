-- All of a migration in one call, and watching it.

-- The migration of a table that has not ended; null if there is none.
create function encrypt._find_migration(target regclass, columns text[]) returns integer
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    existing integer;
    its_columns text[];
begin
    select m.migration_id, array(select c.column_name::text from encrypt.migration_columns c
                                 where c.migration_id = m.migration_id order by 1)
    into existing, its_columns
    from encrypt.migrations m where target in (m.live, m.exposed) and m.ended_at is null;
    if existing is not null
       and its_columns <> array(select distinct quoted::name::text from unnest(columns) as quoted order by 1) then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s of table %s is of other columns', existing, target),
            detail = 'Its columns are ' || (select string_agg(quote_ident(c), ', ') from unnest(its_columns) as c),
            hint = format('Run: call encrypt.rollback_migration(%s);', existing);
    end if;
    return existing;
end
$$;
comment on function encrypt._find_migration(regclass, text[]) is 'migration of a table that has not ended';

-- What comes next, as flags: the procedure that reads them runs with the caller's search_path, in which "=" is anybody's.
create function encrypt._next_action(
    migration integer,
    previous text,
    out name text, out backfill boolean, out verify boolean, out cutover boolean
) returns record
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
begin
    m := encrypt._migration_for(migration, 'dual_writing', 'backfilling', 'backfilled', 'verified', 'cut_over');
    backfill := m.phase in ('dual_writing', 'backfilling');
    verify := m.phase = 'backfilled';
    cutover := m.phase = 'verified';
    name := case when backfill then 'backfill' when verify then 'verification' when cutover then 'cutover' end;
    if name = previous then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s: %s did not succeed', migration, name),
            detail = coalesce(m.last_error, (select j.last_error from encrypt.jobs j
                                             where j.subject = migration::text and j.kind in ('backfill', 'verify')
                                             order by j.job_id desc limit 1)),
            hint = 'Run: ' || encrypt._next_step(migration, m.phase);
    end if;
    if name is not null then
        raise notice 'migration %: % of table %', migration, name, m.live;
    end if;
end
$$;
comment on function encrypt._next_action(integer, text) is 'what a migration needs next';

-- The job that is open, or a new one.
create function encrypt._start_in_background(migration integer, backfill boolean) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer := encrypt._open_job(migration);
begin
    perform encrypt._migration_for(migration, 'dual_writing', 'backfilling', 'backfilled');
    if job is not null then
        perform encrypt.resume_job(job);
    elsif backfill then
        perform encrypt.start_backfill(migration);
    else
        perform encrypt.start_verification(migration);
    end if;
end
$$;
comment on function encrypt._start_in_background(integer, boolean) is 'resumes the job of a migration, or makes one';

-- True while it runs. The workers are counted before its state is read: the last of them may just have finished it.
create function encrypt._await_job(migration integer, workers integer) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
    phase text;
    p record;
    running bigint;
begin
    -- Without locking the migration: this sleeps, and the job's end needs its row.
    select m.live, m.phase, j.job_id into p
    from encrypt.migrations m
    left join encrypt.jobs j on j.kind in ('backfill', 'verify') and j.subject = m.migration_id::text
    where m.migration_id = migration
    order by j.job_id desc limit 1;
    perform encrypt._require_owner(p.live);
    job := p.job_id;
    phase := p.phase;
    select count(*) into running from encrypt._job_workers() w where w.job_id = job;
    select * into p from encrypt.job_progress j where j.job_id = job;
    if p.state <> 'running' then
        if p.state in ('failed', 'cancelled', 'paused') then
            raise exception using errcode = 'object_not_in_prerequisite_state',
                message = format('job %s is %s', job, p.state),
                detail = p.last_error,
                hint = 'Run: ' || case when p.state = 'cancelled' then encrypt._next_step(migration, phase)
                                       else format('select encrypt.resume_migration(%s);', migration) end;
        end if;
        return false;
    end if;
    if running = 0 and encrypt.start_workers(job, workers) = 0 then
        raise exception using errcode = 'configuration_limit_exceeded',
            message = format('no background worker for job %s could be started', job),
            hint = format('Run: call encrypt.%s(%s);', p.kind, migration);
    end if;
    raise notice '% of % rows, % %%, % rows/s, until %', p.rows_done, p.rows_total, coalesce(p.percent, 0),
        p.rows_per_second, coalesce(to_char(p.estimated_end, 'HH24:MI:SS'), '?');
    perform pg_sleep(1);
    return true;
end
$$;
comment on function encrypt._await_job(integer, integer) is
    'waits a second for the last job of a migration and says how far it is; whether it still runs';

create procedure encrypt.migrate(
    target regclass,
    columns text[],
    key text default 'default',
    search text[] default '{}',
    options jsonb default '{}',
    workers integer default 0
)
    language plpgsql as
$$
declare
    migration integer;
    next record;
    previous text;
    in_background boolean := encrypt._positive(workers);
begin
    call encrypt._require_own_transactions();
    commit;
    set transaction isolation level read committed;
    migration := encrypt._find_migration(target, columns);
    if migration is null then
        migration := encrypt.start_migration(target, columns, key, search, options);
    end if;
    loop
        commit;
        set transaction isolation level read committed;
        select * into next from encrypt._next_action(migration, previous);
        exit when next.name is null;
        previous := next.name;
        if next.cutover then
            call encrypt.cutover(migration);
        elsif in_background then
            perform encrypt._start_in_background(migration, next.backfill);
            commit;
            while encrypt._await_job(migration, workers) loop
                commit;
            end loop;
        elsif next.backfill then
            call encrypt.backfill(migration);
        else
            call encrypt.verify(migration);
        end if;
    end loop;
end
$$;
comment on procedure encrypt.migrate(regclass, text[], text, text[], jsonb, integer) is
    'encrypts columns of a table in use, up to cutover; goes on with a migration that was begun';

create function encrypt._positive(workers integer) returns boolean
    language sql immutable set search_path = pg_catalog, pg_temp
return coalesce(workers, 0) > 0;
comment on function encrypt._positive(integer) is 'whether workers are asked for';

create function encrypt.pause_migration(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
begin
    perform encrypt._migration_for(migration, 'dual_writing', 'backfilling', 'backfilled', 'verified', 'cut_over');
    job := encrypt._open_job(migration);
    if job is null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s has no job that could be paused', migration),
            hint = 'Run: select * from encrypt.migration_progress;';
    end if;
    perform encrypt.pause_job(job);
end
$$;
comment on function encrypt.pause_migration(integer) is
    'lets backfill or verification of a migration end after the batches they are at; dual write goes on';

create function encrypt.resume_migration(migration integer, workers integer default 0) returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
begin
    perform encrypt._migration_for(migration, 'dual_writing', 'backfilling', 'backfilled', 'verified', 'cut_over');
    job := encrypt._open_job(migration);
    if job is null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s has no job that could go on', migration),
            hint = 'Run: ' || encrypt._next_step(migration, (select m.phase from encrypt.migrations m where m.migration_id = migration));
    end if;
    perform encrypt.resume_job(job);
    if workers > 0 then
        perform encrypt.start_workers(job, workers);
    end if;
    return job;
end
$$;
comment on function encrypt.resume_migration(integer, integer) is
    'lets a paused or failed job of a migration go on, with that many workers; returns the job. Without workers, call migrate again';

create view encrypt.migration_progress as
select m.migration_id,
       format('%I.%I', m.table_schema, m.table_name) as table_name,
       m.phase,
       j.job_id, j.kind as job, j.state as job_state,
       j.rows_done, j.rows_total, j.percent, j.rows_per_second, j.estimated_end, j.workers,
       coalesce(m.last_error, j.last_error) as last_error,
       case when m.ended_at is not null then null
            when j.state in ('paused', 'failed') then format('select encrypt.resume_migration(%s);', m.migration_id)
            else encrypt._next_step(m.migration_id, m.phase collate "default") end as next_step
from encrypt.migrations m
left join lateral (
    select p.* from encrypt.job_progress p
    where p.kind in ('backfill', 'verify') and p.subject = m.migration_id::text
    order by p.job_id desc limit 1
) j on true;
comment on view encrypt.migration_progress is 'how far each migration is, and what comes next';
comment on column encrypt.migration_progress.migration_id is 'migration';
comment on column encrypt.migration_progress.table_name is 'what the table is called, before and after';
comment on column encrypt.migration_progress.phase is 'as in encrypt.migrations';
comment on column encrypt.migration_progress.job_id is 'its last job';
comment on column encrypt.migration_progress.job is 'backfill or verify';
comment on column encrypt.migration_progress.job_state is 'running, paused, finished, failed or cancelled';
comment on column encrypt.migration_progress.rows_done is 'rows handled in this round of the job';
comment on column encrypt.migration_progress.rows_total is 'rows of this round, as estimated from statistics';
comment on column encrypt.migration_progress.percent is 'blocks done of all blocks of this round';
comment on column encrypt.migration_progress.rows_per_second is 'since the round began, pauses included';
comment on column encrypt.migration_progress.estimated_end is 'of the job, if it goes on like this';
comment on column encrypt.migration_progress.workers is 'background workers at it now';
comment on column encrypt.migration_progress.last_error is 'why the last step or batch did not succeed';
comment on column encrypt.migration_progress.next_step is 'statement that takes it on';
grant select on encrypt.migration_progress to public;

-- why: helpers of migrate, which is called with its caller's rights, check the caller themselves and stay with PUBLIC
