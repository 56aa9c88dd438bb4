-- default settings only: shows which plans use the index
-- Searching works by index, with the statements that applications send.
set client_min_messages = error;
create schema types_indexes;
set search_path = types_indexes;
select encrypt.create_key('types_indexes') is not null as made;
select encrypt.create_type('email_enc', key => 'types_indexes', searchable => true);
select encrypt.create_type('number_enc', 'int8', key => 'types_indexes', searchable => true);
select encrypt.create_type('wide_enc', key => 'types_indexes', searchable => true);
reset client_min_messages;
set pg_encrypt.reveal = on;

create table t (k integer, e email_enc, n number_enc, w wide_enc);
insert into t select k, 'user' || k || '@example.com', k, 'w' || k from generate_series(1, 2000) k;
create unique index t_e on t (e email_enc_ops);
create index t_n on t (n number_enc_ops);
-- A value too wide for a btree: hash index on the value, or btree on its token.
update t set w = repeat('wide ', 2000) || k where k <= 3;
create index t_w on t using hash (w);
create index t_token on t (encrypt.token(w));
vacuum analyze t;

-- How a plan reaches the tables: by which index, or by reading all. Versions choose different nodes for the same index.
create function plan(statement text) returns text language plpgsql as
$$
declare
    line text;
    way text[] := '{}';
begin
    for line in execute 'explain (costs off) ' || statement loop
        way := way || substring(line from '(Nested Loop|Merge Join|Hash Join|Seq Scan on \w+)')
                   || ('index ' || coalesce(substring(line from 'Index (?:Only )?Scan using (\w+)'),
                                            substring(line from 'Bitmap Index Scan on (\w+)')));
    end loop;
    return array_to_string(way, ', ');
end
$$;

-- Literals, declared types, arrays, IN, either side.
select plan($$select k from t where e = 'user7@example.com'$$);
select plan($$select k from t where 'user7@example.com' = e$$);
select plan($$select k from t where e = text 'user7@example.com'$$);
select plan($$select k from t where e = varchar 'user7@example.com'$$);
select plan($$select k from t where e in ('user7@example.com', 'user8@example.com')$$);
select plan($$select k from t where e = any (array['user7@example.com', 'nobody'])$$);
select plan($$select k from t where e = any (array['user7@example.com', 'nobody']::varchar[])$$);
select plan($$select k from t where e = encrypt.search_value('user7@example.com')$$);
select plan($$select k from t where n = 7$$);
select plan($$select k from t where n = 7::bigint$$);
select plan($$select k from t where n = 7::smallint$$);
select plan($$select k from t where n = any (array[7, 8])$$);
select plan($$select k from t where w = 'w7'$$);
select plan($$select k from t where encrypt.token(w) = encrypt.token('w7'::wide_enc)$$);
-- Not by index: an order, a pattern.
select plan($$select k from t where e > 'user7@example.com'$$);
select plan($$select k from t where e like 'user7@%'$$);
select plan($$select max(n) from t$$);

-- Parameters, with both kinds of plans.
prepare untyped as select k from t where e = $1;
prepare by_text (text) as select k from t where e = $1;
prepare by_varchar (varchar) as select k from t where e = $1;
prepare by_array (text[]) as select k from t where e = any ($1) order by k;
prepare by_number (integer) as select k from t where n = $1;
prepare by_bigints (bigint[]) as select k from t where n = any ($1) order by k;
set plan_cache_mode = force_custom_plan;
select plan($$execute untyped ('user7@example.com')$$);
select plan($$execute by_text ('user7@example.com')$$);
select plan($$execute by_varchar ('user7@example.com')$$);
select plan($$execute by_array ('{user7@example.com,user9@example.com}')$$);
select plan($$execute by_number (7)$$);
select plan($$execute by_bigints ('{7,9}')$$);
set plan_cache_mode = force_generic_plan;
select plan($$execute untyped ('user7@example.com')$$);
select plan($$execute by_text ('user7@example.com')$$);
select plan($$execute by_varchar ('user7@example.com')$$);
select plan($$execute by_array ('{user7@example.com,user9@example.com}')$$);
select plan($$execute by_number (7)$$);
execute untyped ('user7@example.com');
execute by_text ('user7@example.com');
execute by_text ('user8@example.com');
execute by_varchar ('user7@example.com');
execute by_array ('{user7@example.com,user9@example.com,nobody,NULL}');
execute by_array ('{}');
execute by_number (7);
execute by_bigints ('{7,9,-1}');
reset plan_cache_mode;
deallocate all;

-- Joins by index: between encrypted columns, with a plain one.
create table o (k integer, e email_enc, plain text);
insert into o select k, 'user' || k || '@example.com', 'user' || k || '@example.com' from generate_series(1, 5) k;
analyze o;
select plan($$select * from o join t on t.e = o.e$$);
select plan($$select * from o join t on t.e = o.plain$$);
set enable_nestloop = off;
set enable_hashjoin = off;
select plan($$select * from o join t on t.e = o.e$$);
select count(*) from o join t on t.e = o.e;
set enable_hashjoin = on;
set enable_mergejoin = off;
select plan($$select * from o join t on t.e = o.plain$$);
select count(*) from o join t on t.e = o.plain;

-- Through the hash index and the tokens, wide values are found.
reset enable_nestloop;
reset enable_mergejoin;
set enable_seqscan = off;
select k from t where w = repeat('wide ', 2000) || '2';
select k from t where encrypt.token(w) = encrypt.token((repeat('wide ', 2000) || '2')::wide_enc);
\set VERBOSITY sqlstate
create index on t (w wide_enc_ops);
create unique index on t (encrypt.token(w));
insert into t (w) values (repeat('wide ', 2000) || '2');
set client_min_messages = error;
drop schema types_indexes cascade;
