-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Jobs made by hand, with statements that write down which rows they saw: states, options, refusals, failures.

\set VERBOSITY terse
-- Jobs are told by number.
alter table encrypt.jobs alter column job_id restart with 900001;
create role regress_jobs_owner;
create role regress_jobs_other;
grant regress_jobs_owner to current_user;
create schema jobs_test authorization regress_jobs_owner;
set role regress_jobs_owner;
create table jobs_test.t (id integer primary key, note text) with (autovacuum_enabled = off);
create table jobs_test.log (id integer, seen_by name default current_user);
insert into jobs_test.t select g, 'a note of row ' || g from generate_series(1, 5000) as g;
reset role;
analyze jobs_test.t;

-- What a job made by hand does, in chunks of ten blocks: the counting statement.
create function jobs_test.make(statement text, options jsonb default '{}', fallback text default null) returns integer
language plpgsql as $$
declare
    job integer := encrypt._create_job(coalesce(options ->> 'kind', 'reencrypt'), 'jobs test', options - 'kind');
begin
    perform encrypt._add_task(job, 'jobs_test.t', statement, null, false, fallback);
    delete from encrypt.job_chunks c where c.job_id = job;
    insert into encrypt.job_chunks (job_id, task, chunk, first_block, next_block, end_block)
    select job, 1, b / 10 + 1, b, b, least(b + 10, encrypt._blocks('jobs_test.t'))
    from generate_series(0, encrypt._blocks('jobs_test.t') - 1, 10) as b;
    return job;
end $$;
create function jobs_test.log_statement() returns text language sql return
    'with seen as (insert into jobs_test.log select t.id from only jobs_test.t as t
                   where t.ctid >= $1 and t.ctid < $2 returning 1) select array[count(*), 7] from seen';
-- Whether each row was seen exactly once.
create view jobs_test.outcome as
select (select count(*) from jobs_test.t t where not exists (select from jobs_test.log l where l.id = t.id)) as missing,
       (select count(*) from (select from jobs_test.log group by id having count(*) > 1) d) as doubled,
       (select count(*) from jobs_test.log) as seen;
create procedure jobs_test.show(job integer) language plpgsql as $$
declare
    p record;
begin
    select state, round, rows_done, rows_total, percent, workers, retries > 0 as retried,
           regexp_replace(last_error, '\mblocks? \d+( to \d+)?', 'blocks N') as last_error,
           estimated_end is not null as has_estimate, ended_at is not null as ended
    into p from encrypt.job_progress j where j.job_id = job;
    raise warning '%', p;
end $$;

-- Options
select encrypt._create_job('reencrypt', 'jobs test', '{"batch_row": 1, "speed": 2}');
select encrypt._create_job('reencrypt', 'jobs test', '{"batch_rows": 0}');
select encrypt._create_job('reencrypt', 'jobs test', '{"batch_rows": "many"}');
select encrypt._create_job('reencrypt', 'jobs test', '{"pause_between": "-1 s"}');
select encrypt._create_job('teach', 'jobs test');
-- A plan that is not made for its parameters draws a number before it finds that they are wrong.
alter table encrypt.jobs alter column job_id restart with 900004;
begin;
select encrypt._create_job('reencrypt', 'jobs test',
    '{"batch_rows": 100, "batch_bytes": 100000, "pause_between": "10 ms", "max_replica_lag": 1000000, "max_attempts": 3}')
    as job \gset
select kind, subject, state, round, workers, batch_rows, batch_bytes, pause_between, max_replica_lag, max_attempts, counts,
       created_by = current_user as by_me, ended_at
from encrypt.jobs where job_id = :job;
-- Only tables have blocks of their own.
create view jobs_test.v as select 1 as one;
savepoint a;
select encrypt._add_task(:job, 'jobs_test.v', 'select null', null);
rollback to a;
create table jobs_test.p (id integer) partition by range (id);
select encrypt._add_task(:job, 'jobs_test.p', 'select null', null);
rollback;

-- Every row once, as the owner of the table; batches by rows.
set client_min_messages = warning;
select jobs_test.make(jobs_test.log_statement(), '{"batch_rows": 100}') as job \gset
call jobs_test.show(:job);
select count(*) > 3 as several_chunks from encrypt.job_chunks where job_id = :job;
call encrypt.run_job(:job);
call jobs_test.show(:job);
select * from jobs_test.outcome;
select distinct seen_by from jobs_test.log;
select state, counts[1], counts[2] >= 7 * 32 as counted_more, last_error from encrypt.jobs where job_id = :job;
-- Batches of two or three blocks.
select count(distinct xmin::text) between 15 and 40 as many_transactions from jobs_test.log;
-- Over: it can't be run, paused, resumed or cancelled.
call encrypt.run_job(:job);
select encrypt.start_workers(:job);
select encrypt.pause_job(:job);
select encrypt.resume_job(:job);
select encrypt.cancel_job(:job);

-- One job at a time per purpose; a job that isn't there.
truncate jobs_test.log;
select jobs_test.make(jobs_test.log_statement()) as job \gset
\set VERBOSITY sqlstate
select jobs_test.make(jobs_test.log_statement());
call encrypt.run_job(0);
select encrypt.start_workers(0);
select encrypt.pause_job(0);
call encrypt.run_job(null);
select encrypt.start_workers(:job, 0);
select encrypt.start_workers(:job, 65);
-- It ends transactions, so it needs to be asked for outside of one.
begin;
call encrypt.run_job(:job);
rollback;
create function jobs_test.calls(job integer) returns void language plpgsql as $$ begin call encrypt.run_job(job); end $$;
select jobs_test.calls(:job);
begin read only;
call encrypt.run_job(:job);
rollback;
set default_transaction_read_only = on;
call encrypt.run_job(:job);
reset default_transaction_read_only;
select * from jobs_test.outcome;

-- States
select encrypt.pause_job(:job);
select encrypt.pause_job(:job);
call encrypt.run_job(:job);
select encrypt.start_workers(:job);
select encrypt.resume_job(:job);
select encrypt.resume_job(:job);
select encrypt.cancel_job(:job);
select encrypt.cancel_job(:job);
select encrypt.resume_job(:job);
\set VERBOSITY terse
call jobs_test.show(:job);

-- Whatever the session is set to; also where another procedure calls it.
select jobs_test.make(jobs_test.log_statement()) as job \gset
set default_transaction_isolation = serializable;
set enable_tidscan = off;
set search_path = jobs_test;
do $$
declare
    job integer := (select max(job_id) from encrypt.jobs);
begin
    call encrypt.run_job(job);
end $$;
select current_setting('default_transaction_isolation'), current_setting('search_path'), current_setting('enable_tidscan'),
       current_setting('session_replication_role'), current_setting('lock_timeout'), current_user = session_user as same_user;
reset search_path;
reset enable_tidscan;
reset default_transaction_isolation;
select * from jobs_test.outcome;

-- Privileges: nobody but the owner of the extension runs jobs, everybody may look.
set role regress_jobs_other;
call encrypt.run_job(:job);
select encrypt.start_workers(:job);
select encrypt.pause_job(:job);
select encrypt.resume_job(:job);
select encrypt.cancel_job(:job);
select encrypt._create_job('reencrypt', 'x');
select encrypt._add_task(1, 'jobs_test.t', 'select 1', null);
select encrypt._finish_round(1);
select encrypt._rotate_due_key('x');
update encrypt.jobs set state = 'running';
insert into encrypt.job_tasks select * from encrypt.job_tasks;
select state, percent from encrypt.job_progress where job_id = :job;
reset role;

-- Rows that are there already: the fallback takes over, and goes on.
truncate jobs_test.log;
create unique index on jobs_test.log (id);
insert into jobs_test.log select id from jobs_test.t where id % 1000 = 0;
select jobs_test.make(jobs_test.log_statement(), '{"batch_rows": 200}',
    'with seen as (insert into jobs_test.log select t.id from only jobs_test.t as t
                   where t.ctid >= $1 and t.ctid < $2 on conflict do nothing returning 1) select array[count(*)] from seen')
    as job \gset
call encrypt.run_job(:job);
call jobs_test.show(:job);
select * from jobs_test.outcome;
select counts[1], counts[2] > 0 as statement_too from encrypt.jobs where job_id = :job;

-- Without one the job fails, after max_attempts, and says where. It can be resumed when the cause is gone, and what was done
-- is not done again.
truncate jobs_test.log;
insert into jobs_test.log values (2500);
select jobs_test.make(jobs_test.log_statement(), '{"max_attempts": 2}') as job \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY terse
call jobs_test.show(:job);
select attempts, caution > 0 as careful from encrypt.job_chunks where job_id = :job and attempts > 0;
call encrypt.run_job(:job);
-- Another one for the same purpose: then this one can't come back.
select encrypt._create_job('reencrypt', 'jobs test') as other \gset
\set VERBOSITY sqlstate
select encrypt.resume_job(:job);
\set VERBOSITY terse
select encrypt.cancel_job(:other);
delete from jobs_test.log where id = 2500;
select encrypt.resume_job(:job);
call jobs_test.show(:job);
call encrypt.run_job(:job);
call jobs_test.show(:job);
select * from jobs_test.outcome;

-- A deferred constraint is checked where the batch can still be repeated.
alter table jobs_test.log add constraint deferred unique (id) deferrable initially deferred;
drop index jobs_test.log_id_idx;
truncate jobs_test.log;
insert into jobs_test.log values (2500);
select jobs_test.make(jobs_test.log_statement(), '{"max_attempts": 1, "kind": "backfill"}') as job \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY terse
call jobs_test.show(:job);
select encrypt.cancel_job(:job);
alter table jobs_test.log drop constraint deferred;

-- What an error says of data is not written down: neither PostgreSQL's messages that quote it, nor those of the users.
create function jobs_test.refuse(id integer) returns integer language plpgsql as $$
begin
    raise exception using errcode = current_setting('jobs_test.code'), message = 'secret of row ' || id;
end $$;
grant execute on function jobs_test.refuse to regress_jobs_owner;
create procedure jobs_test.failing(expression text) language plpgsql as $$
declare
    job integer := jobs_test.make(format('select array[count(%s)] from only jobs_test.t as t
                                          where t.ctid >= $1 and t.ctid < $2', expression), '{"max_attempts": 1}');
begin
    perform set_config('jobs_test.job', job::text, false);
end $$;
call jobs_test.failing('t.note::integer');
select current_setting('jobs_test.job') as job \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY terse
call jobs_test.show(:job);
select encrypt.cancel_job(:job);
set jobs_test.code = 'P0001';
call jobs_test.failing('jobs_test.refuse(t.id)');
select current_setting('jobs_test.job') as job \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY terse
call jobs_test.show(:job);
select encrypt.cancel_job(:job);
set jobs_test.code = '42501';
call jobs_test.failing('jobs_test.refuse(t.id)');
select current_setting('jobs_test.job') as job \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY terse
call jobs_test.show(:job);
select encrypt.cancel_job(:job);
select count(*) from encrypt.jobs j left join encrypt.job_chunks c using (job_id)
where concat(j.last_error, c.last_error) ~* 'secret|a note of';

-- A round that can't be ended fails the job; resumed, it is ended again, and counted once.
truncate jobs_test.log;
select jobs_test.make(jobs_test.log_statement()) as job \gset
alter function encrypt._finish_rotation(integer) rename to _finish_later;
call encrypt.run_job(:job);
call jobs_test.show(:job);
alter function encrypt._finish_later(integer) rename to _finish_rotation;
select encrypt.resume_job(:job);
call encrypt.run_job(:job);
call jobs_test.show(:job);
select * from jobs_test.outcome;

-- No blocks, few rows, a table that is dropped.
create table jobs_test.empty (id integer);
create table jobs_test.gone (id integer);
insert into jobs_test.gone select generate_series(1, 1000);
truncate jobs_test.log;
select encrypt._create_job('reencrypt', 'jobs test') as job \gset
select encrypt._add_task(:job, 'jobs_test.empty', 'select array[1/0]', null),
       encrypt._add_task(:job, 'jobs_test.empty', 'select array[1/0]', null, open_ended => true),
       encrypt._add_task(:job, 'jobs_test.gone', 'select array[1/0]', null);
drop table jobs_test.gone;
call encrypt.run_job(:job);
call jobs_test.show(:job);

-- Rows that are added meanwhile belong to a task with an open end.
select encrypt._create_job('reencrypt', 'jobs test', '{"batch_rows": 1000}') as job \gset
select encrypt._add_task(:job, 'jobs_test.t', jobs_test.log_statement(), null, open_ended => true);
insert into jobs_test.t select g, 'added' from generate_series(5001, 9000) as g;
call encrypt.run_job(:job);
select * from jobs_test.outcome;

-- A table with a new file is begun anew, and truncated ones have nothing left to do.
truncate jobs_test.log;
select jobs_test.make(jobs_test.log_statement()) as job \gset
cluster jobs_test.t using t_pkey;
call encrypt.run_job(:job);
call jobs_test.show(:job);
select * from jobs_test.outcome;
truncate jobs_test.log;
select jobs_test.make(jobs_test.log_statement()) as job \gset
truncate jobs_test.t;
call encrypt.run_job(:job);
call jobs_test.show(:job);
select * from jobs_test.outcome;

-- Statements longer than fit into a row of the table of tasks; values stored out of line count as bytes of a batch.
insert into jobs_test.t select g, (select string_agg(md5(g::text || i), '') from generate_series(1, 2000) as i)
from generate_series(1, 100) as g;
vacuum analyze jobs_test.t;
select jobs_test.make(jobs_test.log_statement() || (select string_agg(' -- ' || md5(i::text), '') from generate_series(1, 1000) i),
                      '{"batch_bytes": 1000000}') as job \gset
call encrypt.run_job(:job);
select * from jobs_test.outcome;

-- As a dashboard shows it. Jobs of other tests may be there, but those that have ended come last.
select encrypt._create_job('reencrypt', 'jobs test') as job \gset
select encrypt._add_task(:job, 'jobs_test.t', 'select null', null) as task;
select pg_catalog.regexp_replace(line, '^job \d+ +', 'job N ')
from encrypt.dashboard() with ordinality as d (line, n) where n <= 2;
select encrypt._bar(p, 10) from unnest('{-1,0,1.3,50,99.9,100,1000,null}'::numeric[]) as p;
set client_encoding = latin1;
select encrypt._bar(p, 10) from unnest('{-1,0,1.3,50,99.9,100,1000,null}'::numeric[]) as p;
reset client_encoding;
select encrypt._rough_time(t) from unnest('{-3s,0,12.4s,5m 20s,3h 7m,3d 4h 59m,40d}'::interval[]) as t;
select encrypt.cancel_job(:job);

drop schema jobs_test cascade;
revoke regress_jobs_owner from current_user;
drop role regress_jobs_owner, regress_jobs_other;
delete from encrypt.jobs where subject = 'jobs test';
