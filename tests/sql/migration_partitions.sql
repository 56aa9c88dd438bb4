-- default settings only: a shadow is made by DDL; the plans of catalog lookups are PostgreSQL's
-- start_migration of partitioned tables: every partition has its counterpart, with its own columns' order, indexes and
-- settings.
set client_min_messages = warning;
\getenv source PG_ABS_SRCDIR
\set snapshot :source '/include/catalog_snapshot.sql'
\set ECHO none
\i :snapshot
\set ECHO all
set client_min_messages = error;
select encrypt.create_key('migration_partitions') is not null as made;
set client_min_messages = warning;
create schema mp;
set search_path = mp;

-- Range, list below it, hash below that; a default; columns in other orders, dropped ones, own defaults, checks, indexes.
create table measured (
    day date not null, id integer not null, mail text not null, size numeric(8, 3) default 1,
    constraint measured_key primary key (day, id),
    constraint day_check check (day > '2000-01-01')
) partition by range (day);
create table measured_2020 partition of measured for values from ('2020-01-01') to ('2021-01-01') with (fillfactor = 60);
create table measured_2021 (gone integer, size numeric(8, 3) default 2, mail text not null, id integer not null, day date not null,
    constraint measured_2021_key primary key (day, id), check (day > '2000-01-01'), constraint own check (size < 50));
alter table measured_2021 rename constraint measured_2021_day_check to day_check;
alter table measured_2021 drop column gone;
create index own_index on measured_2021 (id) with (fillfactor = 66);
create index own_mail on measured_2021 (mail);
alter table measured attach partition measured_2021 for values from ('2021-01-01') to ('2022-01-01');
create table measured_rest partition of measured default partition by list (id);
create table measured_1 partition of measured_rest for values in (1, 2, null);
create table measured_other partition of measured_rest default partition by hash (id);
create table "measured hash 0" partition of measured_other for values with (modulus 2, remainder 0);
create table "measured hash 1" partition of measured_other for values with (modulus 2, remainder 1);
create index measured_mail on measured (mail, day desc);
create index measured_expression on measured ((id + 1)) where id > 0;
comment on table measured_1 is 'one and two';
comment on index measured_2021_mail_day_idx is 'attached';
create role regress_mp_reader;
grant select on measured_2020 to regress_mp_reader;
grant select (mail) on measured_other to regress_mp_reader;
alter table measured_2020 replica identity full;
create statistics measured_stats on day, id from measured_2020;

create temp table database_before as select * from snapshot.of_database();
create temp table before as select * from snapshot.of_table('measured') as line;
create temp table plain_before as select * from snapshot.of_table('measured', true) as line;
select encrypt.start_migration('measured', '{size, mail}', 'migration_partitions', '{mail}', '{"checks": "drop"}') as migration \gset
select plain, encrypted, pg_get_expr(c.relpartbound, c.oid) as bound, c.relispartition
from encrypt.migration_relations r join pg_class c on c.oid = r.encrypted where migration_id = :migration order by plain::text collate "C";
select line from before except all select * from snapshot.of_table('measured');
select line from snapshot.of_table('measured') line where line !~ '^trigger CREATE TRIGGER \S+_encrypt_' except all table before;
-- Storage of encrypted columns, and the check that would have to decrypt.
select * from (
    select line as "only of the table" from plain_before except all select * from snapshot.of_table('measured_encrypted', true)) d
where "only of the table" !~ '^column \S+(.hash..")?\.(mail|size) ' order by 1;
select * from (
    select * from snapshot.of_table('measured_encrypted', true) as "only of the counterpart" except all table plain_before) d
where "only of the counterpart" !~ '^column \S+(.hash..")?\.(mail|size) '
  and "only of the counterpart" !~ '^trigger CREATE TRIGGER .*_encrypt_' order by 1;
select count(distinct cipher_type) as types from encrypt.migration_columns where migration_id = :migration;

-- Rows go where those of the table go.
\set VERBOSITY terse
insert into measured_encrypted (day, id, mail)
values ('2020-05-05', 1, 'a'), ('2021-05-05', 1, 'b'), ('2023-05-05', 1, 'c'), ('2023-05-05', 7, 'd'), ('1999-05-05', 7, 'd');
\set VERBOSITY default
insert into measured_encrypted (day, id, mail)
values ('2020-05-05', 1, 'a'), ('2021-05-05', 1, 'b'), ('2023-05-05', 1, 'c'), ('2023-05-05', 7, 'd');
set pg_encrypt.reveal = on;
select tableoid::regclass, * from measured_encrypted order by day, id;
reset pg_encrypt.reveal;

select encrypt._remove_sync(:migration);
select encrypt._drop_shadow(:migration);
select * from snapshot.of_database() except all table database_before;
table database_before except all select * from snapshot.of_database();
update encrypt.migrations set phase = 'rolled_back', ended_at = now() where migration_id = :migration;
reset search_path;
drop schema mp cascade;
drop schema snapshot cascade;
drop role regress_mp_reader;
