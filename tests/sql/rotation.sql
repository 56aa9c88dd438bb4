-- Rotation as a job: every value under the active version, tokens as they were; counts; what is refused and why.

set jit = off;
-- The first key of a server makes a root key, with a warning; jobs tell their numbers.
set client_min_messages = error;
select encrypt.create_key(name) > 0 as created from unnest(array['rotation', 'rotation other']) name;
select encrypt.create_type('rotation_enc', key => 'rotation', searchable => true, normalizer => 'casefold');
select encrypt.create_type('rotation_plain', 'integer', key => 'rotation');
\pset null '-'

create function pg_temp.outcome(statement text) returns text language plpgsql
    set max_parallel_workers_per_gather = 0 as $$
declare
    hint text;
begin
    execute statement;
    return 'ok';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return regexp_replace(sqlstate || ' ' || sqlerrm || coalesce(nullif(' / ' || hint, ' / '), ''), '(id |job |run_job\()-?\d+', '\1N', 'g');
end $$;
create function pg_temp.id(key text, version integer, purpose text default 'column') returns integer language sql as $$
    select k.key_id from encrypt.keys k where k.name = id.key and k.version = id.version and k.purpose = id.purpose
$$;
create view rotation_usage as
select purpose, version, state, relation, "column", "values" from encrypt.key_usage('rotation');
-- The job that was made last.
create function pg_temp.job() returns integer language sql as $$ select max(job_id) from encrypt.jobs $$;
create view rotation_jobs as
select kind, subject, state, counts[1] as rows, last_error, awaits from encrypt.jobs order by job_id desc limit 1;

-- A plain twin beside each value. Ciphertext of two contexts, one bound to rows; two encrypted types; NULLs; a partition
-- whose columns have other numbers; values too long for a page; deterministic ones.
create table rotation_t (id integer not null, plain text, n integer, typed rotation_enc, number rotation_plain,
                         bound encrypt.ciphertext, free encrypt.ciphertext, token bytea) partition by range (id);
create table rotation_t1 partition of rotation_t for values from (0) to (200);
create table rotation_t2 (token bytea, free encrypt.ciphertext, gone integer, bound encrypt.ciphertext, number rotation_plain,
                          typed rotation_enc, n integer, plain text, id integer not null);
alter table rotation_t2 drop column gone;
alter table rotation_t attach partition rotation_t2 for values from (200) to (400);
select encrypt.register_column('rotation_t', 'bound', key => 'rotation', context => 'bound', row_id_column => 'id') is not null as r1,
       encrypt.register_column('rotation_t', 'free', 'token', key => 'rotation', bits => 64) is not null as r2;
create view rotation_context as select uuid::text as context from encrypt.columns where value_column = 'rotation_t.free'::encrypt.regcolumn;
create function pg_temp.fill(low integer, high integer) returns void language sql as $$
    insert into rotation_t (id, plain, n, typed, number, bound, free, token)
    select i, p, i, p, i, encrypt.encrypt_column(p, 'rotation', 'bound', i::text),
           case when i % 7 = 0 then encrypt.encrypt_deterministic(p, 'rotation', c.context)
                else encrypt.encrypt_column(p, 'rotation', c.context) end,
           encrypt.blind_index(p, 'rotation', c.context, bits => 64)
    from rotation_context c, generate_series(low, high) as i
    cross join lateral (select case when i % 10 > 0 then repeat('Value ' || i, case when i % 20 = 1 then 1000 else 1 end) end) as v (p)
$$;
select pg_temp.fill(1, 399);
create index on rotation_t (encrypt.key_id(bound));
create unique index on rotation_t2 (encrypt.token(typed));
create table rotation_stored as select id, encrypt.token(typed) as token, token as free_token from rotation_t;
-- Whether every value equals its twin and is found.
create view rotation_wrong as
select id from rotation_t, rotation_context c
where plain is distinct from typed::text or n is distinct from number::integer
   or plain is distinct from encrypt.decrypt_column(bound, 'bound', id::text)
   or plain is distinct from encrypt.decrypt_column(free, c.context)
   or plain is not null and (typed <> lower(plain)
                             or not token = any (encrypt.blind_index_all(plain, 'rotation', c.context, bits => 64)));
select count(*) from rotation_wrong;
select * from rotation_usage;

-- Re-encryption. Values under other keys and in columns that nobody registered stay.
create table rotation_unregistered as select id, free from rotation_t where id < 10;
create table rotation_mixed (e encrypt.ciphertext);
insert into rotation_mixed values (encrypt.encrypt_column('other', 'rotation other', 'mixed')),
                                  (encrypt.encrypt_column('mine', 'rotation', 'mixed'));
select encrypt.register_column('rotation_mixed', 'e', key => 'rotation', context => 'mixed') is not null as registered;
select encrypt.rotate_key('rotation') > 0 as rotated, encrypt.rotate_key('rotation other') > 0 as rotated;
select * from rotation_usage where purpose = 'column';
select pg_temp.outcome(format('select encrypt.retire_key(%s)', pg_temp.id('rotation', 1)));
reset client_min_messages;
select encrypt.start_reencryption('rotation') > 0 as started;
set client_min_messages = error;
select pg_temp.outcome($$select encrypt.start_reencryption('rotation')$$);
select count(*) as tasks from encrypt.job_tasks where job_id = pg_temp.job();
select pg_temp.job() \gset
call encrypt.run_job(:job);
select * from rotation_jobs;
select * from rotation_usage where purpose = 'column';
select count(*) from rotation_wrong;
select count(*) as other_tokens from rotation_t t join rotation_stored s using (id)
where s.token is distinct from encrypt.token(t.typed) or s.free_token is distinct from t.token;
select (select name || ' ' || version from encrypt.keys k where k.key_id = encrypt.key_id(e)) as key,
       encrypt.decrypt_column(e, 'mixed') as value from rotation_mixed order by 1;
-- What is left is named.
select pg_temp.outcome(format('select encrypt.retire_key(%s)', pg_temp.id('rotation', 1)));
update rotation_unregistered set free = encrypt.reencrypt_column(free, null, c.context) from rotation_context c;
select pg_temp.outcome(format('select encrypt.retire_key(%s)', pg_temp.id('rotation', 1)));
-- Nothing to do.
select encrypt.start_reencryption('rotation') > 0 as started;
select pg_temp.job() \gset
call encrypt.run_job(:job);
select * from rotation_jobs;

-- Compromised values come first: a round of their own.
select encrypt.rotate_key('rotation') > 0 as rotated;
update rotation_t set free = encrypt.encrypt_column(plain, 'rotation', c.context) from rotation_context c where id < 100;
select encrypt.mark_compromised(pg_temp.id('rotation', 3));
select version, state, compromised_at is not null as compromised from encrypt.keys
where name = 'rotation' and purpose = 'column' order by version;
select pg_temp.outcome(format('select encrypt.mark_compromised(%s)', pg_temp.id('rotation', 3)));
select pg_temp.outcome('select encrypt.mark_compromised(1)');
select encrypt.start_reencryption('rotation', '{"batch_rows": 10}') > 0 as started;
select distinct statement ~ pg_temp.id('rotation', 3)::text as moves_compromised, statement ~ pg_temp.id('rotation', 2)::text as moves_others
from encrypt.job_tasks where job_id = pg_temp.job();
select pg_temp.job() \gset
call encrypt.run_job(:job);
select kind, state, round > 1 as several_rounds, counts[1] as rows from encrypt.jobs where job_id = :job;
select * from rotation_usage where purpose = 'column';
select count(*) from rotation_wrong;
select pg_temp.outcome(format('select encrypt.retire_key(%s)', key_id)) from encrypt.keys
where name = 'rotation' and purpose = 'column' and state = 'rotating' order by version;

-- Re-indexing. Search finds rows of both versions throughout; the searchable type keeps its index key.
select encrypt.rotate_key('rotation', 'index') > 0 as rotated;
update rotation_t set token = encrypt.blind_index(plain, 'rotation', c.context, bits => 64) from rotation_context c where id < 50;
select * from rotation_usage where purpose = 'index';
select count(*) from rotation_wrong;
reset client_min_messages;
select encrypt.start_reindexing('rotation') > 0 as started;
set client_min_messages = error;
select pg_temp.job() \gset
call encrypt.run_job(:job);
select * from rotation_jobs;
select * from rotation_usage where purpose = 'index';
select count(*) from rotation_wrong;
select count(*) as wrong_tokens from rotation_t, rotation_context c
where token is distinct from encrypt.blind_index(plain, 'rotation', c.context, bits => 64);
-- Tokens that a constraint compares: two versions of one value would be no duplicate.
create unique index rotation_unique on rotation_t1 (id, token);
select pg_temp.outcome($$select encrypt.start_reindexing('rotation')$$);
drop index rotation_unique;

-- Tables whose rows a job could not reach.
create role regress_rotation;
grant create on schema public to regress_rotation;
grant usage on type rotation_enc to regress_rotation;
set role regress_rotation;
create table rotation_hidden (e rotation_enc);
alter table rotation_hidden enable row level security, force row level security;
reset role;
insert into rotation_hidden values ('hidden');
select pg_temp.outcome($$select encrypt.start_reencryption('rotation')$$);
alter table rotation_hidden no force row level security;
create rule rotation_rule as on update to rotation_hidden do instead nothing;
alter table rotation_hidden enable always rule rotation_rule;
select pg_temp.outcome($$select encrypt.start_reencryption('rotation')$$);
drop rule rotation_rule on rotation_hidden;
create publication rotation_publication for table rotation_hidden;
select pg_temp.outcome($$select encrypt.start_reencryption('rotation')$$);
create schema "rotation %s";
alter table rotation_hidden set schema "rotation %s";
select pg_temp.outcome($$select encrypt.start_reencryption('rotation')$$);
alter table "rotation %s".rotation_hidden set schema public;
drop schema "rotation %s";
drop publication rotation_publication;
select pg_temp.outcome(statement) from unnest(array[
    $$select encrypt.start_reencryption('missing')$$,
    $$select encrypt.start_reindexing('missing')$$,
    $$select * from encrypt.key_usage('missing')$$,
    $$select encrypt.start_reencryption('rotation', '{"batch": 1}')$$]) with ordinality as u(statement, n) order by n;
-- A trigger that undoes what the job does is told of, and does not keep it going for ever.
select encrypt.rotate_key('rotation') > 0 as rotated;
create function rotation_undo() returns trigger language plpgsql as 'begin return old; end';
create trigger undo before update on rotation_hidden for each row execute function rotation_undo();
alter table rotation_hidden enable always trigger undo;
select encrypt.start_reencryption('rotation') > 0 as started;
select pg_temp.job() \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY default
select state, counts[1] > 300 as moved, last_error from encrypt.jobs where job_id = :job;
drop trigger undo on rotation_hidden;
select encrypt.resume_job(:job);
call encrypt.run_job(:job);
select * from rotation_jobs;

-- The owner of a table that a job works on does not come by plaintext: what the job may, code of the table may not.
create function rotation_peek(rotation_enc) returns boolean language plpgsql as $$
begin
    raise warning 'the owner read %', $1::text;
    return true;
end $$;
alter table rotation_hidden add constraint peek check (rotation_peek(e)) not valid;
select encrypt.rotate_key('rotation') > 0 as rotated;
select encrypt.start_reencryption('rotation', '{"max_attempts": 1}') > 0 as started;
select pg_temp.job() \gset
\set VERBOSITY sqlstate
call encrypt.run_job(:job);
\set VERBOSITY default
select last_error from encrypt.jobs where job_id = :job;
select encrypt.cancel_job(:job);
alter table rotation_hidden drop constraint peek;

-- A materialized view is told of; retire_key finds its values until it is refreshed. Generated columns follow.
create materialized view rotation_matview as select id, typed from rotation_t where id < 5;
create table rotation_generated (e encrypt.ciphertext, copy encrypt.ciphertext generated always as (e) stored);
insert into rotation_generated values (encrypt.encrypt_column('x', 'rotation', 'generated'));
select encrypt.register_column('rotation_generated', 'e', key => 'rotation', context => 'generated') is not null as registered;
select encrypt.rotate_key('rotation') > 0 as rotated;
reset client_min_messages;
select encrypt.start_reencryption('rotation') > 0 as started;
set client_min_messages = error;
select pg_temp.job() \gset
call encrypt.run_job(:job);
select state from encrypt.jobs where job_id = :job;
select relation, "column", version from encrypt.key_usage('rotation')
where relation in ('rotation_matview'::regclass, 'rotation_generated'::regclass) order by 1, 2, 3;

-- Functions that jobs call do nothing for roles without the privileges.
set role regress_rotation;
select pg_temp.outcome($$select encrypt.start_reencryption('rotation')$$);
select pg_temp.outcome($$select * from encrypt.key_usage('rotation')$$);
select pg_temp.outcome('select encrypt.mark_compromised(1)');
select pg_temp.outcome('select encrypt._reencrypt(e, array[encrypt._key_id_of(e)]) from rotation_hidden');
select pg_temp.outcome('select encrypt._reencrypt(1, ''{1}'')');
select pg_temp.outcome('select encrypt._key_id_of(1)');
reset role;
create table rotation_value as select encrypt.encrypt_column('v', 'rotation', 'c') as e;
-- A row id that is NULL is an error and not the end of the value. What is under no key of the list, or no value, stays.
select pg_temp.outcome($$select encrypt._reencrypt(e, array[encrypt._key_id_of(e)], 'c', null) from rotation_value$$);
select encrypt._reencrypt(e, null, 'c', '') operator(encrypt.*=) e as no_list,
       encrypt._reencrypt(e, array[null, -1], 'other', '') operator(encrypt.*=) e as not_listed,
       encrypt._reencrypt(null::encrypt.ciphertext, '{1}', 'c', '') is null as no_value,
       encrypt._is_under(e, array[-1, null, encrypt._key_id_of(e)]) as under, encrypt._is_under(e, '{}') as under_none
from rotation_value;
grant select on rotation_value to regress_rotation;
select encrypt._token_of(e, 'rotation', 'c', '', 'casefold', 128) = encrypt.blind_index('V', 'rotation', 'c') as token from rotation_value;
set role regress_rotation;
select pg_temp.outcome($$select encrypt._token_of(e, 'rotation', 'c', '', 'casefold', 128) from rotation_value$$);
reset role;
select encrypt.grant_key('rotation', 'regress_rotation', 'decrypt');
set role regress_rotation;
select pg_temp.outcome($$select encrypt._token_of(e, 'rotation', 'c', '', 'casefold', 128) from rotation_value$$);
reset role;

drop materialized view rotation_matview;
drop view rotation_jobs, rotation_usage;
drop table rotation_t, rotation_stored, rotation_unregistered, rotation_mixed, rotation_hidden, rotation_generated, rotation_value cascade;
drop function rotation_undo, rotation_peek;
select encrypt.revoke_key('rotation', 'regress_rotation', 'decrypt');
drop owned by regress_rotation;
drop role regress_rotation;
select encrypt.drop_type('rotation_enc'), encrypt.drop_type('rotation_plain');
reset client_min_messages;
