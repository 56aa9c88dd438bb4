-- default settings only: shows estimates
-- ANALYZE of encrypted columns: shares, widths, distinct and common values; never an order, and nothing decrypted.
set client_min_messages = error;
create schema types_statistics;
set search_path = types_statistics;
select encrypt.create_key('types_statistics') is not null as made;
select encrypt.create_type('email_enc', key => 'types_statistics', searchable => true);
select encrypt.create_type('note_enc', key => 'types_statistics');
reset client_min_messages;
create table t (k integer, e email_enc, few email_enc, n note_enc, nothing email_enc);
insert into t
select k, case when k % 4 > 0 then 'user' || k end, case when k % 2 = 0 then 'common' else 'c' || k % 50 end, 'n' || k % 3, null
from generate_series(1, 2000) k;
analyze t;
select staattnum, stanullfrac, stawidth, round(stadistinct::numeric, 2) as stadistinct,
       array[stakind1, stakind2, stakind3, stakind4, stakind5] as kinds
from pg_statistic where starelid = 't'::regclass and staattnum > 1 order by staattnum;
-- The most common value and its share; what is kept is the value as it is stored.
select cardinality(most_common_vals::text::text[]) > 10 as several, most_common_freqs[1] from pg_stats
where schemaname = 'types_statistics' and attname = 'few';
select most_common_vals::text like '{"\\\\xe301%' as stored, histogram_bounds is null as no_histogram, correlation is null as no_order
from pg_stats where schemaname = 'types_statistics' and attname = 'few';
-- Estimates follow from it: literal, parameter, NULL.
create function estimate(condition text) returns bigint language plpgsql as
$$
declare
    plan json;
begin
    execute 'explain (format json) select from t where ' || condition into plan;
    return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
end
$$;
select estimate($$few = 'common'$$), estimate($$few = text 'common'$$), estimate($$few <> 'common'$$), estimate('e is null'),
       estimate($$e = 'user7'$$), estimate($$few = 'unknown'$$) < 30 as rare;
-- Values that are too wide to be kept, where none else is common.
create table wide as select case when k % 10 = 0 then repeat('x', 1100) else 'user' || k end::email_enc as e from generate_series(1, 1000) k;
analyze wide;
select most_common_vals is null as none_kept from pg_stats where tablename = 'wide';
select count(*) from wide where e = 'user7';
-- Where ANALYZE has seen all values there are, planning a join decrypts none of them: a role without any grant may join.
create role regress_types_statistics;
grant usage on schema types_statistics to regress_types_statistics;
grant select on t to regress_types_statistics;
create table two (few email_enc);
insert into two select case k % 3 when 0 then 'common' else 'c' || k % 2 end from generate_series(1, 300) k;
analyze two;
grant select on two to regress_types_statistics;
select most_common_freqs, n_distinct from pg_stats where schemaname = 'types_statistics' and tablename = 'two';
set role regress_types_statistics;
select count(*) from t join two using (few) where k < 20;
select count(*) from t left join two using (few) where k < 20;
select count(*) from two where few in (select few from t);
reset role;
-- An empty column, an empty table.
create table empty (e email_enc);
analyze empty;
select count(*) from pg_statistic where starelid = 'empty'::regclass;
-- ANALYZE decrypts nothing: a role without any grant may run it on its own table.
grant create on schema types_statistics to regress_types_statistics;
create table owned as table t;
alter table owned owner to regress_types_statistics;
set role regress_types_statistics;
analyze owned;
select null_frac from pg_stats where tablename = 'owned' and attname = 'e';
reset role;
drop table owned;
revoke all on t, two from regress_types_statistics;
revoke all on schema types_statistics from regress_types_statistics;
drop role regress_types_statistics;
set client_min_messages = error;
drop schema types_statistics cascade;
