-- Equal values are brought together by their tokens: nothing is decrypted, and an index on the column serves.
-- default settings only: it shows plans.
set client_min_messages = error;
create schema types_grouping;
set search_path = types_grouping;
select encrypt.create_key('types_grouping') is not null as made;
select encrypt.create_type('email_enc', key => 'types_grouping', searchable => true);
select encrypt.create_type('note_enc', key => 'types_grouping');
create role types_grouping_clerk;
select encrypt.grant_key('types_grouping', 'types_grouping_clerk', 'encrypt');
reset client_min_messages;
create table t (k integer primary key, e email_enc, n note_enc, p text);
insert into t select k, x, x, x from (select k, 'user' || k % 7 from generate_series(1, 100) k) v (k, x);
insert into t values (101, null, null, null), (102, '', '', '');
grant usage on schema types_grouping to types_grouping_clerk;
grant select on t to types_grouping_clerk;
analyze t;

set enable_hashagg = off;
set enable_seqscan = on;
set max_parallel_workers_per_gather = 0;
set jit = off;
explain (costs off) select e, count(*) from t group by e;
explain (costs off) select distinct e from t;
with c as materialized (select distinct e from t) select count(*) from c;

-- Who may not decrypt counts and groups; the order of plaintexts is still not for them.
set role types_grouping_clerk;
select count(distinct e) as encrypted, count(distinct p) as plain from t;
select count(*), sum(s.n) from (select e, count(*) as n from t group by e) s;
select count(*) from (select distinct e from t) s;
select k % 2 as odd, count(distinct e), count(distinct e) filter (where k < 5) as few from t group by 1 order by 1;
select count(distinct n) from t;
select e from t group by e order by e;
select count(distinct e order by e) from t;
reset role;

-- Where the order is shown it is that of the plaintexts.
set pg_encrypt.reveal = on;
explain (costs off) select e, count(*) from t group by e order by e;
explain (costs off) select distinct e from t order by e desc;
explain (costs off) select distinct on (e) e, k from t;
select e, count(*) from t group by e order by e;
select distinct e from t order by e desc;
select array_agg(distinct e::text) as cast_first, array_agg(distinct e) as as_it_is from t;
select string_agg(distinct e, ',') from t;
select e, count(*) from t group by rollup (e) order by e nulls last, 2;

-- By the index.
create index on t (e email_enc_ops);
set enable_seqscan = off;
set enable_sort = off;
set enable_indexonlyscan = off;
set enable_bitmapscan = off;
explain (costs off) select e, count(*) from t group by e;
select count(*), sum(n) from (select e, count(*) as n from t group by e offset 0) s;
reset enable_seqscan;
reset enable_sort;

-- Sorted in memory and on disk, the abbreviated tokens and the whole ones agree.
create table many (e email_enc);
insert into many select 'v' || i % 9000 from generate_series(1, 20000) as i;
set work_mem = '64kB';
select count(distinct e) from many;
select count(*), sum(n) from (select e, count(*) as n from many group by e offset 0) s;
create index on many (e email_enc_ops);
set enable_seqscan = off;
select count(*) from many where e = 'v77';

-- A type that goes takes the functions of its orders along.
set client_min_messages = error;
drop table many, t;
drop type email_enc cascade;
select count(*) as left_behind from pg_proc where pronamespace = 'types_grouping'::regnamespace and proname ~ 'email_enc';
drop schema types_grouping cascade;
drop owned by types_grouping_clerk;
select encrypt.revoke_key('types_grouping', 'types_grouping_clerk', 'encrypt');
drop role types_grouping_clerk;
