-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Dual write: after every kind of statement the shadow, decrypted, is the table. Then backfill and verification.
set client_min_messages = error;
\set SHOW_CONTEXT never
create role regress_msync_owner;
create role regress_msync_writer;
create schema msync authorization regress_msync_owner;
grant usage on schema msync to regress_msync_writer;
select count(encrypt.create_key('msync'));
select encrypt.grant_key('msync', 'regress_msync_owner', 'encrypt', 'decrypt', 'search');
select encrypt.grant_key('msync', current_user::text::regrole, 'encrypt', 'decrypt', 'search');
grant execute on function encrypt.start_migration to regress_msync_owner;
set search_path = msync, public;

-- A dropped column, a generated one, identity, two unique columns of which one is encrypted, a composite key.
set role regress_msync_owner;
create table msync.person (
    gone    integer,
    region  text,
    id      integer,
    seq     integer generated always as identity,
    email   text unique,
    badge   integer unique,
    ssn     varchar(20),
    note    text default 'none',
    twice   integer generated always as (id * 2) stored,
    primary key (region, id)
);
alter table msync.person drop column gone;
insert into msync.person (region, id, email, badge, ssn)
select 'eu', i, 'u' || i || '@x', i, nullif(i, 3)::text from generate_series(1, 8) as i;
grant select, insert, update, delete, truncate on msync.person to regress_msync_writer;
select encrypt.start_migration('msync.person', '{email,ssn}', 'msync', '{email}') > 0 as started;
reset role;
select migration_id as m from encrypt.migrations where live = 'msync.person'::regclass \gset
select encrypt._check_sync(:m);

-- What differs: of all rows that were touched, and after the backfill of all rows.
create view msync.plain as select region, id, seq, email, badge, ssn::text, note, twice from msync.person;
create view msync.shown as
    select region, id, seq, email::text, badge, ssn::text, note, twice from msync.person_encrypted;
create function msync.differences(everything boolean default false) returns bigint language sql as $$
    select (select count(*) from (table msync.shown except table msync.plain) x)
         + (select count(*) from (table msync.plain except table msync.shown) x where everything or note <> 'none')
$$;
grant execute on function msync.differences to public;

-- A writer without any grant for the key.
set role regress_msync_writer;
insert into msync.person (region, id, email, badge, ssn, note) values ('us', 1, 'a', 101, '1', 'x');
insert into msync.person (region, id, email, badge, ssn, note) values ('us', 2, 'b', 102, null, 'x'), ('us', 3, null, 103, '', 'x');
insert into msync.person (region, id, email, badge, note) select 'us', i, 'm' || i, 100 + i, 'x' from generate_series(4, 20) i;
reset role;
select msync.differences(), count(*), count(*) filter (where ssn = '') as empty, count(*) filter (where ssn is null) as nulls
from msync.shown;

-- Upserts: a row that is there, one that is not, one that is not copied yet.
insert into msync.person (region, id, email, badge, note) values ('us', 1, 'a1', 201, 'y'), ('us', 30, 'c', 130, 'y'), ('eu', 1, 'e', 1, 'y')
on conflict (region, id) do update set email = excluded.email, note = excluded.note;
select msync.differences();

-- Updates: of one row, of several, of an encrypted column, of another one, without effect, of no row.
update msync.person set ssn = '99' where region = 'us' and id = 1;
update msync.person set note = 'z' where region = 'us';
update msync.person set ssn = 's' || id, email = case when id % 2 = 0 then null else 'n' || id end, note = 'n' where region = 'us' and id < 10;
update msync.person set note = note where region = 'us';
update msync.person set note = 'nobody' where id = -1;
select msync.differences();
-- A value whose plaintext stays keeps its ciphertext, a new one does not.
set pg_encrypt.reveal = off;
create table msync.before as select region, id, format('%s', email) as email, format('%s', ssn) as ssn from msync.person_encrypted;
update msync.person set note = 'other', ssn = 'new' where region = 'us';
update msync.person set note = 'one', ssn = 'one' where region = 'us' and id = 11;
select count(*), count(*) filter (where b.email = format('%s', e.email)) as same_email,
       count(*) filter (where b.ssn = format('%s', e.ssn)) as same_ssn
from msync.before b join msync.person_encrypted e using (region, id) where region = 'us' and b.email <> '';
reset pg_encrypt.reveal;

-- Keys: moved, shifted, swapped; and unique values that rows exchange or pass on.
update msync.person set id = 900, note = 'moved' where region = 'us' and id = 1;
select msync.differences();
insert into msync.person (region, id, email, badge, note) select 'shift', i, 'shift' || i, 500 + i, 'x' from generate_series(9, 1, -1) i;
update msync.person set id = id + 1, badge = badge + 1, note = 'shifted' where region = 'shift';
select msync.differences();
begin;
alter table msync.person drop constraint person_email_key, add constraint person_email_key unique (email) deferrable;
update msync.person a set email = b.email, note = 'swap' from msync.person b
where a.region = 'us' and b.region = 'us' and a.id in (8, 10) and b.id in (8, 10) and a.id <> b.id;
select msync.differences();
rollback;
select msync.differences();
merge into msync.person p using (values (4, 'taken'), (5, null), (77, 'm5')) v (id, email) on p.region = 'us' and p.id = v.id
when matched and v.email is null then delete
when matched then update set note = 'merged'
when not matched then insert (region, id, email, badge, note) values ('us', v.id, 'n5', 105, 'merged');
select msync.differences();
-- Deleted and inserted again under another key, in one statement.
with d as (delete from msync.person where region = 'us' and id = 6 returning *)
insert into msync.person (region, id, email, badge, ssn, note) select 'us', 600, email, badge, ssn, 'again' from d;
select msync.differences();
-- The same key.
with d as (delete from msync.person where region = 'us' and id = 7 returning *)
insert into msync.person (region, id, email, badge, ssn, note) select 'us', 7, email, badge, 'anew', 'again' from d;
select msync.differences();

-- Subtransactions, rollback, DO, COPY.
begin;
savepoint a;
update msync.person set ssn = 'lost', note = 'lost' where region = 'us';
delete from msync.person where id = 10;
rollback to a;
insert into msync.person (region, id, badge, note) values ('us', 1000, 2000, 'kept');
savepoint b;
update msync.person set id = 1001 where id = 1000;
release b;
commit;
do $$
begin
    for i in 1 .. 30 loop
        begin
            insert into msync.person (region, id, badge, note) values ('do', i, 3000 + i, 'do');
            update msync.person set ssn = i, note = 'did' where region = 'do' and id = i;
            if i % 3 = 0 then
                raise exception 'back';
            end if;
        exception when raise_exception then null;
        end;
    end loop;
end
$$;
copy msync.person (region, id, email, badge, ssn, note) from stdin;
copy	1	c1	5001	1	c
copy	2	c2	5002	\N	c
\.
select msync.differences(), count(*) filter (where note = 'did') as did from msync.shown;

-- Statements on thousands of rows are planned for themselves.
insert into msync.person (region, id, email, badge, ssn, note)
select 'bulk', i, 'bulk' || i, 10000 + i, i, 'b' from generate_series(1, 3000) as i;
update msync.person set note = 'c', ssn = id where region = 'bulk' and id > 100;
delete from msync.person where region = 'bulk' and id > 1500;
update msync.person set id = id + 5000, badge = badge + 5000 where region = 'bulk';
select msync.differences(), count(*) filter (where region = 'bulk') as bulk from msync.shown;

-- Triggers of the application that change what was just written, before ours fire.
create function msync.meddle() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' and new.note = 'meddle' then
        update msync.person set note = 'meddled', ssn = 'm' where region = new.region and id = new.id;
    elsif tg_op = 'INSERT' and new.note = 'vanish' then
        delete from msync.person where region = new.region and id = new.id;
    elsif tg_op = 'UPDATE' and new.note = 'later' then
        update msync.person set note = 'later still' where region = new.region and id = new.id;
    end if;
    return null;
end
$$;
create trigger a_meddle after insert or update on msync.person for each row execute function msync.meddle();
insert into msync.person (region, id, badge, note) values ('us', 2001, 7001, 'meddle');
insert into msync.person (region, id, badge, note) values ('us', 2002, 7002, 'vanish'), ('us', 2003, 7003, 'meddle'), ('us', 2004, 7004, 'x');
update msync.person set note = 'later' where region = 'us' and id = 2004;
update msync.person set note = 'later' where region = 'us' and id in (2001, 2003);
select msync.differences(), string_agg(id || ' ' || note, ', ' order by id) from msync.shown where id > 2000 and region = 'us';
drop trigger a_meddle on msync.person;

-- Rows that a function within the statement changes again, before the statement's own trigger fires.
create function msync.touch(key integer) returns void language sql as $$
    update msync.person set ssn = 'touched', note = 'touched' where region = 'touch' and id = key $$;
create function msync.replace(key integer) returns void language sql as $$
    insert into msync.person (region, id, ssn, badge, note) values ('touch', key, 'back', 4100 + key, 'back') $$;
create function msync.remove(key integer) returns void language plpgsql as $$
begin
    begin
        delete from msync.person where region = 'touch' and id = key;
        raise exception 'back' using errcode = 'P0099';
    exception when sqlstate 'P0099' then null;
    end;
    delete from msync.person where region = 'touch' and id = key and key % 2 = 0;
end $$;
insert into msync.person (region, id, badge, note) values ('touch', 1, 4001, 'x') returning msync.touch(id);
select msync.differences();
insert into msync.person (region, id, badge, note) select 'touch', i, 4000 + i, 'x' from generate_series(2, 9) i returning msync.touch(id);
update msync.person set ssn = 'own', note = 'own' where region = 'touch' and id = 1 returning msync.touch(id);
update msync.person set ssn = 'own', note = 'own' where region = 'touch' and id in (2, 3) returning msync.touch(id);
select msync.differences();
delete from msync.person where region = 'touch' and id = 4 returning msync.replace(id);
delete from msync.person where region = 'touch' and id in (5, 6) returning msync.replace(id);
update msync.person set note = 'own' where region = 'touch' and id in (7, 8, 9) returning msync.remove(id);
insert into msync.person (region, id, badge, note) select 'touch', i, 4200 + i, 'x' from generate_series(10, 11) i returning msync.remove(id);
select msync.differences(), count(*) from msync.shown where region = 'touch';
-- Many rows, which get plans of their own: new ones, one of them in the shadow already, and some that change within.
insert into msync.person (region, id, email, badge, note) select 'many', i, 'many' || i, 10000 + i, 'x' from generate_series(1, 1500) i;
insert into msync.person_encrypted (region, id, ssn) overriding system value values ('more', 3, 'stale');
insert into msync.person (region, id, email, badge, note) select 'more', i, 'more' || i, 20000 + i, 'x' from generate_series(1, 1500) i;
select msync.differences();
update msync.person set ssn = id, note = 'y' where region = 'many';
insert into msync.person (region, id, badge, note) select 'touch', i, 30000 + i, 'x' from generate_series(1000, 2500) i returning msync.touch(id) is null and id < 0 as touched \g /dev/null
select msync.differences();
delete from msync.person where region in ('many', 'more', 'touch');
select msync.differences(), count(*) from msync.shown where region in ('many', 'more', 'touch');

-- A foreign key's action changes rows of the statement again, without a trigger of its own.
create table msync.tree (id integer primary key, parent integer references msync.tree on update cascade on delete set null, secret text);
select encrypt.start_migration('msync.tree', '{secret}', 'msync') as tree \gset
insert into msync.tree values (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, 3, 'd');
update msync.tree set id = 10, secret = 'e' where id = 1;
update msync.tree set id = id + 1, secret = 'f' where id in (2, 3);
update msync.tree set parent = id, secret = 'g' where id = 3;
delete from msync.tree where id = 3;
table msync.tree order by id;
select id, parent, secret::text from msync.tree_encrypted order by id;
select encrypt._remove_sync(:tree);
select encrypt._drop_shadow(:tree);
delete from encrypt.migrations where migration_id = :tree;

-- Where statement triggers don't fire.
set session_replication_role = replica;
insert into msync.person (region, id, email, badge, note) values ('rep', 1, 'r1', 8001, 'r'), ('rep', 2, 'r2', 8002, 'r');
update msync.person set ssn = 'r' where region = 'rep';
update msync.person set id = id + 1 where region = 'rep' and id = 2;
update msync.person set id = id + 1 where region = 'rep' and id = 1;
delete from msync.person where region = 'rep' and id = 3;
reset session_replication_role;
select msync.differences(), count(*) filter (where region = 'rep') as rep from msync.shown;

-- Keys that are gone were noted, the triggers are checked, and so is who may do what.
select count(*) > 1500 as noted from msync.person_encrypted_deleted;
\set VERBOSITY terse
set session_replication_role = replica;
alter table msync.person disable trigger person_encrypt_delete;
reset session_replication_role;
select encrypt._check_sync(:m);
set session_replication_role = replica;
alter table msync.person enable always trigger person_encrypt_delete;
reset session_replication_role;
select encrypt._check_sync(:m);
alter table msync.person enable trigger person_encrypt_delete;
create table msync.foreign_table (id integer);
create trigger t after insert on msync.foreign_table referencing new table as encrypt_new for each statement
    execute function encrypt.encrypt_and_sync_row();
\set VERBOSITY sqlstate
insert into msync.foreign_table values (1);
select encrypt.encrypt_and_sync_row();
set role regress_msync_writer;
select encrypt.start_backfill(:m);
reset role;
select encrypt.start_verification(:m);
\set VERBOSITY default

-- Backfill: rows that were never written are copied; what came back is taken out; nothing newer is overwritten.
begin;
insert into msync.person (region, id, note) values ('us', 3000, 'prepared');
prepare transaction 'msync';
call encrypt.backfill(:m);
commit prepared 'msync';
insert into msync.person_encrypted (region, id, note) values ('eu', 4000, 'resurrected');
insert into msync.person_encrypted_deleted values ('eu', 4000);
select msync.differences(true);
call encrypt.backfill(:m);
select msync.differences(true);
select phase from encrypt.migrations where migration_id = :m;
call encrypt.backfill(:m);
-- Deleted keys are noted no more.
select count(*) as noted from msync.person_encrypted_deleted where region = 'us' and id = 20;
delete from msync.person where region = 'us' and id in (20, 19);
delete from msync.person where region = 'us' and id = 18;
select count(*) as noted from msync.person_encrypted_deleted where region = 'us' and id in (18, 20);
select encrypt._check_sync(:m);

-- Verification finds what differs, in each way that it can.
call encrypt.verify(:m, '{"fraction": 0.5}');
select phase, verification - '{job,rows,finished_at,wal_position}'::text[] as found from encrypt.migrations where migration_id = :m;
call encrypt.verify(:m);
select phase, verification - '{job,finished_at,wal_position}'::text[] as found, (verification ->> 'rows')::bigint = (select count(*) from msync.person) as all_rows
from encrypt.migrations where migration_id = :m;
update msync.person_encrypted set ssn = 'other' where region = 'eu' and id = 2;
update msync.person_encrypted set note = null where region = 'eu' and id = 4;
update msync.person_encrypted set email = null where region = 'eu' and id = 5;
update msync.person_encrypted set ssn = '' where region = 'eu' and id = 3;
delete from msync.person_encrypted where region = 'eu' and id = 6;
insert into msync.person_encrypted (region, id) values ('eu', -1), ('eu', -2);
call encrypt.verify(:m);
select phase, verification - '{job,rows,finished_at,wal_position}'::text[] as found, last_error from encrypt.migrations where migration_id = :m;

truncate msync.person;
select count(*) from msync.shown;

select encrypt._remove_sync(:m);
select to_regclass('msync.person_encrypted_deleted');
select count(*) from encrypt.sync_statements where migration_id = :m;
drop view msync.shown;
select encrypt._drop_shadow(:m);
delete from encrypt.migrations where migration_id = :m;
drop schema msync cascade;
revoke execute on function encrypt.start_migration from regress_msync_owner;
drop owned by regress_msync_owner, regress_msync_writer;
select encrypt.revoke_key('msync', 'regress_msync_owner', 'encrypt', 'decrypt', 'search');
drop role regress_msync_owner, regress_msync_writer;
