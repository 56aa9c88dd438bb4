-- default settings only: shows settings, and compiling the plans of catalog lookups takes minutes
-- Writes through a decrypting view keep their statements for the session, and notice what makes them wrong.
set client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
select setval('encrypt.migrations_migration_id_seq', 7300) is not null as numbered;
create role regress_mvs_one;
create role regress_mvs_two;
create schema mvs;
grant usage on schema mvs to public;
set client_min_messages = error;
select count(encrypt.create_key('mvs'));
set client_min_messages = warning;
select encrypt.grant_key('mvs', r, 'encrypt', 'decrypt', 'search') from unnest('{regress_mvs_one, regress_mvs_two}'::regrole[]) r;
create type mvs.mood as enum ('good', 'bad');
create function mvs.settings() returns trigger language plpgsql as $$
begin
    new.plan := concat_ws(' ', current_setting('enable_seqscan'), current_setting('search_path'), current_user);
    return new;
end $$;
create table mvs.person (id integer primary key, email text unique, mood mvs.mood default 'good', note text, plan text);
create trigger settings before insert or update on mvs.person for each row execute function mvs.settings();
grant select, insert, update, delete on mvs.person to regress_mvs_one, regress_mvs_two;
insert into mvs.person select i, 'u' || i from generate_series(1, 5) i;
call encrypt.migrate('mvs.person', '{email}', 'mvs', '{email}', '{"expose": "view"}');
select migration_id as m from encrypt.migrations where exposed = 'mvs.person'::regclass \gset

-- All that a session keeps, and twice, so that it is used. Triggers of the table have the session's settings.
create procedure mvs.write(round text) language plpgsql as $$
declare
    row record;
begin
    for n in 1 .. 2 loop
        execute format('insert into %s.person (id, email) values (100, %L) returning *', 'mvs', round) into row;
        raise info '%', row;
        execute format('update %s.person set note = %L where id = 100 returning *', 'mvs', round) into row;
        raise info '%', row;
        execute format('update %s.person set email = email || %L, mood = ''bad'' where id = 100 returning *', 'mvs', '!') into row;
        raise info '%', row;
        execute format('delete from %s.person where id = 100 returning *', 'mvs') into row;
        raise info '%', row;
    end loop;
end $$;
call mvs.write('first');
-- Another role, another path, and back.
set role regress_mvs_one;
set search_path = mvs;
call mvs.write('one');
set role regress_mvs_two;
call mvs.write('two');
reset role;
reset search_path;

-- The table gets a column, then the view. Undone, then done.
begin;
alter table mvs.person_plaintext add column more integer default 3;
alter table mvs.person_encrypted add column more integer default 3;
call mvs.write('table only');
select pg_get_viewdef('mvs.person'::regclass) as old \gset
select format('create or replace view mvs.person with (security_invoker = true) as select x.*, b.more from (%s) x join mvs.person_encrypted b using (id)',
              rtrim(:'old', ';')) as new \gset
:new;
alter view mvs.person alter column more set default 4;
insert into mvs.person (id, email) values (101, 'more') returning id, more;
update mvs.person set more = 5 where id = 101 returning id, more;
rollback;
call mvs.write('undone');

-- Names: of the table, and of the type of a column; a default.
alter table mvs.person_encrypted rename to below;
call mvs.write('renamed table');
alter table mvs.below rename to person_encrypted;
alter type mvs.mood rename to humour;
update mvs.person set note = 'other type', mood = 'bad', plan = 'x' where id = 1 returning *;
alter type mvs.humour rename to mood;
alter view mvs.person alter column note set default 'none';
call mvs.write('default');

-- Privileges: those of now, of the role and of what it is a member of.
set role regress_mvs_one;
update mvs.person set note = 'may' where id = 2 returning note;
reset role;
revoke all on mvs.person_encrypted from regress_mvs_one;
set role regress_mvs_one;
update mvs.person set note = 'may not' where id = 2;
insert into mvs.person (id) values (104);
reset role;
grant regress_mvs_two to regress_mvs_one;
set role regress_mvs_one;
update mvs.person set note = 'member' where id = 2 returning note;
reset role;
revoke regress_mvs_two from regress_mvs_one;
grant select, update (note) on mvs.person_encrypted to regress_mvs_one;
set role regress_mvs_one;
update mvs.person set note = 'column' where id = 2;
update mvs.person set mood = 'bad' where id = 2;
reset role;
-- Nothing changes, by one who may not change anything: the table says so.
revoke update (note) on mvs.person_encrypted from regress_mvs_one;
set role regress_mvs_one;
update mvs.person set mood = mood where id = 2;
reset role;

-- More sets of columns than one, after errors, and in one transaction.
begin;
savepoint s;
insert into mvs.person (id, email) values (1, 'taken');
rollback to s;
update mvs.person set note = null, mood = 'good' where id = 3 returning id, note, mood;
rollback to s;
update mvs.person set note = null, mood = 'good' where id = 3 returning id, note, mood;
commit;
select count(*) from ((select * from mvs.person except select * from mvs.person_plaintext) union all
                      (select * from mvs.person_plaintext except select * from mvs.person)) x;

-- There and back: the table is a table, then another view.
call encrypt.rollback_migration(:m);
insert into mvs.person (id, email) values (200, 'table') returning id, email;
call encrypt.migrate('mvs.person', '{email, note}', 'mvs', '{email}', '{"expose": "view"}');
select migration_id as m from encrypt.migrations where exposed = 'mvs.person'::regclass \gset
call mvs.write('again');
call encrypt.finalize_migration(:m);
call mvs.write('final');
-- Of the schema.
alter schema mvs rename to mvs2;
insert into mvs2.person (id, email) values (103, 'schema') returning *;
update mvs2.person set note = 'schema' where id = 103 returning *;
delete from mvs2.person where id = 103 returning *;
alter schema mvs2 rename to mvs;
select count(*) as sealed from mvs.person_encrypted where note_encrypted is not null;

-- For statements there is nothing to do.
create trigger wrong before insert on mvs.person for each statement execute function encrypt.write_encrypted_row();
insert into mvs.person (id) values (300);

set client_min_messages = error;
drop schema mvs cascade;
drop owned by regress_mvs_one, regress_mvs_two;
drop role regress_mvs_one, regress_mvs_two;
