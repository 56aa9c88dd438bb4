-- default settings only: what is refused is read from catalogs
-- start_migration: what is refused, all reasons at once, before anything is made.
set client_min_messages = error;
create role regress_mr_owner;
create role regress_mr_other;
select encrypt.create_key('migration_refusals') is not null as made;
create schema mr;
set search_path = mr;
create function refused(target regclass, columns text[], search text[] default '{}', options jsonb default '{}')
    returns setof text language plpgsql as $$
declare
    reasons text;
    remedies text;
begin
    perform encrypt.start_migration(target, columns, 'migration_refusals', search, options);
    raise exception sqlstate 'ZZ000' using message = 'started';
exception
    when sqlstate 'ZZ000' then
        return next 'started';
    when others then
        get stacked diagnostics reasons = pg_exception_detail, remedies = pg_exception_hint;
        return query select format('%s %s', sqlstate, sqlerrm)
                     union all select '- ' || r from regexp_split_to_table(nullif(regexp_replace(reasons, 'migration \d+', 'migration N'), ''), E'\n') r
                     union all select '> ' || r from regexp_split_to_table(nullif(regexp_replace(remedies, '\(\d+\)', '(N)'), ''), E'\n') r;
end
$$;
create table ok (id integer primary key, a text, b text, n integer);
select refused('ok', '{a}');

-- The call.
select refused('ok', '{}');
select refused('ok', '{a, a}');
select refused('ok', '{a, nothing}');
select refused('ok', '{xmin}');
select refused('ok', '{a}', '{b}');
select refused('ok', '{a}', '{}', '{"strategy": "in_place"}');
select refused('ok', '{a}', '{}', '{"expose": "trigger"}');
select refused('ok', '{a}', '{}', '{"checks": "maybe"}');
select refused('ok', '{a}', '{}', '{"chekcs": "keep"}');
select refused('ok', '{a}', '{}', '[]');
select refused('ok', '{a}', '{}', '{"types": "t"}');
select refused('ok', '{a}', '{}', '{"types": {"b": "t"}}');
select refused('ok', '{a}', '{}', '{"expose": "columns", "contexts": {"A": "t"}}');
select refused('ok', '{a}', '{}', '{"lock_timeout": "0"}');
select refused('ok', '{a}', '{}', '{"attempts": 0}');
select encrypt.start_migration('ok', '{a}', 'migration_nothing');
select encrypt.start_migration(null, '{a}');

-- The caller: owns the table, may use the key, was granted the function.
grant usage, create on schema mr to regress_mr_owner, regress_mr_other;
create table owned (id integer primary key, a text);
alter table owned owner to regress_mr_owner;
set role regress_mr_owner;
select encrypt.start_migration('owned', '{a}', 'migration_refusals');
reset role;
grant execute on function encrypt.start_migration(regclass, text[], text, text[], jsonb) to regress_mr_owner, regress_mr_other;
set role regress_mr_owner;
select refused('owned', '{a}');
reset role;
select encrypt.grant_key('migration_refusals', 'regress_mr_owner', 'encrypt', 'decrypt');
set role regress_mr_other;
select refused('owned', '{a}');
set role regress_mr_owner;
select refused('owned', '{a}');
reset role;
revoke create on schema mr from regress_mr_owner;
set role regress_mr_owner;
select refused('owned', '{a}');
reset role;
begin isolation level repeatable read;
select refused('ok', '{a}');
rollback;

-- What is a table.
create view v as select * from ok;
create materialized view mv as select 1 as a;
create temp table tmp (id integer primary key, a text);
create unlogged table unlogged (id integer primary key, a text);
create foreign data wrapper mr_wrapper;
create server mr_server foreign data wrapper mr_wrapper;
create foreign table far (id integer, a text) server mr_server;
select refused('v', '{id}');
select refused('mv', '{a}');
select refused('tmp', '{a}');
select refused('far', '{a}');
select refused('pg_class', '{relname}');
select refused('encrypt.keys', '{comment}');
select refused('unlogged', '{a}');
create type row_type as (id integer, a text);
create table typed of row_type (primary key (id));
select refused('typed', '{a}');
create table parent (id integer primary key, a text);
create table child (primary key (id)) inherits (parent);
select refused('parent', '{a}');
select refused('child', '{a}');
create table parted (id integer, a text, primary key (id)) partition by range (id);
create table part1 partition of parted for values from (0) to (10);
create table parted_far (id integer, a text) partition by range (id);
create foreign table part_far partition of parted_far default server mr_server;
select refused('part1', '{a}');
select refused('parted_far', '{a}');
drop view v;
create table forced (id integer primary key, a text);
alter table forced enable row level security, force row level security;
create rule r as on delete to forced do also select 1;
select refused('forced', '{a}');

-- What identifies rows.
create table no_key (a text, b integer unique, c integer not null);
create unique index on no_key (c) where b > 0;
create unique index on no_key ((c + 1));
select refused('no_key', '{a}');
create unique index on no_key (c);
select refused('no_key', '{a}');
create table deferrable_key (id integer primary key deferrable, a text);
select refused('deferrable_key', '{a}');
-- The remedy is one.
alter table deferrable_key add column row_id bigint generated always as identity unique;
select refused('deferrable_key', '{a}');
create table key_encrypted (a text primary key, b integer not null unique);
select refused('key_encrypted', '{a}', '{a}');
select refused('key_encrypted', '{b}', '{b}');

-- Columns.
create domain mail as text check (value like '%@%');
create table columns (
    id integer primary key, m mail, g text generated always as ('x' || n::text) stored, n text, i integer generated always as identity,
    x xml, p char(5), arr text[], bool boolean, day date, j jsonb, e encrypt.ciphertext, money money);
select refused('columns', '{m, g, i, x, p, arr, e, money}');
select refused('columns', '{n}');
select refused('columns', '{bool, day, j}', '{bool, day, j}');
select refused('columns', '{bool, day}', '{bool, day}', '{"accept_leakage": true}');
select refused('columns', '{bool, day, j}');

-- Types that are given.
select encrypt.create_type('mr.shared', 'text', 'migration_refusals', true);
select encrypt.create_type('mr.limited', 'varchar', 'migration_refusals', false, modifier => '7');
select encrypt.create_key('migration_refusals_2') is not null as made;
select encrypt.create_type('mr.elsewhere', 'text', 'migration_refusals_2');
select refused('ok', '{a}', '{a}', '{"types": {"a": "mr.shared"}}');
select refused('ok', '{a}', '{a}', '{"types": {"a": "mr.limited"}}');
select refused('ok', '{a}', '{}', '{"types": {"a": "mr.limited"}}');
select refused('ok', '{a}', '{}', '{"types": {"a": "mr.elsewhere"}}');
select refused('ok', '{a, b}', '{}', '{"types": {"a": "text", "b": "mr.nothing"}}');
select refused('ok', '{n}', '{}', '{"types": {"n": "mr.shared"}}');
create table encrypted_already (id integer primary key, a shared);
select refused('encrypted_already', '{a}');

-- Constraints and indexes.
create table target (id integer primary key, a text unique);
create table uses (
    id integer primary key,
    a text constraint a_check check (a <> ''),
    b text references target (a),
    c text constraint c_unique unique,
    d text constraint d_later unique deferrable,
    n integer constraint n_check check (n > 0),
    constraint whole check (uses is not null),
    constraint apart exclude using btree (c with =));
create table referrer (c text references uses (c));
alter table uses add constraint later check (n < 100) not valid;
create index on uses (a);
create index on uses (a text_pattern_ops);
create index on uses (lower(a));
create index on uses (n) where a > 'x';
create index on uses using brin (a);
create unique index on uses (a, n);
create statistics uses_statistics on a, n from uses;
create publication mr_columns for table uses (id, a);
create publication mr_rows for table ok where (n > 0), target where (id > 0 and a = 'x') with (publish = 'insert');
select refused('uses', '{a, b, c, d}');
select refused('uses', '{c, d}', '{c, d}');
select refused('uses', '{n}', '{n}');
select refused('target', '{a}', '{a}');
create table less (id integer primary key, a text constraint a_check check (a <> ''), b text);
create index on less (b);
create index on less (lower(a));
select refused('less', '{a, b}');
select refused('less', '{a, b}', '{}', '{"checks": "drop", "indexes": "drop"}');
select refused('less', '{a, b}', '{}', '{"checks": "keep", "indexes": "drop"}');
create table parted_by (id integer, a text, b integer, primary key (id, a)) partition by list (a);
select refused('parted_by', '{a}');
create table parted_too (id integer, a text, b integer) partition by range (length(a));
select refused('parted_too', '{a}');

-- What depends on it.
create table base (id integer primary key, a text, b integer);
create materialized view base_made as select * from base;
create view base_view as select * from base;
create materialized view base_view_made as select * from base_view;
create function base_body() returns bigint language sql begin atomic select count(*) from base; end;
create function base_view_body() returns bigint language sql begin atomic select count(*) from base_view; end;
create function base_rows() returns setof base language plpgsql as 'begin end';
create function base_argument(base) returns integer language plpgsql as 'begin return 1; end';
create table base_column (id integer, b base, c base[]);
create domain base_domain as base;
create rule base_rule as on update to base_view do instead nothing;
create function undo() returns trigger language plpgsql as 'begin return null; end';
create trigger base_trigger instead of delete on base_view for each row execute function undo();
create policy base_policy on ok using (exists (select from base where base.id = ok.id));
create rule ok_rule as on delete to ok do also update base set b = 1;
select refused('base', '{a}');
drop rule ok_rule on ok;
drop policy base_policy on ok;

-- Triggers that are still understood are no reason; those that are not, are.
create table triggered (id integer primary key, a text, n integer);
create function log_change() returns trigger language plpgsql as 'begin return new; end';
create trigger t1 before update of a on triggered for each row when (old.a is distinct from new.a) execute function log_change();
create trigger t2 after update on triggered for each row when (old.* is distinct from new.*) execute function log_change();
create trigger t3 before insert on triggered for each row when (length(new.a) > 3 and new.n > 4) execute function log_change();
select refused('triggered', '{a, n}');
create trigger t6 before insert on triggered for each row execute function tsvector_update_trigger(words, 'pg_catalog.simple', a);
select refused('triggered', '{a, n}');
drop trigger t6 on triggered;
create trigger t4 before insert on triggered for each row when (coalesce(new.n, 0) > 3) execute function log_change();
create trigger t5 before insert on triggered for each row when (coalesce(new.id, 0) > 3) execute function log_change();
select refused('triggered', '{a, n}');
select refused('triggered', '{a}');

-- The same with checks that are to be kept, and with policies.
create table conditions (id integer primary key, a text, n integer constraint n_check check (coalesce(n, 0) < 5));
create policy seen on conditions using (a like 'x%');
select refused('conditions', '{a, n}', '{}', '{"checks": "keep"}');
select refused('conditions', '{a, n}', '{}', '{"checks": "drop"}');
create policy other on conditions using (coalesce(n, 0) < 5);
select refused('conditions', '{a, n}', '{}', '{"checks": "drop"}');

-- Publications that publish every new table.
create publication mr_all for all tables;
select refused('less', '{a}', '{}', '{"checks": "drop", "indexes": "drop"}');
select refused('less', '{a}', '{}', '{"checks": "drop", "indexes": "drop", "publications": "accept"}');
drop publication mr_all;

-- Locks: bounded waits, and nothing is left of the attempt. A notice for each function that may fail after cutover, and for each
-- view that can't be made again.
create view less_deep as
    with recursive r (a) as (select l.a from less l union all select r.a || 'x' from r where r.a <> '') select r.a from r;
create view less_over as select d.a from less_deep d;
create view less_plain as select l.*, l.a || 'x' as x from less l where l.a like 'x%';
create function less_rows() returns setof text language plpgsql as 'begin return query select l.a from less l; end';
create function less_columns() returns setof text language plpgsql as 'begin return next (select max(l.a) from less l); end';
set client_min_messages = notice;
select encrypt.start_migration('less', '{a, b}', 'migration_refusals', '{b}',
                               '{"checks": "drop", "indexes": "drop"}') is not null as started;
set client_min_messages = error;
select refused('less', '{a}');
select refused('less_encrypted', '{id}');

-- Nothing was made by what was refused.
select count(*) from encrypt.migrations where key_name = 'migration_refusals';
select relname from pg_class where relnamespace = 'mr'::regnamespace and relname ~ '_encrypted' and relkind = 'r' order by 1;
select type_oid from encrypt.types where key_name = 'migration_refusals' order by type_oid::text;
reset search_path;
drop publication mr_columns, mr_rows;
drop foreign data wrapper mr_wrapper cascade;
-- With migrations that have not ended.
set session_replication_role = replica;
drop schema mr cascade;
drop owned by regress_mr_owner, regress_mr_other;
drop role regress_mr_owner, regress_mr_other;
