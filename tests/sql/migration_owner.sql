-- default settings only: who may do what does not depend on them
-- A table's owner who is no superuser, and was granted start_migration and the key, migrates in the foreground and in all steps;
-- nobody else works on the migration, and the owner on no other job.
set client_min_messages = error;
\set SHOW_CONTEXT never
select setval('encrypt.migrations_migration_id_seq', 9000) is not null as numbered;
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
select phase, next_step from encrypt.migration_progress where migration_id = 9001;
select id from migration_owner.t where email = '7@example.org';
call encrypt.rollback_migration(9001);

-- Step by step, and paused in between.
select encrypt.start_migration('migration_owner.t', '{email}', 'migration_owner', '{email}');
select encrypt.start_backfill(9002) is not null as made;
select encrypt.pause_migration(9002);
call encrypt.backfill(9002);
select job_id as job from encrypt.migration_progress where migration_id = 9002 \gset
select encrypt.resume_migration(9002) = :job as resumed;
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
set role regress_migration_other;
call encrypt.backfill(9002);
call encrypt._run_own_job(:job);
call encrypt.migrate('migration_owner.t', '{email}', key => 'migration_owner', search => '{email}');
call encrypt.cutover(9002);
set role regress_migration_owner;
call encrypt._run_own_job(null);
call encrypt._run_own_job(0);
reset role;
select encrypt.start_reencryption('migration_owner') as other \gset
set role regress_migration_owner;
call encrypt._run_own_job(:other);
begin; call encrypt.backfill(9002); rollback;
call encrypt.backfill(9002);
call encrypt.verify(9002);
call encrypt.cutover(9002);
call encrypt.finalize_migration(9002);
\set VERBOSITY default
select phase from encrypt.migrations where migration_id = 9002;
select count(*) from migration_owner.t where email = '7@example.org';

reset role;
call encrypt.run_job(:other);
drop schema migration_owner cascade;
drop owned by regress_migration_owner, regress_migration_other;
drop role regress_migration_owner, regress_migration_other;
