-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Renames in the middle of a migration: writes of every kind go on after each of them, in both directions, and so does the migration.
set client_min_messages = error;
\set SHOW_CONTEXT never
select setval('encrypt.migrations_migration_id_seq', 7500) is not null as numbered;
create role regress_mren_owner;
create role regress_mren_writer;
create schema mren authorization regress_mren_owner;
create schema mren_other authorization regress_mren_owner;
grant usage on schema mren, mren_other to regress_mren_writer;
select count(encrypt.create_key('mren'));
select encrypt.grant_key('mren', 'regress_mren_owner', 'encrypt', 'decrypt', 'search');
select encrypt.grant_key('mren', current_user::text::regrole, 'encrypt', 'decrypt', 'search');
grant execute on function encrypt.start_migration to regress_mren_owner;
create schema mren_test;
grant usage on schema mren_test to public;

-- A dropped column, a key of two, a unique column that is encrypted and one that is not.
set role regress_mren_owner;
create table mren.person (
    gone    integer,
    region  text,
    id      integer,
    email   text unique,
    badge   integer unique,
    note    text not null default 'none',
    primary key (region, id)
);
alter table mren.person drop column gone;
grant select, insert, update, delete, truncate on mren.person to regress_mren_writer;
insert into mren.person select 'old', i, 'old' || i, i from generate_series(1, 20) i;
select encrypt.start_migration('mren.person', '{email}', 'mren', '{email}') > 0 as started;
reset role;
select migration_id as m, live::oid as plain, shadow::oid as encrypted from encrypt.migrations where live = 'mren.person'::regclass \gset

-- Statements of every kind, whatever things are called now. The table's columns, in their order.
create procedure mren_test.write(tag text) language plpgsql as $$
declare
    t regclass := (select max(live::oid) from encrypt.migrations where key_name = 'mren' and ended_at is null);
    c text[] := array(select quote_ident(attname) from pg_attribute where attrelid = t and attnum > 0 and not attisdropped
                      order by attnum);
    n integer := (select count(*) from mren_test.tags);
begin
    insert into mren_test.tags values (tag);
    execute format('insert into %s values (%L, 1, %L, %s, ''w'')', t, tag, tag || 1, n * 1000 + 1001);
    execute format('insert into %s select %L, i, %L || i, %s + i, ''w'' from generate_series(2, 12) i', t, tag, tag, n * 1000 + 1000);
    execute format('update %s set %s = ''one'', %s = %L where %s = %L and %s = 1', t, c[5], c[3], tag || 'new', c[1], tag, c[2]);
    execute format('update %s set %s = ''many'', %s = %3$s || ''!'' where %s = %L and %s < 6', t, c[5], c[3], c[1], tag, c[2]);
    execute format('update %s set %s = %2$s + 100 where %s = %L and %s > 5', t, c[4], c[1], tag, c[2]);
    execute format('update %s set %s = %2$s + 100, %s = ''moved'' where %s = %L and %s in (2, 3)', t, c[2], c[5], c[1], tag, c[2]);
    execute format('update %s set %s = 200 where %s = %L and %s = 4', t, c[2], c[1], tag, c[2]);
    execute format('delete from %s where %s = %L and %s = 5', t, c[1], tag, c[2]);
    execute format('delete from %s where %s = %L and %s between 6 and 8', t, c[1], tag, c[2]);
    execute format('insert into %s values (%L, 9, ''x'', null, ''w''), (%2$L, 20, %s, null, ''w'') on conflict (%s, %s) do update set %s = ''conflict''',
                   t, tag, quote_literal(tag || 20), c[1], c[2], c[5]);
    execute format('merge into %s t using (values (10), (30)) v (i) on t.%s = %L and t.%s = v.i'
                   ' when matched then delete when not matched then insert values (%3$L, v.i, null, null, ''w'')', t, c[1], tag, c[2]);
    execute format('update %s set %s = ''old '' || %L where %s = ''old'' and %s %% 3 = 0', t, c[5], tag, c[1], c[2]);
    execute format('update %s set %s = ''old '' || %L where %s = ''old'' and %s = 1', t, c[5], tag, c[1], c[2]);
end
$$;
create table mren_test.tags (tag text);
grant select, insert on mren_test.tags to public;
-- What the tables differ in: the rows that were written since the start, or all.
create function mren_test.differences(everything boolean default false) returns bigint language plpgsql as $$
declare
    m encrypt.migrations;
    shown text;
    found bigint;
begin
    select * into m from encrypt.migrations where key_name = 'mren' and ended_at is null;
    select string_agg(format('%I::text', attname), ', ' order by attnum) into shown
    from pg_attribute where attrelid = m.live and attnum > 0 and not attisdropped;
    execute format('with l as (select %s from %s), s as (select %1$s from %s) select'
                   ' (select count(*) from (table s except table l) x) + (select count(*) from (table l except table s) x'
                   ' where $1 or x::text !~ ''none'')', shown, m.live, m.shadow) into found using everything;
    return found;
end
$$;
create procedure mren_test.check(what text) language plpgsql as $$
declare
    said text;
begin
    set local role regress_mren_writer;
    call mren_test.write(what);
    reset role;
    select format('%s: %s differ, %s and %s, called %s', what, mren_test.differences(), live, shadow, format('%I.%I', table_schema, table_name))
    into said from encrypt.migrations where key_name = 'mren' and ended_at is null;
    perform encrypt._check_sync(migration_id) from encrypt.migrations where key_name = 'mren' and ended_at is null;
    raise info '%', said;
end
$$;
call mren_test.check('before');
set role regress_mren_owner;
alter table mren.person rename to people;
reset role;
call mren_test.check('live');
set role regress_mren_owner;
alter table mren.person_encrypted rename to "per son";
reset role;
call mren_test.check('shadow');
set role regress_mren_owner;
alter table mren.person_encrypted_deleted rename to deleted;
reset role;
call mren_test.check('tombstones');
alter table mren.people set schema mren_other;
call mren_test.check('live''s schema');
alter table mren."per son" set schema mren_other;
alter table mren.deleted set schema mren_other;
call mren_test.check('shadow''s schema');
alter schema mren_other rename to "Mren %s";
call mren_test.check('schema');
set role regress_mren_owner;
alter table "Mren %s".people rename column note to remark;
reset role;
call mren_test.check('column');
alter table "Mren %s".people rename column email to "e mail";
call mren_test.check('encrypted column');
alter table "Mren %s".people rename region to area;
call mren_test.check('column of the key');
alter type mren.person_email_enc rename to mail;
alter type mren.mail set schema "Mren %s";
call mren_test.check('type');
alter table "Mren %s".people rename constraint person_pkey to pk;
alter index "Mren %s".person_badge_key rename to badge;
call mren_test.check('index');
select key_columns from encrypt.migrations where migration_id = :m;
select column_name, value_column, cipher_type from encrypt.migration_columns where migration_id = :m;
\d "Mren %s"."per son"
\d "Mren %s".deleted
-- In a session that knows nothing yet; undone; and seen by the transaction itself.
\c -
set client_min_messages = error;
\set SHOW_CONTEXT never
alter table "Mren %s".people rename to persons;
call mren_test.check('another session');
begin;
alter table "Mren %s".persons rename to undone;
alter table "Mren %s"."per son" rename column remark to undone;
rollback;
begin;
alter table "Mren %s".persons rename to undone;
savepoint a;
alter table "Mren %s".undone rename column remark to undone;
insert into "Mren %s".undone (area, id, undone) values ('undone', 1, 'x');
rollback to a;
insert into "Mren %s".undone (area, id, remark) values ('undone', 2, 'x');
select mren_test.differences();
rollback;
call mren_test.check('rolled back');
-- Without the event triggers, the next step finds out.
alter event trigger pg_encrypt_migrations_altered disable;
alter table "Mren %s".persons rename to persona;
alter event trigger pg_encrypt_migrations_altered enable always;
select encrypt.start_backfill(:m) as job \gset
call mren_test.check('without event triggers');

-- The jobs go on.
alter schema "Mren %s" rename to mren_other;
alter table mren_other.persona rename column id to nr;
call encrypt.run_job(:job);
call mren_test.check('backfilled');
select mren_test.differences(true), phase from encrypt.migrations where migration_id = :m;
select encrypt.start_verification(:m) as job \gset
alter table mren_other.persona rename column remark to note;
alter table mren_other."per son" rename to shadow;
call encrypt.run_job(:job);
select phase, verification ->> 'passed' as passed, verification ->> 'rows' > '0' as any from encrypt.migrations where migration_id = :m;
-- A rename is no reason to compare again.
alter table mren_other.persona rename column note to remark;
alter table mren_other.persona rename to person;
-- The name is the schema's, too.
alter table mren_other.shadow set schema mren;
call encrypt.cutover(:m);
select encrypt.grant_key('mren', 'regress_mren_writer', 'encrypt', 'decrypt', 'search');
call mren_test.check('cut over');

-- The same the other way round.
alter table mren_other.person rename to people;
call mren_test.check('cut over: live');
alter table mren_other.person_plaintext rename to plain;
call mren_test.check('cut over: shadow');
alter table mren_other.people set schema mren;
call mren_test.check('cut over: live''s schema');
alter table mren_other.plain set schema mren;
call mren_test.check('cut over: shadow''s schema');
alter schema mren rename to "Mren";
call mren_test.check('cut over: schema');
alter table "Mren".people rename column remark to note;
call mren_test.check('cut over: column');
alter table "Mren".people rename column "e mail" to email;
call mren_test.check('cut over: encrypted column');
alter table "Mren".people rename column area to region;
alter table "Mren".people rename column nr to id;
call mren_test.check('cut over: columns of the key');
alter type mren_other.mail rename to email;
call mren_test.check('cut over: type');
call encrypt.verify(:m);
select verification ->> 'passed' as passed, mren_test.differences(true) from encrypt.migrations where migration_id = :m;
alter table "Mren".people rename to person;
alter schema "Mren" rename to mren;
call encrypt.rollback_migration(:m);
select table_schema, table_name, phase, live from encrypt.migrations where migration_id = :m;
select count(*), count(email) from mren.person;
\d mren.person

-- What can't be carried is refused where it is done: a column of the counterpart alone, under the name of the other.
set role regress_mren_owner;
select encrypt.start_migration('mren.person', '{email}', 'mren', '{email}') as m \gset
alter table mren.person_encrypted rename column note to remark;
alter table mren.person_encrypted rename column email to mail;
alter table mren.person_encrypted add column remark text;
alter table mren.person rename column note to remark;
alter table mren.person_encrypted drop column remark;
alter table mren.person rename column note to remark;
reset role;
call mren_test.check('again');
call encrypt.rollback_migration(:m);

-- Columns of values and tokens have names of their own; those of a view do not.
call encrypt.migrate('mren.person', '{email}', 'mren', '{email}', '{"expose": "columns", "metadata": true}');
select migration_id as m from encrypt.migrations where key_name = 'mren' and ended_at is null \gset
alter table mren.person rename column email_encrypted to "sealed";
alter table mren.person rename column email_index to token;
alter table mren.person rename column remark to note;
alter table mren.person_plaintext rename column email to mail;
select column_name, value_column, index_column from encrypt.migration_columns where migration_id = :m;
insert into mren.person (region, id, sealed, token, note)
values ('x', 1, encrypt.encrypt_column('new', 'mren', 'mren.person.email'), encrypt.blind_index('new', 'mren', 'mren.person.email', 'exact'), 'x');
update mren.person set sealed = null, token = null, note = 'y' where region = 'old' and id = 2;
select mail, note from mren.person_plaintext where note in ('x', 'y') order by note;
alter table mren.person rename column encrypted_at to at;
call encrypt.verify(:m);
call encrypt.rollback_migration(:m);
select count(*), count(mail) from mren.person;
call encrypt.migrate('mren.person', '{mail}', 'mren', '{mail}', '{"expose": "view"}');
select migration_id as m from encrypt.migrations where key_name = 'mren' and ended_at is null \gset
alter view mren.person rename column note to remark;
alter table mren.person_encrypted rename column note to remark;
alter table mren.person_plaintext rename column note to remark;
alter view mren.person rename to persons;
alter table mren.person_encrypted rename to below;
alter table mren.person_plaintext rename to plain;
alter schema mren rename to "Mren";
insert into "Mren".persons (region, id, mail, note) values ('v', 1, 'v', 'v');
update "Mren".persons set mail = 'w' where region = 'x';
delete from "Mren".persons where region = 'old' and id = 2;
select (select count(*) from (select region, id, mail, badge, note from "Mren".persons except table "Mren".plain) x) as missing,
       (select count(*) from (table "Mren".plain except select region, id, mail, badge, note from "Mren".persons) x) as orphaned;
call encrypt.rollback_migration(:m);
select count(*) from "Mren".persons;

drop schema "Mren", mren_other, mren_test cascade;
drop owned by regress_mren_owner, regress_mren_writer;
drop role regress_mren_owner, regress_mren_writer;
