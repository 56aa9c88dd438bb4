-- default settings only: a shadow is made by DDL; the plans of catalog lookups are PostgreSQL's
-- start_migration: the encrypted counterpart has everything that can exist beside the table, and leaves no trace when it
-- is dropped.
set client_min_messages = warning;
\getenv source PG_ABS_SRCDIR
\set snapshot :source '/include/catalog_snapshot.sql'
\set ECHO none
\i :snapshot
\set ECHO all
create role regress_ms_owner;
create role regress_ms_reader;
create role regress_ms_auditor;
create schema ms authorization regress_ms_owner;
grant usage on schema ms to public;
set client_min_messages = error;
select encrypt.create_key('migration_start') is not null as made;
reset client_min_messages;
select encrypt.grant_key('migration_start', 'regress_ms_owner', 'encrypt', 'decrypt');
grant execute on function encrypt.start_migration(regclass, text[], text, text[], jsonb) to regress_ms_owner;

-- A table with everything.
set role regress_ms_owner;
create function ms.log() returns trigger language plpgsql as 'begin return new; end';
create table ms.place (id integer primary key);
create table ms.users (
    gone integer,
    id bigint generated always as identity (start 10 increment 5 cycle maxvalue 900) ,
    email varchar(60) not null,
    serial_no serial,
    note text collate "C" default 'none',
    amount numeric(10, 2) default 0,
    born date,
    twice integer generated always as (serial_no * 2) stored,
    tags text[] not null default '{}',
    doc jsonb default '{"a": 1}',
    happened timestamptz(3) default now(),
    place_id integer references ms.place,
    "odd ""column" text compression pglz collate "C",
    constraint users_pk primary key (id) with (fillfactor = 77),
    constraint users_email_unique unique nulls not distinct (email) include (serial_no),
    constraint users_later unique (serial_no, twice) deferrable initially deferred,
    constraint positive check (serial_no > 0) no inherit,
    constraint short check (length("odd ""column") < 100),
    constraint no_overlap exclude using gist (int4range(serial_no, serial_no + 1) with &&) where (serial_no > 5)
) with (fillfactor = 80, autovacuum_enabled = off, toast.autovacuum_enabled = off);
alter table ms.users drop column gone;
create index users_tags on ms.users using gin (tags) with (fastupdate = off);
create index users_expression on ms.users ((lower("odd ""column") collate "C") text_pattern_ops desc nulls last)
    include (doc) where serial_no > 3;
create index users_mixed on ms.users (serial_no desc nulls last, email, (serial_no + 1)) include (note) with (fillfactor = 50)
    where serial_no > 4;
create index users_hash on ms.users using hash (email);
create index users_brin on ms.users using brin (happened) with (pages_per_range = 4);
drop index ms.users_brin;
create index users_range on ms.users using brin (serial_no int4_bloom_ops (n_distinct_per_range = 99));
alter index ms.users_expression alter column 1 set statistics 40;
cluster ms.users using users_pk;
create statistics ms.users_stats (ndistinct, mcv) on serial_no, (serial_no % 7) from ms.users;
create statistics ms.users_more on (serial_no % 8) from ms.users;
alter statistics ms.users_stats set statistics 55;
comment on table ms.users is 'people';
comment on column ms.users.email is 'where letters go';
comment on column ms.users."odd ""column" is 'it''s odd';
comment on index ms.users_tags is 'for tags';
comment on constraint positive on ms.users is 'no zero';
comment on constraint users_pk on ms.users is 'who';
comment on statistics ms.users_stats is 'sevens';
alter table ms.users alter tags set storage external, alter tags set statistics 17,
    alter email set (n_distinct = 500, n_distinct_inherited = 600);
alter table ms.users replica identity using index users_email_unique;
alter table ms.users enable row level security;
create policy seen on ms.users for select to regress_ms_reader using (serial_no > 0);
create policy changed on ms.users as restrictive for update to regress_ms_reader, regress_ms_auditor
    using (email like 'a%') with check (note is not null);
comment on policy seen on ms.users is 'who sees';
grant select, insert on ms.users to regress_ms_reader with grant option;
grant update (note, tags), references ("odd ""column") on ms.users to public;
grant select (note) on ms.users to regress_ms_reader with grant option;
revoke delete on ms.users from regress_ms_owner;
grant usage on sequence ms.users_id_seq to regress_ms_reader;
comment on sequence ms.users_id_seq is 'numbers';
set role regress_ms_reader;
grant select on ms.users to regress_ms_auditor;
grant select (note) on ms.users to regress_ms_auditor with grant option;
set role regress_ms_auditor;
grant select (note) on ms.users to regress_ms_owner;
set role regress_ms_owner;
create trigger noted after update of email on ms.users for each row
    when (old.email is distinct from new.email and new.note is not null) execute function ms.log();
create view ms.seen as select id, email, upper(note) as note from ms.users;
alter default privileges in schema ms grant all on tables to regress_ms_auditor;
alter default privileges in schema ms grant all on sequences to regress_ms_auditor;
alter default privileges in schema ms revoke usage on types from public;
insert into ms.users (email, note) select 'user' || n, 'note ' || n from generate_series(1, 100) n;
analyze ms.users;
reset role;

-- Sizes in notices depend on the platform; what they say of indexes is in the test of refusals.
set client_min_messages = warning;
create temp table database_before as select * from snapshot.of_database();
create temp table before as select * from snapshot.of_table('ms.users') as line;
create temp table plain_before as select * from snapshot.of_table('ms.users', true) as line;

set role regress_ms_owner;
select encrypt.start_migration('ms.users', '{email, note, amount, born, doc, happened}', 'migration_start', '{email}',
                               '{"lock_timeout": "3 s"}') as migration \gset
reset role;

-- The table itself is as it was, apart from the triggers of dual write.
select line from before except all select * from snapshot.of_table('ms.users');
select line from snapshot.of_table('ms.users') line where line !~ '^trigger CREATE TRIGGER users_encrypt_' except all table before;

-- The counterpart differs by the storage of encrypted columns, and in what cutover brings: foreign keys, triggers, sequences of
-- columns with a default, views. A unique constraint on an encrypted column has become an index.
select substring(line from '^(?:column|constraint \S+|index CREATE UNIQUE INDEX|sequence|trigger CREATE TRIGGER|view|\w+) \S+') as "only of the table"
from (select line from plain_before except all select * from snapshot.of_table('ms.users_encrypted', true)) d order by line collate "C";
select substring(line from '^(?:column|constraint \S+|index CREATE UNIQUE INDEX|sequence|trigger CREATE TRIGGER|view|\w+) \S+') as "only of the counterpart",
       substring(line from 'default (.*) identity') as "default", substring(line from 'storage .') as storage,
       substring(line from 'constraint .*') as "constraint"
from (select line from snapshot.of_table('ms.users_encrypted', true) line except all table plain_before) d order by line collate "C";

-- What every role may do.
select r.rolname, p.privilege, c.attname
from pg_roles r
cross join unnest('{select,insert,update,references}'::text[]) as p (privilege)
join pg_attribute c on c.attrelid = 'ms.users'::regclass and c.attnum > 0 and not c.attisdropped
where has_column_privilege(r.oid, 'ms.users', c.attname, p.privilege)
      <> has_column_privilege(r.oid, 'ms.users_encrypted', c.attname, p.privilege);

-- What is registered.
select live, shadow, table_schema, table_name, phase, key_name, key_columns, options, created_by
from encrypt.migrations where migration_id = :migration;
select column_name, plain_type, cipher_type, searchable, own_type
from encrypt.migration_columns where migration_id = :migration order by 1;
select plain, encrypted from encrypt.migration_relations where migration_id = :migration;
select kind, name, case when kind <> 'statistics' then plain::regclass end as plain,
       case when kind <> 'statistics' then encrypted::regclass end as encrypted
from encrypt.migration_objects where migration_id = :migration order by kind, name;
select type_oid, format_type(base, base_modifier) as base, index_key_id is not null as searchable,
       (select typowner::regrole from pg_type where oid = type_oid) as owner
from encrypt.types where key_name = 'migration_start' order by type_oid::text collate "C";

-- A second one on the same table, or on its counterpart, has to wait.
\set VERBOSITY terse
select encrypt.start_migration('ms.users', '{email}', 'migration_start');
select encrypt.start_migration('ms.users_encrypted', '{serial_no}', 'migration_start');
\set VERBOSITY default

-- Dropped without a trace, in the table's own catalog entries and anywhere else.
select encrypt._remove_sync(:migration);
select encrypt._drop_shadow(:migration);
select * from snapshot.of_database() except all table database_before;
table database_before except all select * from snapshot.of_database();
table before except all select * from snapshot.of_table('ms.users');
select count(*) from encrypt.types where key_name = 'migration_start';
update encrypt.migrations set phase = 'rolled_back', ended_at = now() where migration_id = :migration;

-- What the owner wrote into the definition is evaluated when it is repeated: with the owner's rights.
set role regress_ms_owner;
create function ms.spy(integer) returns boolean language plpgsql immutable as $$
begin
    if current_user <> 'regress_ms_owner' then
        raise exception 'called as %', current_user;
    end if;
    return true;
end
$$;
alter table ms.users add check (ms.spy(1) or serial_no > 0), alter note set default case when ms.spy(2) then 'none' end;
create index users_spy on ms.users ((ms.spy(3)), serial_no) where ms.spy(4);
create policy spied on ms.users using (ms.spy(5));
reset role;
-- Rows that the application can write, the counterpart can hold: defaults and generated columns included.
select encrypt.start_migration('ms.users', '{note}', 'migration_start', '{}', '{"lock_timeout": "3 s"}') as migration \gset
set role regress_ms_owner;
insert into ms.users_encrypted (email) values ('x');
select note like 'n%' as note, twice = 2 * serial_no as twice, amount, place_id from ms.users_encrypted;
reset role;
-- With migrations that have not ended.
set session_replication_role = replica;
drop schema ms cascade;
drop schema snapshot cascade;
drop owned by regress_ms_owner;
drop role regress_ms_owner, regress_ms_reader, regress_ms_auditor;
