-- default settings only: who may do what does not depend on them
-- A table's owner who is no superuser, and was granted start_migration and the key, migrates in the foreground and in all steps;
-- nobody else works on the migration, and the owner on no other job.
set client_min_messages = error;
\set SHOW_CONTEXT never
select setval('encrypt.migrations_migration_id_seq', 7600) is not null as numbered;
create role regress_migration_owner;
create role regress_migration_other;
create schema migration_owner authorization regress_migration_owner;
grant usage on schema migration_owner to regress_migration_other;
select encrypt.create_key('migration_owner') > 0 as made;
select encrypt.grant_key('migration_owner', 'regress_migration_owner', 'encrypt', 'decrypt', 'search');

set role regress_migration_owner;
create table migration_owner.t (id integer primary key, email text not null unique);
insert into migration_owner.t select i, i || '@example.org' from generate_series(1, 50) as i;
call encrypt.migrate('migration_owner.t', '{email}', key => 'migration_owner', search => '{email}');
reset role;
grant execute on function encrypt.start_migration(regclass, text[], text, text[], jsonb) to regress_migration_owner, regress_migration_other;

set role regress_migration_owner;
call encrypt.migrate('migration_owner.t', '{email}', key => 'migration_owner', search => '{email}');
select phase, next_step from encrypt.migration_progress where migration_id = 7601;
select id from migration_owner.t where email = '7@example.org';
call encrypt.rollback_migration(7601);

-- Step by step, and paused in between.
select encrypt.start_migration('migration_owner.t', '{email}', 'migration_owner', '{email}');
select encrypt.start_backfill(7602) is not null as made;
select encrypt.pause_migration(7602);
select next_step from encrypt.migration_progress where migration_id = 7602;
call encrypt.backfill(7602);
select job_id as job from encrypt.migration_progress where migration_id = 7602 \gset
select encrypt.resume_migration(7602) = :job as resumed;
-- One that failed goes on, too, whichever way it is told to.
reset role;
create procedure migration_owner.fail(job integer) language sql as
$$ update encrypt.jobs set state = 'failed', ended_at = now(), last_error = 'no space left' where job_id = job $$;
call migration_owner.fail(:job);
set role regress_migration_owner;
select job_state, last_error, next_step from encrypt.migration_progress where migration_id = 7602;
select encrypt.resume_migration(7602) = :job as resumed;
reset role;
call migration_owner.fail(:job);
set role regress_migration_owner;
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
set role regress_migration_other;
call encrypt.backfill(7602);
call encrypt._run_own_job(:job);
call encrypt.migrate('migration_owner.t', '{email}', key => 'migration_owner', search => '{email}');
call encrypt.cutover(7602);
set role regress_migration_owner;
call encrypt._run_own_job(null);
call encrypt._run_own_job(0);
reset role;
select encrypt.start_reencryption('migration_owner') as other \gset
set role regress_migration_owner;
call encrypt._run_own_job(:other);
begin; call encrypt.backfill(7602); rollback;
call encrypt.backfill(7602);
select job_id = :job as same, job_state from encrypt.migration_progress where migration_id = 7602;
call encrypt.verify(7602);
call encrypt.cutover(7602);
call encrypt.finalize_migration(7602);
\set VERBOSITY default
select phase from encrypt.migrations where migration_id = 7602;
-- Said before anything is done.
begin; call encrypt.migrate('migration_owner.t', '{email}', key => 'migration_owner'); rollback;
begin; call encrypt.verify(7602); rollback;
begin; call encrypt.finalize_migration(7602); rollback;
do $$ begin call encrypt.rollback_migration(7602); end $$;
select count(*) from migration_owner.t where email = '7@example.org';

reset role;
call encrypt.run_job(:other);
drop schema migration_owner cascade;
drop owned by regress_migration_owner, regress_migration_other;
drop role regress_migration_owner, regress_migration_other;
