-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- What is renamed or dropped while its values are re-encrypted: the next round finds it as it is then.
set client_min_messages = error;
select encrypt.create_key('rotation renamed') > 0 as created;
create schema rotation_renamed;
create table rotation_renamed.a (id integer, e encrypt.ciphertext, f encrypt.ciphertext, t bytea);
create table rotation_renamed.b (id integer, e encrypt.ciphertext, f encrypt.ciphertext);
select encrypt.register_column('rotation_renamed.a', c, i, key => 'rotation renamed', context => 'c') is not null as registered
from (values ('e', 't'), ('f', null)) as v (c, i)
union all
select encrypt.register_column('rotation_renamed.b', c, key => 'rotation renamed', context => 'c') is not null from unnest('{e,f}'::name[]) as c;
insert into rotation_renamed.a
select i, encrypt.encrypt_column('v' || i, 'rotation renamed', 'c'), encrypt.encrypt_column('w' || i, 'rotation renamed', 'c'),
       encrypt.blind_index('v' || i, 'rotation renamed', 'c')
from generate_series(1, 100) as i;
insert into rotation_renamed.b select id, e, f from rotation_renamed.a;

-- A schema, a table and a column get other names, and a column goes.
select encrypt.rotate_key('rotation renamed') > 0 and encrypt.rotate_key('rotation renamed', 'index') > 0 as rotated;
select encrypt.start_reencryption('rotation renamed') as job \gset
alter schema rotation_renamed rename to rotation_other;
alter table rotation_other.a rename to c;
alter table rotation_other.b rename e to g;
alter table rotation_other.b drop f;
call encrypt.run_job(:job);
select state, round, counts[1] as rows, last_error from encrypt.jobs where job_id = :job;
select relation, "column", version, "values" from encrypt.key_usage('rotation renamed') where purpose = 'column' order by version, 1, 2;
select encrypt.start_reindexing('rotation renamed') as job \gset
alter table rotation_other.c rename t to token;
call encrypt.run_job(:job);
select state, round, counts[1] as rows, last_error from encrypt.jobs where job_id = :job;
select count(*) from rotation_other.c where token = encrypt.blind_index('v' || id, 'rotation renamed', 'c');

-- What is missing for good is what the job fails of.
create function rotation_other.count_update() returns trigger language plpgsql as $$
begin
    update rotation_other.missing set n = n + 1;
    return new;
end $$;
create trigger count_update before update on rotation_other.c for each row execute function rotation_other.count_update();
alter table rotation_other.c enable always trigger count_update;
select encrypt.rotate_key('rotation renamed') > 0 as rotated;
select encrypt.start_reencryption('rotation renamed') as job \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY default
select state, round, last_error from encrypt.jobs where job_id = :job;
create table rotation_other.missing (n integer);
select encrypt.resume_job(:job);
call encrypt.run_job(:job);
select state, last_error from encrypt.jobs where job_id = :job;

drop schema rotation_other cascade;
reset client_min_messages;
