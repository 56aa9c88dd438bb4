-- default settings only: what is kept of statements is counted, which other settings keep elsewhere
-- Dual write of single rows: which tables are written past the executor, and that the shadow is the same either way.
set client_min_messages = error;
\set SHOW_CONTEXT never
create role regress_msingle_writer;
create schema msingle;
grant usage on schema msingle to regress_msingle_writer;
select count(encrypt.create_key('msingle'));
select encrypt.grant_key('msingle', current_user::text::regrole, 'encrypt', 'decrypt', 'search');

-- What writes rows of one table without a statement has memory of this name.
create view msingle.writers as select count(*) as writers from pg_backend_memory_contexts where name = 'pg_encrypt row';

-- All kinds of columns: dropped, with a length, encrypted and unique, encrypted and compared as numbers, out of line.
create table msingle.person (
    gone    integer,
    region  varchar(4),
    id      integer,
    email   text unique,
    ssn     varchar(11),
    code    char(4),
    salary  numeric(10,2),
    note    varchar(20000) default 'none',
    born    date,
    primary key (id, region)
);
alter table msingle.person drop column gone;
alter table msingle.person alter note set storage external;
create index on msingle.person (born);
insert into msingle.person (region, id, email, ssn, salary, note)
select 'old', i, 'old' || i, i, i, 'old' from generate_series(1, 5) as i;
grant select, insert, update, delete on msingle.person to regress_msingle_writer;
select encrypt.start_migration('msingle.person', '{email,ssn,salary}', 'msingle', '{email}') as m \gset
create view msingle.shown as
    select region, id, email::text, ssn::varchar(11) as ssn, salary::numeric(10,2), note, code, born from msingle.person_encrypted;
create view msingle.plain as select region, id, email, ssn, salary, note, code, born from msingle.person;
-- Of all rows that were written since the migration began.
create view msingle.differences as
    select (select count(*) from (table msingle.shown except table msingle.plain) x)
         + (select count(*) from (table msingle.plain except table msingle.shown) x where region <> 'old') as differences;
-- Ciphertexts as they are stored, and where the row is.
create function msingle.stored(key integer) returns text[] language sql set pg_encrypt.reveal = off as $$
    select array[format('%s', email), format('%s', ssn), format('%s', salary), ctid::text]
    from msingle.person_encrypted where id = key
$$;

table msingle.writers;
set role regress_msingle_writer;
insert into msingle.person (region, id, email, ssn, salary, born) values ('us', 10, 'a', '1', 1.5, '1999-01-01');
insert into msingle.person (region, id, email, ssn, salary) values ('us', 11, null, '', null);
insert into msingle.person (region, id, email, ssn, salary, note) values ('us', 12, 'c', '3', 0, repeat('long', 2000));
reset role;
-- One for the shadow, one for the keys that are deleted.
table msingle.writers;
table msingle.differences;

-- What an update leaves as it was keeps its ciphertext; one that changes nothing writes nothing.
select msingle.stored(10) as before \gset
update msingle.person set salary = salary, note = 'none' where id = 10;
select msingle.stored(10) = :'before'::text[] as untouched;
update msingle.person set salary = 2, born = null where id = 10;
select (s)[1] = (b)[1] as email, (s)[2] = (b)[2] as ssn, (s)[3] = (b)[3] as salary, (s)[4] = (b)[4] as place
from msingle.stored(10) s, cast(:'before' as text[]) b;
update msingle.person set email = 'A' where id = 10;
update msingle.person set email = 'a' where id = 11;
update msingle.person set note = note || '!', ssn = null where id = 12;
update msingle.person set note = 'short', code = 'x' where id = 12;
update msingle.person set region = 'de' where id = 12;
table msingle.differences;
-- The index on the token is as good as after a statement.
set enable_seqscan = off;
select id from msingle.person_encrypted where email = 'a';
select id from msingle.person_encrypted where email = 'A';
reset enable_seqscan;
delete from msingle.person where id = 11;
table msingle.differences;
select * from msingle.person_encrypted_deleted order by id;

-- Rows that are not copied yet.
update msingle.person set salary = salary where id = 1;
update msingle.person set salary = 100 where id = 2;
delete from msingle.person where id = 3;
select id, salary::text from msingle.person_encrypted where region = 'old';
select * from msingle.person_encrypted_deleted where region = 'old';
table msingle.differences;

-- What a batch of the backfill brought back is in the way: of the key, of a value that is unique.
insert into msingle.person_encrypted (region, id, email) values ('us', 20, 'back1'), ('us', 21, 'back2'), ('us', 22, 'back3');
insert into msingle.person (region, id, email) values ('us', 20, 'new');
insert into msingle.person (region, id, email) values ('us', 23, 'back2');
update msingle.person set email = 'back3' where id = 23;
table msingle.differences;
select id, email::text from msingle.person_encrypted where id between 20 and 29 order by id;

-- Within transactions: the same row several times, what is rolled back, one snapshot.
begin;
insert into msingle.person (region, id, email) values ('us', 30, 'x');
update msingle.person set email = 'y' where id = 30;
savepoint s;
update msingle.person set email = 'z', salary = 3 where id = 30;
delete from msingle.person where id = 30;
table msingle.differences;
rollback to s;
update msingle.person set salary = 4 where id = 30;
table msingle.differences;
commit;
begin isolation level repeatable read;
update msingle.person set salary = 5 where id = 30;
update msingle.person set ssn = '5' where id = 30;
delete from msingle.person where id = 30;
insert into msingle.person (region, id, email) values ('us', 30, 'y');
table msingle.differences;
commit;
begin isolation level serializable;
update msingle.person set salary = 6 where id = 30;
commit;
table msingle.differences;

-- A trigger of the application's changes the row again, before the outer statement has told the shadow of its own change: the
-- inner one finds there what is older than its old row.
create function msingle.touch() returns trigger language plpgsql as $$
begin
    if pg_trigger_depth() = 1 then
        update msingle.person set note = 'touched' where id = new.id;
    end if;
    return null;
end
$$;
create trigger touch after insert or update on msingle.person for each row execute function msingle.touch();
update msingle.person set ssn = 'outer', salary = 7 where id = 30;
insert into msingle.person (region, id, email, ssn) values ('us', 31, 'inserted', 'first');
table msingle.differences;
select id, ssn::text, note from msingle.person_encrypted where id in (30, 31) order by id;
drop trigger touch on msingle.person;

-- The session's search path reaches nothing.
create schema msingle_writer authorization regress_msingle_writer;
set role regress_msingle_writer;
create function msingle_writer.text(bpchar) returns text language plpgsql as $$ begin raise 'reached as %', current_user; end $$;
create function msingle_writer.numeric(numeric, integer) returns numeric language plpgsql as $$ begin raise 'reached as %', current_user; end $$;
set search_path = msingle_writer, pg_catalog;
insert into msingle.person (region, id, email, ssn, salary) values ('us', 40, 'p', 'q', 1.25);
update msingle.person set ssn = 'r', salary = 2.25 where id = 40;
select current_setting('search_path'), current_user;
reset search_path;
reset role;
table msingle.differences;

-- What the shadow gets while its writer is known: an expression needs the executor, and is gone again.
create index expression on msingle.person_encrypted (lower(note));
insert into msingle.person (region, id, note) values ('us', 50, 'LOUD');
table msingle.writers;
set enable_seqscan = off;
select id from msingle.person_encrypted where lower(note) = 'loud';
reset enable_seqscan;
drop index msingle.expression;
update msingle.person set note = 'quiet' where id = 50;
table msingle.writers;
create index partial on msingle.person_encrypted (id) where born is null;
update msingle.person set note = 'loud' where id = 50;
table msingle.writers;
drop index msingle.partial;
-- Who knows better than the event triggers.
set session_replication_role = replica;
alter table msingle.person_encrypted add constraint shadow_only check (note <> 'refused');
reset session_replication_role;
update msingle.person set note = 'refused' where id = 50;
table msingle.writers;
alter table msingle.person_encrypted drop constraint shadow_only;
create function msingle.refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$;
set session_replication_role = replica;
create trigger refuse before delete on msingle.person_encrypted execute function msingle.refuse();
reset session_replication_role;
delete from msingle.person where id = 50;
drop trigger refuse on msingle.person_encrypted;
set session_replication_role = replica;
create rule refuse as on delete to msingle.person_encrypted do instead nothing;
reset session_replication_role;
delete from msingle.person where id = 50;
table msingle.differences;
drop rule refuse on msingle.person_encrypted;
delete from msingle.person_encrypted where id = 50;
table msingle.writers;
-- The owner may not do what it has taken from itself, here as there.
select rolname as owner from pg_roles where oid = (select relowner from pg_class where oid = 'msingle.person'::regclass) \gset
create role regress_msingle_owner;
grant usage, create on schema msingle to regress_msingle_owner;
alter table msingle.person owner to regress_msingle_owner;
update msingle.person set note = 'other owner' where id = 10;
set session_replication_role = replica;
revoke update on msingle.person_encrypted from regress_msingle_owner;
reset session_replication_role;
update msingle.person set note = 'revoked' where id = 10;
grant update on msingle.person_encrypted to regress_msingle_owner;
update msingle.person set note = 'granted' where id = 10;
table msingle.differences;
table msingle.writers;
-- A publication wants to know which row it is.
set client_min_messages = error;
create publication msingle for table msingle.person_encrypted;
set session_replication_role = replica;
alter table msingle.person_encrypted replica identity nothing;
reset session_replication_role;
update msingle.person set note = 'published' where id = 10;
delete from msingle.person where id = 10;
drop publication msingle;
update msingle.person set note = 'published' where id = 10;
alter table msingle.person_encrypted replica identity default;
table msingle.differences;
alter table msingle.person owner to :owner;

-- The other way round: from the encrypted table to the plaintext one, without keys that are noted.
drop view msingle.differences, msingle.shown, msingle.plain;
drop function msingle.stored;
call encrypt.backfill(:m);
call encrypt.verify(:m);
call encrypt.cutover(:m);
select shadow as plain from encrypt.migrations where migration_id = :m \gset
create view msingle.differences as
    with ours as (
        select region, id, email::text, ssn::text, salary::numeric, note, code, born from msingle.person
    ), theirs as (
        select region, id, email, ssn, salary::numeric, note, code, born from :plain
    )
    select (select count(*) from (table ours except table theirs) x)
         + (select count(*) from (table theirs except table ours) x) as differences;
\c -
set client_min_messages = error;
insert into msingle.person (region, id, email, ssn, salary) values ('us', 60, 'back', 'way', 9.99);
table msingle.writers;
update msingle.person set salary = 10 where id = 60;
update msingle.person set email = 'BACK' where id = 60;
delete from msingle.person where id = 20;
table msingle.differences;
select count(*) from :plain;
-- Equal plaintext, other ciphertext: it is encrypted anew, and decrypted anew.
update msingle.person set salary = '10' where id = 60;
table msingle.differences;
drop view msingle.differences;
call encrypt.rollback_migration(:m);

-- Tables that need the executor, and others that seem to.
create table msingle.checked (id integer primary key, ssn text, age integer check (age > 0));
create table msingle.generated (id integer primary key, ssn text, twice integer generated always as (id * 2) stored);
create table msingle.parent (id integer primary key);
create table msingle.child (id integer primary key, ssn text, parent integer references msingle.parent);
create table msingle.noted (id integer primary key, ssn text);
create domain msingle.even as integer check (value % 2 = 0);
create table msingle.limited (id integer primary key, ssn text, n msingle.even);
insert into msingle.parent values (1);
select count(encrypt.start_migration(format('msingle.%s', name)::regclass, '{ssn}', 'msingle',
    options => case name when 'noted' then '{"metadata": true}' else '{}' end::jsonb))
from unnest('{checked,generated,child,noted,limited}'::text[]) as name;
table msingle.writers;
-- A check, which may be anybody's code; a generated column; a trigger.
insert into msingle.checked values (1, 'a', 1);
update msingle.checked set ssn = 'b' where id = 1;
update msingle.checked set age = 2 where id = 1;
insert into msingle.generated values (1, 'a');
update msingle.generated set ssn = 'b' where id = 1;
insert into msingle.noted values (1, 'a');
update msingle.noted set ssn = 'b' where id = 1;
-- Nothing but the keys that are deleted.
table msingle.writers;
-- Values of a domain were checked in the table; the foreign key of the shadow is there, but its triggers are disabled.
insert into msingle.limited values (1, 'a', 2);
update msingle.limited set ssn = 'b', n = 4 where id = 1;
insert into msingle.child values (1, 'a', 1);
update msingle.child set ssn = 'b' where id = 1;
table msingle.writers;
select ssn::text, age from msingle.checked_encrypted;
select ssn::text, twice from msingle.generated_encrypted;
select ssn::text, parent from msingle.child_encrypted;
select ssn::text, migration_status from msingle.noted_encrypted;
select ssn::text, n from msingle.limited_encrypted;
delete from msingle.checked;
delete from msingle.generated;
delete from msingle.child;
delete from msingle.noted;
delete from msingle.limited;
select (select count(*) from msingle.checked_encrypted) + (select count(*) from msingle.generated_encrypted)
     + (select count(*) from msingle.child_encrypted) + (select count(*) from msingle.noted_encrypted)
     + (select count(*) from msingle.limited_encrypted) as left;

-- Indexes whose functions call others that can't be asked of them: a range type may have one of its owner's.
create table msingle.ranged (id integer primary key, ssn text, r int4range);
create index on msingle.ranged using gist (r);
select count(encrypt.start_migration('msingle.ranged', '{ssn}', 'msingle'));
table msingle.writers;
insert into msingle.ranged values (1, 'a', '[1,2)');
update msingle.ranged set ssn = 'b' where id = 1;
table msingle.writers;
select ssn::text, r from msingle.ranged_encrypted;

-- New versions of rows lie behind the end of what a backfill copies, whatever the update changed.
create table msingle.full_pages (id integer primary key, ssn text, filler text) with (autovacuum_enabled = off);
insert into msingle.full_pages select i, i, repeat('x', 500) from generate_series(1, 500) i;
select encrypt.start_migration('msingle.full_pages', '{ssn}', 'msingle') as m \gset
select encrypt.start_backfill(:m) as job \gset
select pg_relation_size('msingle.full_pages') as size \gset
do $$ begin for n in 1..100 loop update msingle.full_pages set ssn = ssn where id = n; end loop; end $$;
select pg_relation_size('msingle.full_pages') > :size as grown;
call encrypt.run_job(:job);
select count(*) from msingle.full_pages_encrypted;
call encrypt.verify(:m);

do $$
declare
    migration integer;
begin
    foreach migration in array (select array_agg(m.migration_id) from encrypt.migrations m
                                where m.table_schema = 'msingle' and m.phase not in ('rolled_back', 'finalized')) loop
        call encrypt.rollback_migration(migration);
    end loop;
end
$$;
drop schema msingle, msingle_writer cascade;
drop owned by regress_msingle_owner, regress_msingle_writer;
drop role regress_msingle_owner, regress_msingle_writer;
