-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Exposure view: after cutover a view has the table's name and columns, and triggers that encrypt. With metadata per row.
set client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
select setval('encrypt.migrations_migration_id_seq', 7200) is not null as numbered;
create role regress_mev_owner;
create role regress_mev_app;
create role regress_mev_writer;
create role regress_mev_blind;
create schema mev authorization regress_mev_owner;
grant usage on schema mev to public;
set client_min_messages = error;
select count(encrypt.create_key('mev'));
set client_min_messages = warning;
select encrypt.grant_key('mev', 'regress_mev_owner', 'encrypt', 'decrypt', 'search');
select encrypt.grant_key('mev', 'regress_mev_app', 'encrypt', 'decrypt', 'search');
select encrypt.grant_key('mev', 'regress_mev_writer', 'encrypt', 'search');
grant execute on function encrypt.start_migration to regress_mev_owner;
set search_path = mev, public;

set role regress_mev_owner;
create table mev.team (id integer primary key);
insert into mev.team values (1), (2);
create table mev.person (
    id     bigint generated always as identity primary key,
    email  varchar(40) unique not null,
    ssn    text default 'unknown',
    "n %s" integer default 1,
    nr     serial,
    note   text default 'none',
    twice  integer generated always as (nr * 2) stored,
    team   integer references mev.team on delete cascade
);
create table mev.letter (person bigint references mev.person on delete cascade, body text);
create view mev.emails as select id, email from mev.person;
create table mev.log (what text);
create function mev.stamp() returns trigger language plpgsql as $$
begin
    if new.note = 'skip' then
        return null;
    end if;
    new.note := upper(new.note);
    return new;
end $$;
create function mev.logged() returns trigger language plpgsql as $$
begin
    insert into mev.log values (format('%s %s by %s', tg_op, tg_table_name, current_user));
    return null;
end $$;
create trigger stamp before insert or update of note on mev.person for each row execute function mev.stamp();
create trigger logged after insert or update or delete on mev.person for each row execute function mev.logged();
grant insert on mev.log to public;
grant select, insert, update, delete on mev.person to regress_mev_app, regress_mev_blind;
grant insert (email, ssn), select (note), update (note) on mev.person to regress_mev_writer;
grant usage on sequence mev.person_nr_seq to regress_mev_app, regress_mev_writer;
grant select on mev.emails to regress_mev_app;
comment on table mev.person is 'people';
comment on column mev.person.ssn is 'secret';
insert into mev.person (email, ssn, team) select 'u' || i || '@x', nullif(i, 3)::text, 1 + i % 2 from generate_series(1, 10) i;
insert into mev.letter select i, 'letter ' || i from generate_series(1, 10) i;
delete from mev.log;

-- A role that may read single columns can't read a view that reads all; one that may insert some can't insert a default.
\set VERBOSITY default
select encrypt.start_migration('mev.person', '{email, ssn, "n %s"}', 'mev', '{email}', '{"expose": "view"}');
\set VERBOSITY terse
revoke select (note) on mev.person from regress_mev_writer;
grant insert ("n %s") on mev.person to regress_mev_writer;
reset role;
set client_min_messages = notice;
set role regress_mev_owner;
\set VERBOSITY default
select encrypt.start_migration('mev.person', '{email, ssn, "n %s"}', 'mev', '{email}', '{"expose": "view", "metadata": true}') as m \gset
\set VERBOSITY terse
reset role;
set client_min_messages = warning;
\d mev.person_encrypted
insert into mev.person (email) values ('dual@x');
call encrypt.backfill(:m);
select migration_status, count(*), count(distinct encryption_key_id), min(encryption_algorithm) from mev.person_encrypted group by 1 order by 1;
insert into mev.person (email) values ('later@x');
update mev.person set ssn = 'new' where id = 1;
update mev.person set note = 'new' where id = 2;
select id, migration_status from mev.person_encrypted where id in (1, 2, 3, 11, 12) order by 1;
call encrypt.verify(:m);
select migration_status, count(*) from mev.person_encrypted group by 1 order by 1;
select verification ->> 'rows' as rows, verification ->> 'mismatched' as mismatched, phase from encrypt.migrations where migration_id = :m;
update mev.person set ssn = 'newer' where id = 1;
update mev.person set note = 'newer' where id = 2;
select id, migration_status from mev.person_encrypted where id in (1, 2) order by 1;
-- What differs is not verified.
update mev.person_encrypted set ssn_encrypted = encrypt.encrypt_column('forged', 'mev', 'mev.person.ssn') where id = 4;
call encrypt.verify(:m);
select id, migration_status from mev.person_encrypted where id in (1, 4) order by 1;
update mev.person set ssn = '4' where id = 4;
call encrypt.verify(:m);

-- Rollback before cutover leaves nothing; then again.
call encrypt.rollback_migration(:m);
select relname from pg_class where relnamespace = 'mev'::regnamespace and relkind in ('r', 'v') order by 1;
create temp table expected as select * from mev.person;
call encrypt.migrate('mev.person', '{email, ssn, "n %s"}', 'mev', '{email}', '{"expose": "view", "metadata": true}');
select migration_id as m from encrypt.migrations where exposed = 'mev.person'::regclass \gset
select count(*) from ((select * from expected except select * from mev.person) union all (select * from mev.person except select * from expected)) x;
\d mev.person
\d mev.person_encrypted
select relname, relkind, replace(relacl::text, 'xtm', 'xt') as acl, obj_description(oid, 'pg_class') as comment, relowner::regrole from pg_class
where relname in ('person', 'person_encrypted', 'person_plaintext') and relnamespace = 'mev'::regnamespace order by 1;
select attrelid::regclass, attname, attacl, col_description(attrelid, attnum) as comment from pg_attribute
where attrelid in ('mev.person'::regclass, 'mev.person_encrypted'::regclass) and attnum > 0
and (attacl is not null or col_description(attrelid, attnum) is not null) order by attrelid::regclass::text, attnum;
delete from mev.log;

-- The application's statements.
set role regress_mev_app;
insert into mev.person (email) values ('a@x') returning *;
insert into mev.person values (default, 'b@x', null, null, 77, null, default, 2) returning *;
insert into mev.person (email, note) values ('c@x', 'skip') returning *;
insert into mev.person (id, email) values (5, 'd@x');
insert into mev.person (email, twice) values ('e@x', 5);
insert into mev.person (email) values ('a@x');
insert into mev.person (email) values (repeat('x', 41));
insert into mev.person (email) values (null);
insert into mev.person (email, team) values ('f@x', 99);
insert into mev.person (email) select 'many' || i || '@x' from generate_series(1, 3) i returning email, ssn, "n %s", note, twice = nr * 2 as twice;
copy mev.person (email, ssn) from stdin;
copied@x	\N
copied2@x	s
\.
update mev.person set ssn = ssn || '!', note = 'changed' where email = 'u2@x' returning id, email, ssn, note;
update mev.person set "n %s" = "n %s" + 1 where id <= 3 returning id, "n %s";
update mev.person p set "n %s" = g from generate_series(5, 7) g where p.id = 4 returning p.id;
select "n %s" in (5, 6, 7) as one from mev.person where id = 4;
update mev.person set email = email where id = 5 returning note;
update mev.person set note = 'skip' where id = 6 returning id;
update mev.person set id = 100 where id = 6;
update mev.person set twice = default, ssn = default where id = 8 returning ssn, twice = nr * 2 as twice;
update mev.person set twice = default where id = 8 returning twice = nr * 2 as twice;
update mev.person set twice = 5 where id = 8;
update mev.person set email = 'u7@x' where id = 6;
update mev.person set ssn = null where id = 7 returning ssn;
delete from mev.person where email like 'many%' returning email;
begin;
savepoint s;
update mev.person set "n %s" = 50 where id = 8;
update mev.person set "n %s" = "n %s" + 1 where id = 8;
delete from mev.person where id = 8 returning "n %s";
rollback to s;
select "n %s" from mev.person where id = 8 for update;
commit;
select count(*) from mev.emails;
insert into mev.person (email) values ('g@x') on conflict (email) do nothing;
truncate mev.person;
copy mev.person to stdout;
reset role;
select what, count(*) from mev.log group by 1 order by 1;
select count(*) from mev.person_encrypted where email_index <> encrypt.blind_index(encrypt.decrypt_column(email_encrypted, 'mev.person.email'),
                                                                                   'mev', 'mev.person.email', 'exact');
select count(*) from ((select * from mev.person_plaintext except select * from mev.person)
                      union all (select * from mev.person except select * from mev.person_plaintext)) x;
delete from mev.team where id = 2;
select count(*), (select count(*) from mev.letter) as letters, (select count(*) from mev.person_plaintext) as plain from mev.person;
select migration_status, count(*) from mev.person_encrypted group by 1 order by 1;

-- A role that writes single columns; one without the key.
set role regress_mev_writer;
insert into mev.person (email, ssn) values ('w@x', 's');
insert into mev.person (email, note) values ('w2@x', 's');
insert into mev.person (email) values ('w3@x') returning id;
update mev.person set note = 'w';
reset role;
select email, ssn, "n %s", note from mev.person where email like 'w%';
set role regress_mev_blind;
select id, note, nr from mev.person where id = 2;
select email from mev.person where id = 2;
select email_encrypted is not null as sealed from mev.person_encrypted where id = 2;
insert into mev.person (email, nr) values ('z@x', 1);
update mev.person set note = 'z' where id = 2;
delete from mev.person where id = 2;
reset role;

-- Row-level security of the table holds for the view.
alter table mev.person_encrypted enable row level security;
create policy odd on mev.person_encrypted to regress_mev_app using (id % 2 = 1);
set role regress_mev_app;
select count(*) filter (where id % 2 = 0) as even, count(*) > 0 as odd from mev.person;
update mev.person set note = 'p' where id = 4 returning id;
reset role;

-- Rotation, re-encryption and counts find the values below the view.
select count(encrypt.rotate_key('mev'));
select encrypt.start_reencryption('mev') as job \gset
set client_min_messages = error;
call encrypt.run_job(:job);
set client_min_messages = warning;
select k.version, k."column", k."values" = (select count(*) from mev.person) as of_all, k.relation from encrypt.key_usage('mev') k
where k.purpose = 'column' order by k.version, k."column";
select count(distinct encryption_key_id) as keys from mev.person_encrypted;
call encrypt.verify(:m);
select verification ->> 'mismatched' as mismatched, phase from encrypt.migrations where migration_id = :m;

-- The way back: what was granted meanwhile stays, and what was written.
grant select on mev.person to regress_mev_writer;
comment on view mev.person is 'humans';
alter view mev.person rename to people;
create temp table shown as select * from mev.people;
drop policy odd on mev.person_encrypted;
alter table mev.person_encrypted disable row level security;
call encrypt.rollback_migration(:m);
\d mev.people
select relname, relkind, replace(relacl::text, 'xtm', 'xt') as acl, obj_description(oid, 'pg_class') as comment from pg_class
where relnamespace = 'mev'::regnamespace and relkind in ('r', 'v') order by 1;
select count(*) from ((select * from shown except select * from mev.people) union all (select * from mev.people except select * from shown)) x;
select count(*) from mev.emails;
insert into mev.people (email) values ('back@x') returning id > 12 as id_goes_on;
alter table mev.people rename to person;

-- To the end: the trigger goes on to work when the migration is over. A table with partitions and a key of two columns.
create table mev.parted (region text, id integer, secret text, n integer default 7, primary key (region, id)) partition by list (region);
create table mev.parted_eu partition of mev.parted for values in ('eu');
create table mev.parted_us partition of mev.parted for values in ('us');
insert into mev.parted select r, i, 's' || i from unnest('{eu,us}'::text[]) r, generate_series(1, 5) i;
call encrypt.migrate('mev.parted', '{secret}', 'mev', '{secret}', '{"expose": "view", "metadata": true}');
select migration_id as m from encrypt.migrations where exposed = 'mev.parted'::regclass \gset
insert into mev.parted (region, id, secret) values ('eu', 10, 'ten') returning *;
update mev.parted set region = 'us', secret = 'moved' where id = 10 returning *;
update mev.parted set id = id + 100 where region = 'eu';
delete from mev.parted where id = 101;
select count(*) from ((select * from mev.parted_plaintext except select * from mev.parted)
                      union all (select * from mev.parted except select * from mev.parted_plaintext)) x;
select relation::regclass from (select inhrelid from pg_inherits where inhparent = 'mev.parted_encrypted'::regclass) as i (relation) order by 1;
call encrypt.finalize_migration(:m);
update mev.parted set secret = 'final' where id = 10 returning *;
insert into mev.parted (region, id) values ('us', 11) returning *;
select migration_status, count(*) from mev.parted_encrypted group by 1 order by 1;
-- A violated constraint is named, as by the table: applications tell one from another by that.
create function pg_temp.violation(statement text) returns text language plpgsql as $$
declare
    a text; b text; c text; d text; detail text;
begin
    execute statement;
    return 'ok';
exception when integrity_constraint_violation then
    get stacked diagnostics a = schema_name, b = table_name, c = column_name, d = constraint_name, detail = pg_exception_detail;
    return concat_ws(' | ', sqlstate, a, b, c, d, left(detail, 11));
end $$;
select pg_temp.violation($$insert into mev.parted (region, id) values ('us', 11)$$);
select pg_temp.violation($$update mev.parted set id = null where id = 11$$);
alter table mev.parted_encrypted add constraint few check (n < 100);
alter table mev.parted_us add constraint known foreign key (n) references mev.team not valid;
select pg_temp.violation($$update mev.parted set n = 100 where id = 11$$);
-- One that was caught on the way is not named in the next.
create function mev.meddle() returns trigger language plpgsql as $$
begin
    begin
        insert into mev.team values (1), (1);
    exception when unique_violation then null;
    end;
    return new;
end $$;
create trigger meddle before update on mev.parted_encrypted for each row execute function mev.meddle();
select pg_temp.violation($$update mev.parted set n = 99 where id = 11$$);
select pg_temp.violation($$update mev.parted set n = 1 where id = 11$$);
select place from encrypt.leftover_plaintext('mev.parted') where place ~ 'parted';
-- A view that is no migration's.
create view mev.other as select 1 as id;
create trigger wrong instead of insert on mev.other for each row execute function encrypt.write_encrypted_row();
insert into mev.other values (1);

-- Metadata beside an encrypted type.
create table mev.typed (id integer primary key, secret text);
insert into mev.typed select i, nullif(i, 2)::text from generate_series(1, 3) i;
call encrypt.migrate('mev.typed', '{secret}', 'mev', '{}', '{"metadata": true}');
set pg_encrypt.reveal = on;
insert into mev.typed (id, secret) values (4, 'four');
update mev.typed set secret = 'one' where id = 1;
select id, secret, encryption_key_id = (select key_id from encrypt.keys where name = 'mev' and purpose = 'column' and state = 'active') as active,
       encryption_algorithm, encrypted_at is not null as at, migration_status from mev.typed order by 1;
select * from mev.typed_plaintext order by 1;
update mev.typed set migration_status = 'wrong';
select migration_id as m from encrypt.migrations where live = 'mev.typed'::regclass \gset
call encrypt.rollback_migration(:m);
select * from mev.typed order by 1;

set client_min_messages = error;
drop schema mev cascade;
drop owned by regress_mev_owner, regress_mev_app, regress_mev_writer, regress_mev_blind;
drop role regress_mev_owner, regress_mev_app, regress_mev_writer, regress_mev_blind;
