-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Unique and exclusion constraints that are deferrable, on columns that are not encrypted: each statement of the application is
-- judged by the table in use alone, whether a row has to be unique at the end of its statement or at commit.
set client_min_messages = error;
\set SHOW_CONTEXT never
select count(encrypt.create_key('migration_deferrable'));
select encrypt.grant_key('migration_deferrable', current_user::text::regrole, 'encrypt', 'decrypt', 'search');

-- Two tables: one migrates, and one shows what has to become of each statement.
create schema mdef;
create schema mdef_plain;
set search_path = mdef, public;
\set make_place 'create table place (id integer primary key, email text, alone integer unique, soon integer unique deferrable, late integer unique deferrable initially deferred, span int4range, constraint place_span exclude using gist (span with &&) deferrable)'
:make_place;
set search_path = mdef_plain, public;
:make_place;
set search_path = mdef, public;
insert into mdef.place select i, 'e' || i, i, i, i, int4range(i, i + 1) from generate_series(1, 8) i;
insert into mdef_plain.place table mdef.place;

create table statements (number integer generated always as identity, statement text);
insert into statements (statement) values
    ('insert into place values (11, ''e11'', 11, 11, 11, ''[11,11]'')'),
    ('insert into place select i, ''e'' || i, i, i, i, int4range(i, i + 1) from generate_series(12, 15) i'),
    ('insert into place values (16, ''e16'', 15, 16, 16, ''[16,16]'')'),
    ('insert into place values (16, ''e16'', 16, 15, 16, ''[16,16]'')'),
    ('insert into place values (16, ''e16'', 16, 16, 15, ''[16,16]'')'),
    ('insert into place values (16, ''e16'', 16, 16, 16, ''[15,15]'')'),
    -- One row after the other would collide.
    ('update place set soon = soon + 1, late = late + 1, span = int4range(lower(span) + 1, upper(span) + 1) where id > 1'),
    ('update place set id = -id, soon = 30 - soon, email = email || ''z'' where id > 10'),
    ('update place set id = -id, email = email || ''y'' where id < 0'),
    ('update place set alone = 26 - alone where id > 10'),
    -- By its name, which is not that of the other table's constraint.
    ('set constraints place_soon_key deferred; update place set soon = 15 where id = 12; update place set soon = 99 where soon = 15 and id <> 12'),
    ('set constraints place_soon_key deferred; update place set soon = 99 where id = 15'),
    ('update place set late = 14 where id = 11; update place set late = 100 + id where id > 11'),
    ('insert into place values (11, ''x'', 1, 1, 1, ''[1,1]'') on conflict (id) do update set soon = 200, email = excluded.email'),
    ('insert into place values (70, ''x'', 12, 70, 70, ''[70,70]'') on conflict (alone) do update set email = ''upsert'''),
    ('with d as (delete from place where id = 12 returning *) insert into place select id + 100, email, alone, soon, late, span from d'),
    ('with d as (delete from place where id = 13 returning *) insert into place table d'),
    -- The new row takes what was the deleted one's.
    ('merge into place p using (values (14, ''gone''), (17, ''come'')) v (id, email) on p.id = v.id '
     'when matched then delete when not matched then insert values (v.id, v.email, 14, 17, 17, ''[17,17]'')'),
    ('insert into place select i, ''e'' || i, i, i, i, int4range(i, i + 1) from generate_series(2000, 3100) i'),
    ('update place set soon = soon + 1 where id >= 2000'),
    ('update place set alone = 1000000 - alone where id >= 2000'),
    ('delete from place where id >= 2000'),
    ('delete from place where id > 10'),
    ('update place set soon = soon - 1, late = late - 1, span = int4range(lower(span) - 1, upper(span) - 1) where id > 1');
-- A transaction each.
create procedure run(variant text) language plpgsql as $$
declare
    item record;
    outcome text;
    content text;
begin
    for item in select * from mdef.statements order by number loop
        begin
            outcome := 'done';
            execute item.statement;
            set constraints all immediate;
        exception when others then
            outcome := sqlerrm;
        end;
        commit;
        select md5(string_agg(format('%s %s %s %s %s %s', id, email::text, alone, soon, late, span), ',' order by id)) into content from place;
        insert into mdef.outcomes values (variant, item.number, outcome, content);
    end loop;
end
$$;
create table outcomes (variant text, number integer, outcome text, content text, primary key (variant, number));
set search_path = mdef_plain, public;
call mdef.run('plain');
set search_path = mdef, public;
select number, outcome from outcomes where variant = 'plain' and outcome <> 'done' order by number;
create function odd(variant text) returns table (number integer, statement text, outcome text) language sql as $$
    select s.number, s.statement, o.outcome
    from mdef.outcomes p
    join mdef.statements s using (number)
    left join mdef.outcomes o on o.number = p.number and o.variant = $1
    where p.variant = 'plain' and row(o.outcome, o.content) is distinct from row(p.outcome, p.content)
    order by 1
$$;

-- Which triggers check: those of the table in use.
create function checks() returns table (conname name, relation regclass, enabled "char") language sql as $$
    select c.conname, t.tgrelid::regclass, t.tgenabled
    from pg_trigger t join pg_constraint c on c.oid = t.tgconstraint
    where t.tgisinternal and c.connamespace = 'mdef'::regnamespace and c.contype in ('u', 'x')
    order by c.conname collate "C"
$$;

-- Before the rows are copied, with all rows there, and after cutover.
select encrypt.start_migration('place', '{email}', key => 'migration_deferrable', search => '{email}') as m \gset
select * from checks();
call run('dual_writing');
select * from odd('dual_writing');
call encrypt.backfill(:m);
call run('backfilled');
select * from odd('backfilled');
call encrypt.verify(:m);
call encrypt.cutover(:m);
select * from checks();
call run('cut_over');
select * from odd('cut_over');
call encrypt.verify(:m);
select phase, verification ->> 'passed' as passed, verification ->> 'rows' as rows from encrypt.migrations where migration_id = :m;
call encrypt.rollback_migration(:m);
select * from checks();

-- A constraint that is made while the migration is open.
select encrypt.start_migration('place', '{email}', key => 'migration_deferrable') as m \gset
alter table place add constraint place_both unique (soon, late) deferrable;
alter table place_encrypted add constraint place_both_encrypted unique (soon, late) deferrable;
select * from checks() where conname ~ 'place_both';
call run('altered');
select * from odd('altered');
call encrypt.rollback_migration(:m);

-- Of a partition alone.
create table parted (id integer primary key, email text, soon integer) partition by range (id);
create table parted_1 partition of parted (constraint parted_1_soon unique (soon) deferrable) for values from (0) to (10);
select encrypt.start_migration('parted', '{email}', key => 'migration_deferrable') as m \gset
insert into parted values (1, 'a', 1), (2, 'b', 2);
update parted set soon = 3 - soon;
insert into parted values (3, 'c', 1);
select id, email::text, soon from parted_encrypted order by 1;
call encrypt.rollback_migration(:m);

-- ON CONFLICT on the columns of a deferrable constraint is refused, so they are no key.
create table twice (id integer primary key deferrable, email text, constraint twice_again unique (id));
select encrypt.start_migration('twice', '{email}', key => 'migration_deferrable');

drop schema mdef, mdef_plain cascade;
