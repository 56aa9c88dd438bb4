-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Waiting for transactions from before a rotation is no round through the tables: however often a job looks whether they have
-- ended, it is none that goes round and round and moves nothing, which fails.

-- The first key of a server makes a root key, with a warning; jobs tell their numbers.
set client_min_messages = error;
select encrypt.create_key('rotation waiting') > 0 as created;
create table rotation_waiting (e encrypt.ciphertext);
select encrypt.register_column('rotation_waiting', 'e', key => 'rotation waiting', context => 'c') is not null as registered;

-- Nobody knows when it will be committed, with values under the version that is replaced.
begin;
insert into rotation_waiting select encrypt.encrypt_column('v' || i, 'rotation waiting', 'c') from generate_series(1, 3) as i;
prepare transaction 'rotation waiting';
select encrypt.rotate_key('rotation waiting') > 0 as rotated;
select encrypt.start_reencryption('rotation waiting') as job \gset

-- As workers do whenever no chunk is left, a second apart or less: three times as often as rounds may move nothing.
select count(*) filter (where encrypt._finish_round(:job)) as finished, count(*) as looks from generate_series(1, 30);
select state, round, 'rotation waiting' = any (awaits) as waits, counts[1] as rows,
       last_error like '%transactions:%rotation waiting%' as told
from encrypt.jobs where job_id = :job;

commit prepared 'rotation waiting';
call encrypt.run_job(:job);
select state, round, awaits, counts[1] as rows, last_error from encrypt.jobs where job_id = :job;
select version, "values" from encrypt.key_usage('rotation waiting') where purpose = 'column' order by 1;

drop table rotation_waiting;
reset client_min_messages;
