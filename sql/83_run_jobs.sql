-- Running jobs, and watching them.

create procedure encrypt._require_own_transactions()
    language c as 'MODULE_PATHNAME', 'require_own_transactions';
comment on procedure encrypt._require_own_transactions() is 'refuses what commits where that is not possible';
-- why: it stays with PUBLIC, as procedures that commit run with the rights of their caller

create procedure encrypt.run_job(job integer)
    language c as 'MODULE_PATHNAME', 'run_job';
comment on procedure encrypt.run_job(integer) is
    'works on a job in this session until it ends: a commit per batch, and a notice now and then';

create function encrypt.start_workers(job integer, workers integer default 2) returns integer
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'start_workers';
comment on function encrypt.start_workers(integer, integer) is
    'makes this the number of background workers of a job; returns how many were started';

create function encrypt._wait_for_running_transactions() returns void
    language c volatile parallel unsafe as 'MODULE_PATHNAME', 'wait_for_running_transactions';
comment on function encrypt._wait_for_running_transactions() is
    'waits until every transaction of this database that runs now has ended';

create function encrypt._next_transaction_id() returns xid8
    language c volatile parallel unsafe as 'MODULE_PATHNAME', 'next_transaction_id';
comment on function encrypt._next_transaction_id() is
    'number that the next transaction to write will get: those that have begun to write have lower ones';

-- One function for the three, so that what a state may become is in one place.
create function encrypt._set_job_state(job integer, wanted text, allowed text[]) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    was text;
    same encrypt.jobs;
begin
    select state into was from encrypt.jobs where job_id = job for update;
    if not found then
        raise exception using errcode = 'undefined_object', message = format('job %s does not exist', job);
    end if;
    if was <> all (allowed) and was <> wanted then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('job %s is %s and can''t become %s', job, was, wanted);
    end if;
    if was = wanted then
        return;
    end if;
    begin
        update encrypt.jobs set state = wanted,
            ended_at = case when wanted = 'cancelled' then coalesce(ended_at, clock_timestamp()) end,
            last_error = case when wanted <> 'running' then last_error end
        where job_id = job;
    exception when unique_violation then
        select other.* into same from encrypt.jobs this join encrypt.jobs other using (kind, subject)
        where this.job_id = job and other.job_id <> job and other.ended_at is null;
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('job %s does that already', same.job_id),
            hint = format('Run: select encrypt.cancel_job(%s);', job);
    end;
    if wanted = 'running' then
        -- Those that a worker has right now don't rest, and their attempts are counted by it.
        update encrypt.job_chunks c set attempts = 0, caution = 0, not_before = null
        from (select o.task, o.chunk from encrypt.job_chunks o
              where o.job_id = job and o.finished_at is null for update skip locked) as resting
        where c.job_id = job and c.task = resting.task and c.chunk = resting.chunk;
    end if;
end
$$;
comment on function encrypt._set_job_state(integer, text, text[]) is 'changes the state of a job';

create function encrypt.pause_job(job integer) returns void
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select encrypt._set_job_state(job, 'paused', '{running}');
end;
comment on function encrypt.pause_job(integer) is 'lets the workers of a job end after the batch they are at';

create function encrypt.resume_job(job integer) returns void
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select encrypt._set_job_state(job, 'running', '{paused,failed}');
end;
comment on function encrypt.resume_job(integer) is 'lets a paused or failed job run again: call run_job or start_workers';

create function encrypt.cancel_job(job integer) returns void
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select encrypt._set_job_state(job, 'cancelled', '{running,paused,failed}');
end;
comment on function encrypt.cancel_job(integer) is 'ends a job for good; what it has done stays';

-- why: they use the server's resources, for those to whom the owner grants it
revoke all on procedure encrypt.run_job(integer) from public;
revoke all on function
    encrypt.start_workers(integer, integer),
    encrypt.pause_job(integer),
    encrypt.resume_job(integer),
    encrypt.cancel_job(integer),
    encrypt._wait_for_running_transactions(),
    encrypt._next_transaction_id(),
    encrypt._set_job_state(integer, text, text[])
from public;

-- Processes are known by their names, which only superusers and pg_read_all_stats see: hence SECURITY DEFINER.
create function encrypt._job_workers(out job_id integer, out number integer, out pid integer) returns setof record
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select (regexp_match(application_name, 'job (\d+)'))[1]::integer,
           (regexp_match(application_name, 'worker (\d+)'))[1]::integer,
           pid
    from pg_stat_activity
    where backend_type = 'pg_encrypt worker' and datname = current_database()
        and application_name ~ '^pg_encrypt job \d+ worker \d+$';
end;
comment on function encrypt._job_workers() is 'background workers of this database';

create view encrypt.job_progress as
select j.job_id, j.kind, j.subject, j.state, j.round, d.rows_done, greatest(t.rows_total, d.rows_done) as rows_total,
       case when j.state = 'finished' then 100.0
            else round(100 * c.blocks_done / nullif(c.blocks_total, 0), 1) end as percent,
       round(d.rows_done / p.seconds) as rows_per_second,
       case when j.state = 'running' and c.blocks_done > 0
           then now() + (c.blocks_total / c.blocks_done - 1) * p.seconds * interval '1 second' end as estimated_end,
       (select count(*) from encrypt._job_workers() w where w.job_id = j.job_id) as workers,
       c.retries,
       coalesce(j.last_error, c.last_error) as last_error,
       j.created_at, j.ended_at
from encrypt.jobs j
cross join lateral (
    select coalesce(sum(c.counts[1]), 0)::bigint as rows_done,
           coalesce(sum(c.retries), 0) as retries,
           max(c.last_error) as last_error,
           -- An open end counts as one block more than is done. A table that shrank ends before its last chunk does.
           sum(case when c.finished_at is not null then c.next_block
                    else coalesce(c.end_block, c.next_block + 1) end - c.first_block)::numeric as blocks_total,
           sum(c.next_block - c.first_block)::numeric as blocks_done
    from encrypt.job_chunks c where c.job_id = j.job_id
) c
cross join lateral (
    select coalesce(sum(t.rows), 0)::bigint as rows_total from encrypt.job_tasks t where t.job_id = j.job_id
) t
-- One that is finished has done away with its chunks: it shows all rounds.
cross join lateral (
    select case when j.state = 'finished' then coalesce(j.counts[1], 0) else c.rows_done end as rows_done
) d
cross join lateral (
    select greatest(extract(epoch from coalesce(j.ended_at, now())
        - case when j.state = 'finished' then j.created_at else j.round_began_at end), 0.001) as seconds
) p;
comment on view encrypt.job_progress is 'how far each job is: rows of the current round, speed, workers, errors';
comment on column encrypt.job_progress.round is 'how often all tables were gone through, this time included';
comment on column encrypt.job_progress.rows_done is 'rows handled in this round; in all, once it is finished';
comment on column encrypt.job_progress.rows_total is 'rows of this round, as estimated from statistics';
comment on column encrypt.job_progress.percent is 'blocks done of all blocks of this round';
comment on column encrypt.job_progress.rows_per_second is 'since the round began, pauses included';
comment on column encrypt.job_progress.estimated_end is 'if it goes on like this';
comment on column encrypt.job_progress.workers is 'background workers at it now';
comment on column encrypt.job_progress.retries is 'batches that failed and were tried again';
comment on column encrypt.job_progress.last_error is 'why the job, or its last failed batch, failed';
grant select on encrypt.job_progress to public;
-- why: _job_workers stays with PUBLIC, as the view calls it as whoever reads it
