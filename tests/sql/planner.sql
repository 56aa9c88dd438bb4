-- What the planner and the executor make of the functions: nothing is decrypted at plan time, an index can't hold
-- plaintext, one bad value spoils only its own row, and plans that are kept follow keys and grants.
-- default settings only: shows plans, and sets what decides about them

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('planner') > 0 as created;
reset client_min_messages;

create table planner_values (id integer primary key, e encrypt.ciphertext, token bytea);
insert into planner_values
select id, encrypt.encrypt_column('planner canary ' || id, 'planner', row_id => id::text),
       encrypt.blind_index('planner canary ' || id, 'planner')
from generate_series(1, 1000) id;
create index on planner_values (token);
analyze planner_values;

-- EXPLAIN of a constant ciphertext: the call is shown, not what it returns. With execution too, in kept generic and
-- custom plans too.
select encrypt.encrypt_column('planner canary', 'planner') as sample \gset
create function pg_temp.leaks(statement text) returns boolean language plpgsql as $$
declare
    line text;
    lines integer := 0;
    leak boolean := false;
begin
    for line in execute statement loop
        lines := lines + 1;
        leak := leak or line ~ 'canary';
    end loop;
    if lines = 0 then raise 'no plan'; end if;
    return leak;
end $$;
select pg_temp.leaks(format(statement, :'sample')) as leaks
from unnest(array['explain (verbose, costs off) select encrypt.decrypt_column(%L)',
                  'explain (verbose, analyze) select encrypt.decrypt_column(%L)',
                  'explain (verbose) select id from planner_values where encrypt.decrypt_column(e, row_id => id::text) = encrypt.decrypt_column(%L)',
                  'explain (verbose, format json) select encrypt.decrypt_as(%L, null::text) || id from planner_values',
                  'explain (verbose) select id from planner_values where token = encrypt.blind_index(encrypt.decrypt_column(%L), ''planner'')',
                  'explain (verbose) select 1 from planner_values group by encrypt.decrypt_bytes(%L), e']) as statement;
prepare one(encrypt.ciphertext) as select encrypt.decrypt_column($1);
set plan_cache_mode = force_custom_plan;
select pg_temp.leaks(format('explain (verbose) execute one(%L)', :'sample')) as leaks;
set plan_cache_mode = force_generic_plan;
select pg_temp.leaks(format('explain (verbose) execute one(%L)', :'sample')) as leaks;
reset plan_cache_mode;
deallocate one;

-- What must be IMMUTABLE can't call decrypt_column or blind_index; nor can a generated column.
\set VERBOSITY terse
create index on planner_values (encrypt.decrypt_column(e));
create index on planner_values (id) where encrypt.decrypt_column(e) = 'x';
create index on planner_values (encrypt.blind_index('x'));
alter table planner_values add column plaintext text generated always as (encrypt.decrypt_column(e)) stored;
create table planner_partitioned (e encrypt.ciphertext) partition by list (encrypt.decrypt_column(e));
\set VERBOSITY default
-- Statistics are not refused, but hold plaintext: none are there unless somebody asks for them.
select attname from pg_stats where tablename = 'planner_values' and most_common_vals::text || histogram_bounds::text ~ 'canary';

-- One bad value: rows beside it can be read, whatever the order of conditions and the nesting.
insert into planner_values
select 0, set_bit(e::bytea, 250, 1 - get_bit(e::bytea, 250))::encrypt.ciphertext, token from planner_values where id = 1;
create view planner_readable as select id, encrypt.decrypt_column(e, row_id => id::text) as plaintext from planner_values;
select plaintext from planner_readable where id = 1;
select plaintext from planner_readable where plaintext ~ 'canary' and id = 2;
select id from planner_readable where id between 1 and 10 and plaintext = 'planner canary 7';
select count(*) from planner_readable;
select plaintext from planner_readable where id > 0 order by id limit 1;
select v.id from planner_values v
where v.token = any (encrypt.blind_index_all('planner canary 8', 'planner')) and encrypt.decrypt_column(v.e, row_id => v.id::text) = 'planner canary 8';
\set VERBOSITY sqlstate
select plaintext from planner_readable where id = 0;
select count(plaintext) from planner_readable;
-- Here OFFSET keeps the condition outside, so all rows are decrypted first.
select plaintext from (select * from planner_readable offset 0) s where id = 3;
\set VERBOSITY default
delete from planner_values where id = 0;

-- The cheap condition goes first: decryption costs more.
explain (costs off) select id from planner_values where encrypt.decrypt_column(e) = 'x' and id % 2 = 0;

-- Kept plans: after a rotation they encrypt under the new key and find both tokens; after a revocation they fail.
set plan_cache_mode = force_generic_plan;
prepare writing as select encrypt.key_id(encrypt.encrypt_column($1, 'planner')) = k.key_id as active
    from encrypt.keys k where k.name = 'planner' and k.purpose = 'column' and k.state = 'active';
prepare reading as select encrypt.decrypt_column(e, row_id => id::text) from planner_values where id = $1;
prepare finding as select id from planner_values where token = any (encrypt.blind_index_all($1, 'planner'));
execute writing('x');
execute reading(5);
execute finding('Planner Canary 5');
select encrypt.rotate_key('planner') > 0 as rotated, encrypt.rotate_key('planner', 'index') > 0 as rotated;
execute writing('x');
execute reading(5);
execute finding('Planner Canary 5');
create role regress_planner;
grant select on planner_values to regress_planner;
select encrypt.grant_key('planner', 'regress_planner', 'encrypt', 'decrypt', 'search');
set role regress_planner;
execute writing('x');
execute reading(5);
execute finding('Planner Canary 5');
reset role;
select encrypt.revoke_key('planner', 'regress_planner', 'encrypt', 'decrypt', 'search');
set role regress_planner;
\set VERBOSITY sqlstate
execute writing('x');
execute reading(5);
execute finding('Planner Canary 5');
\set VERBOSITY default
reset role;
revoke all on planner_values from regress_planner;
drop role regress_planner;
deallocate all;
reset plan_cache_mode;

-- In parallel workers: values are decrypted there, and encrypted with nonces that no other worker draws.
set parallel_setup_cost = 0;
set parallel_tuple_cost = 0;
set min_parallel_table_scan_size = 0;
set max_parallel_workers_per_gather = 2;
set parallel_leader_participation = off;
explain (costs off) select count(*) from planner_values where encrypt.decrypt_column(e, row_id => id::text) ~ 'canary';
select count(*) from planner_values where encrypt.decrypt_column(e, row_id => id::text) ~ 'canary';
explain (costs off) create table planner_copy as select id, encrypt.encrypt_column(id::text, 'planner') as e from planner_values;
create table planner_copy as select id, encrypt.encrypt_column(id::text, 'planner') as e from planner_values;
select count(*), count(distinct substr(e::bytea, 7, 18)) as nonces from planner_copy;
select count(*) from planner_copy where encrypt.decrypt_column(e) = id::text;
-- Keys of this transaction that are not committed are known to its workers.
begin;
select encrypt.rotate_key('planner') > 0 as rotated;
select count(*) from (select encrypt.key_id(encrypt.encrypt_column(id::text, 'planner')) as key_id from planner_values) s
join encrypt.keys using (key_id) where state = 'active';
rollback;

drop view planner_readable;
drop table planner_values, planner_copy;
