-- default settings only: what is refused is read from catalogs
-- Columns whose collation calls different texts equal: only ICU has such ones, and not every build has ICU.
set client_min_messages = error;
\set SHOW_CONTEXT never
select encrypt.create_key('migration_collations') is not null as made;
create schema mcol;
set search_path = mcol;
select exists (select from pg_collation where collname = 'und-x-icu') as icu \gset
\if :icu
create collation "Dif'ferent" (provider = icu, locale = 'und', deterministic = false);
create table folded (id integer primary key, a text collate "Dif'ferent", b text);
-- A token stands for the bytes.
select encrypt.start_migration('folded', '{a}', 'migration_collations', '{a}');
-- Without search nothing compares.
begin;
select encrypt.start_migration('folded', '{a}', 'migration_collations') is not null as started;
rollback;
\else
\echo this PostgreSQL is built without ICU
\endif
-- A collation that tells bytes apart changes the order only.
create table plain (id integer primary key, a text collate "C");
begin;
select encrypt.start_migration('plain', '{a}', 'migration_collations', '{a}') is not null as started;
rollback;
drop schema mcol cascade;
