-- Registered columns: what is refused and why; that a registration follows its column through renames, schemas, partitions
-- and DROP; who may register.

set jit = off;
-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('columns') > 0 as created;
select encrypt.create_type('columns_enc', key => 'columns');
reset client_min_messages;
\pset null '-'

-- Outcome of a statement, hint included.
create function pg_temp.outcome(statement text) returns text language plpgsql
    set max_parallel_workers_per_gather = 0 as $$
declare
    hint text;
begin
    execute statement;
    return 'ok';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return sqlstate || ' ' || sqlerrm || coalesce(nullif(' / ' || hint, ' / '), '');
end $$;
create view columns_shown as
select value_column, index_column, row_id_column, key_name, context, normalizer, bits, created_by = current_user as by_me
from encrypt.columns order by value_column::text collate "C";

-- References to columns are read and written as names.
create schema columns_app;
create table columns_app."Odd ""name""" ("a.b" encrypt.ciphertext, "SELECT" bytea);
select x::encrypt.regcolumn as column, x::encrypt.regcolumn::bigint & 65535 as number,
       x::encrypt.regcolumn = x::encrypt.regcolumn::bigint::encrypt.regcolumn as there_and_back
from unnest(array['columns_app."Odd ""name"""."a.b"', 'columns_app."Odd ""name"""."SELECT"', 'encrypt.keys.name',
                  'Encrypt.KEYS.State', 'pg_class.relname']) as x;
select pg_temp.outcome(format('select %L::encrypt.regcolumn', x)) from unnest(array[
    'name', 'a.b.c.d', '', '.', 'keys.', 'encrypt.keys.missing', 'encrypt.keys.ctid', 'encrypt.missing.name',
    'missing.keys.name', 'encrypt..name', '1.2.3', '-1.2']) with ordinality as u(x, n) order by n;
select '4294967295.12'::encrypt.regcolumn as of_no_table, 'pg_class.relname'::encrypt.regcolumn < '4294967295.12'::encrypt.regcolumn as ordered;

-- Registration.
create table columns_t (id bigint primary key, gone integer, e encrypt.ciphertext, i bytea, other encrypt.ciphertext, x columns_enc,
                        t text, at timestamptz);
alter table columns_t drop column gone;
select encrypt.register_column('columns_t', 'e', 'i', 'columns', normalizer => 'email', bits => 64) is not null as registered;
select encrypt.register_column('columns_t', 'other', key => 'columns', context => 'ctx', row_id_column => 'id') is not null as registered;
select encrypt.register_column('columns_app."Odd ""name"""', 'a.b', 'SELECT', 'columns') is not null as registered;
select * from columns_shown;
create temp table columns_temporary (e encrypt.ciphertext);
create view columns_view as select e from columns_t;
create materialized view columns_matview as select e from columns_t;
select pg_temp.outcome(statement) from unnest(array[
    $$select encrypt.register_column('columns_t', 'e', key => 'columns')$$,
    $$select encrypt.register_column('columns_t', 'missing', key => 'columns')$$,
    $$select encrypt.register_column('columns_t', 'ctid', key => 'columns')$$,
    $$select encrypt.register_column('columns_t', 't', key => 'columns')$$,
    $$select encrypt.register_column('columns_t', 'x', key => 'columns')$$,
    $$select encrypt.register_column('columns_t', 'other', 'e', 'columns')$$,
    $$select encrypt.register_column('columns_t', 'other', 'missing', 'columns')$$,
    $$select encrypt.register_column('columns_t', 'other', key => 'columns', row_id_column => 'at')$$,
    $$select encrypt.register_column('columns_t', 'other', key => 'missing')$$,
    $$select encrypt.register_column('columns_t', 'other', key => 'columns', normalizer => 'lower')$$,
    $$select encrypt.register_column('columns_t', 'other', key => 'columns', bits => 12)$$,
    $$select encrypt.register_column('columns_t', 'other', key => 'columns', bits => 264)$$,
    $$select encrypt.register_column('columns_t', 'other', key => null)$$,
    $$select encrypt.register_column('columns_t', null, key => 'columns')$$,
    $$select encrypt.register_column(null, 'e', key => 'columns')$$,
    $$select encrypt.register_column(4294967295::oid::regclass, 'e', key => 'columns')$$,
    $$select encrypt.register_column('columns_view', 'e', key => 'columns')$$,
    $$select encrypt.register_column('columns_matview', 'e', key => 'columns')$$,
    $$select encrypt.register_column('columns_temporary', 'e', key => 'columns')$$,
    $$select encrypt.unregister_column('columns_t', 'i')$$,
    $$select encrypt.unregister_column('columns_t', 'missing')$$]) with ordinality as u(statement, n) order by n;
drop view columns_view;
drop materialized view columns_matview;

-- It follows the column.
alter table columns_t rename column e to "E";
alter table columns_t rename column i to email_index;
alter table columns_t set schema columns_app;
alter table columns_app.columns_t rename to moved;
alter schema columns_app rename to "Columns app";
select * from columns_shown;
select relation, "column", place, kind, key_name, row_id_column, index_column, normalizer, bits
from encrypt._value_columns() where key_name = 'columns' order by 1, 2;

-- Dropped columns are forgotten, and what was bound to a row is not orphaned.
select pg_temp.outcome('alter table "Columns app".moved drop column id');
alter table "Columns app".moved drop column email_index;
select * from columns_shown;
alter table "Columns app".moved drop column "E";
drop table "Columns app"."Odd ""name""";
select * from columns_shown;
-- Another column of the old name is another column.
alter table "Columns app".moved add column "E" encrypt.ciphertext;
select count(*) filter (where key_name = 'columns') as registered, count(*) as columns
from encrypt._value_columns() where relation = '"Columns app".moved'::regclass and kind = 'ciphertext';
-- A rollback brings the registration back.
begin;
drop table "Columns app".moved;
select count(*) from encrypt.columns;
rollback;
select encrypt.unregister_column('"Columns app".moved', 'other');
select count(*) from encrypt.columns;

-- Partitioned tables and inheritance: the root stands for the leaves, whose columns have other numbers.
create table columns_p (id integer, e encrypt.ciphertext, i bytea) partition by range (id);
create table columns_p1 partition of columns_p for values from (0) to (10) partition by range (id);
create table columns_p11 (i bytea, gone integer, id integer, e encrypt.ciphertext);
alter table columns_p11 drop column gone;
alter table columns_p1 attach partition columns_p11 for values from (0) to (5);
create table columns_parent (e encrypt.ciphertext);
create table columns_child (more integer) inherits (columns_parent);
select encrypt.register_column('columns_p', 'e', 'i', 'columns') is not null as registered;
select encrypt.register_column('columns_parent', 'e', key => 'columns') is not null as registered;
select relation, "column", index_column from encrypt._value_columns() where key_name = 'columns' and kind = 'ciphertext' order by 1;
select pg_temp.outcome(statement) from unnest(array[
    $$select encrypt.register_column('columns_p11', 'e', key => 'columns')$$,
    $$select encrypt.register_column('columns_child', 'e', key => 'columns')$$]) with ordinality as u(statement, n) order by n;
-- A partition with a registration of its own keeps it: its values are bound to that.
create table columns_p2 (like columns_p);
select encrypt.register_column('columns_p2', 'e', key => 'columns', context => 'own') is not null as registered;
alter table columns_p attach partition columns_p2 for values from (10) to (20);
select relation, context = 'own' as own from encrypt._value_columns()
where key_name = 'columns' and kind = 'ciphertext' and relation::text like 'columns\_p%' order by 1;
alter table columns_p detach partition columns_p2;
drop table columns_p2;

-- Who may: those to whom the function was granted, for tables that they own.
create role regress_columns;
grant create on schema public to regress_columns;
set role regress_columns;
create table columns_own (e encrypt.ciphertext);
select pg_temp.outcome($$select encrypt.register_column('columns_own', 'e', key => 'columns')$$);
reset role;
grant execute on function encrypt.register_column, encrypt.unregister_column to regress_columns;
set role regress_columns;
select pg_temp.outcome($$select encrypt.register_column('columns_own', 'e', key => 'columns')$$);
select pg_temp.outcome($$select encrypt.register_column('columns_p', 'e', key => 'columns')$$);
select pg_temp.outcome($$select encrypt.unregister_column('columns_p', 'e')$$);
select pg_temp.outcome('delete from encrypt.columns');
select value_column, created_by from encrypt.columns where created_by = 'regress_columns';
drop table columns_own;
reset role;

drop table columns_p, columns_parent, columns_child;
select count(*) from encrypt.columns;
drop table "Columns app".moved;
drop schema "Columns app";
drop owned by regress_columns;
drop role regress_columns;
select encrypt.drop_type('columns_enc');
