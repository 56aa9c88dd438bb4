-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Somebody drops one of the two tables. That is refused; and if it could not be, as in a session that fires no triggers, the
-- other one's statements fail until the migration is ended, and that can be done.
set client_min_messages = warning;
\set SHOW_CONTEXT never
select setval('encrypt.migrations_migration_id_seq', 7080) is not null as numbered;
create role regress_md_stranger;
grant execute on procedure encrypt.rollback_migration to regress_md_stranger;
create schema md;
grant usage on schema md to public;
set search_path = md, public;
set client_min_messages = error;
select count(encrypt.create_key('migration_dropped'));
set client_min_messages = warning;
create table a (id integer primary key, secret text);
insert into a values (1, 'one'), (2, 'two');
create table b (like a including all);
create table c (like a including all);
create table d (like a including all);
create table e (id integer, secret text, primary key (id)) partition by range (id);
create table e1 partition of e for values from (0) to (100);
insert into b table a;
insert into c table a;
insert into d table a;

-- Refused, in all ways and phases; partitions may go.
select encrypt.start_migration('e', '{secret}', 'migration_dropped') as m \gset
drop table e;
drop table e_encrypted;
drop schema md cascade;
drop table e1;
drop table e1_encrypted;
create table e1_encrypted partition of e_encrypted for values from (0) to (100);
create table e1 partition of e for values from (0) to (100);
call encrypt.rollback_migration(:m);
insert into e values (1, 'one');
set client_min_messages = error;
call encrypt.migrate('e', '{secret}', 'migration_dropped');
set client_min_messages = warning;
select migration_id as m from encrypt.migrations where live = 'e'::regclass \gset
drop table e;
drop table e_plaintext;
call encrypt.finalize_migration(:m);
drop table e;

set session_replication_role = replica;
-- The table, before cutover.
select encrypt.start_migration('a', '{secret}', 'migration_dropped') as m \gset
drop table a;
call encrypt.backfill(:m);
set role regress_md_stranger;
call encrypt.rollback_migration(:m);
reset role;
call encrypt.rollback_migration(:m);
select to_regclass('a_encrypted') is null as gone;

-- Its counterpart.
select encrypt.start_migration('b', '{secret}', 'migration_dropped') as m \gset
drop table b_encrypted;
reset session_replication_role;
insert into b values (3, 'three');
call encrypt.verify(:m);
call encrypt.backfill(:m);
call encrypt.rollback_migration(:m);
insert into b values (3, 'three');
select count(*) from b;

-- The encrypted table, after cutover: the plaintext may be the last copy.
set client_min_messages = error;
call encrypt.migrate('c', '{secret}', 'migration_dropped');
set client_min_messages = warning;
select migration_id as m from encrypt.migrations where live = 'c'::regclass \gset
set session_replication_role = replica;
drop table c;
reset session_replication_role;
call encrypt.rollback_migration(:m);
call encrypt.finalize_migration(:m);
select * from c_plaintext order by id;

-- The plaintext one.
set client_min_messages = error;
call encrypt.migrate('d', '{secret}', 'migration_dropped');
set client_min_messages = warning;
select migration_id as m from encrypt.migrations where live = 'd'::regclass \gset
set session_replication_role = replica;
drop table d_plaintext;
reset session_replication_role;
insert into d values (3, 'three');
call encrypt.rollback_migration(:m);
call encrypt.finalize_migration(:m);
insert into d values (3, 'three');
select count(*) from d;
select migration_id, phase from encrypt.migrations where migration_id > 7080 order by 1;

set client_min_messages = error;
drop schema md cascade;
drop owned by regress_md_stranger;
drop role regress_md_stranger;
