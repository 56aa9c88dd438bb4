-- A TABLE IN USE BECOMES ENCRYPTED
--
-- An application reads and writes a table with plaintext e-mail addresses, and is not to be stopped. It knows nothing of what
-- follows; all it is granted is the key.

create role demo_visitors login;
create table visitors (id integer primary key, email text not null unique, visits integer not null default 0);
insert into visitors select id, 'user' || id || '@example.com', 0 from generate_series(1, 20000) as id;
grant select, insert, update on visitors to demo_visitors;
select encrypt.create_key('visitors') is not null as created;
select encrypt.grant_key('visitors', 'demo_visitors', 'encrypt', 'decrypt', 'search');
analyze visitors;

-- It works in the background from now on.

\! demo/migration_pgbench 10 > /tmp/demo_visitors.$PPID 2>&1 & sleep 1

-- An encrypted counterpart of the table is made, and triggers that write to both. Then the rows are copied, by two background
-- workers.

select encrypt.start_migration('visitors', '{email}', 'visitors', '{email}') as migration \gset
select encrypt.start_backfill(:migration) as job \gset
select encrypt.start_workers(:job, 2) as workers;
call encrypt.run_job(:job);
select table_name, phase, job_state, next_step from encrypt.migration_progress;

-- Every row is compared with its counterpart; then the tables change places.

call encrypt.verify(:migration);
call encrypt.cutover(:migration);

-- The application's statement, word for word, is answered by the index of the encrypted column:

set role demo_visitors;
explain (costs off) select id, email from visitors where email = 'user77@example.com';
select id, email from visitors where email = 'user77@example.com';
reset role;

-- Second thoughts: the plaintext table was kept in step, and takes its place again, with every write.

call encrypt.rollback_migration(:migration);

-- And once more, all of it in one call, to the end.

call encrypt.migrate('visitors', '{email}', 'visitors', '{email}');
select migration_id as migration from encrypt.migration_progress where phase = 'cut_over' \gset
call encrypt.finalize_migration(:migration);
select place, remedy from encrypt.leftover_plaintext('visitors');

-- What the application had to say:

\! while ! grep -q slowest /tmp/demo_visitors.$PPID; do sleep 0.2; done; cat /tmp/demo_visitors.$PPID; rm /tmp/demo_visitors.$PPID
