-- Columns whose collation calls different texts equal: only ICU has such ones, and not every build has ICU. A searchable type's
-- equality is that of its tokens all the same, and whatever sorts agrees with it; a type without tokens is equal as its base.
set client_min_messages = error;
create schema types_collations;
set search_path = types_collations;
select encrypt.create_key('types_collations') is not null as made;
select encrypt.create_type('email_enc', key => 'types_collations', searchable => true);
select encrypt.create_type('note_enc', key => 'types_collations');
reset client_min_messages;
set pg_encrypt.reveal = on;
select exists (select from pg_collation where collname = 'und-x-icu') as icu \gset
\if :icu
create collation caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table t (k integer, e email_enc collate caseless, n note_enc collate caseless, p text collate caseless);
insert into t
select k, x, x, x
from (select k, case k % 4 when 0 then 'Aa' when 1 then 'aA' when 2 then 'AA' else 'b' end from generate_series(1, 40) as k) v (k, x);
select count(distinct e) as e, count(distinct n) as n, count(distinct p) as p from t;
-- Equal values are neighbours however they are brought together.
select e, count(*) from t group by e order by e collate "C";
select count(*) from t a join t b on a.e = b.e;
select count(*) from t a join t b on a.n = b.n;
set enable_hashagg = off;
set enable_hashjoin = off;
set enable_nestloop = off;
select e, count(*) from t group by e order by e collate "C";
select count(*) as groups from (select e from t group by rollup (e)) s;
select count(*) as groups from (select e from t group by e order by e) s;
select count(*) as values from (select distinct on (e) e, k from t order by e, k) s;
select count(*) as values from (select e from t intersect select e from t) s;
select max(n) as most from (select count(*) over (partition by e) as n from t) s;
select count(*) from t a join t b on a.e = b.e;
select count(*) from t a join t b on a.n = b.n;
-- Of any two values exactly one is true: less, equal, more.
select count(*) from t a, t b where (a.e < b.e)::integer + (a.e = b.e)::integer + (a.e > b.e)::integer <> 1;
reset all;
\else
\echo this PostgreSQL is built without ICU
\endif
set client_min_messages = error;
drop schema types_collations cascade;
