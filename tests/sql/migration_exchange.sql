-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- An exchange of tables is decided before anybody waits, with the names that there will be. Afterwards it has to be what would be
-- decided then.
set client_min_messages = error;
\set SHOW_CONTEXT never
select setval('encrypt.migrations_migration_id_seq', 7090) is not null as numbered;
create schema "mex %s";
create schema mex_other;
set search_path = "mex %s";
select encrypt.create_key('migration_exchange') is not null as made;
set pg_encrypt.reveal = on;

create function differences(migration integer) returns setof text language sql as
$$
    (select format('statements of %s, %s, %s', (d.s).relation, (d.s).event, (d.s).level)
     from ((select s from encrypt.sync_statements s where s.migration_id = migration
            except all select s from encrypt._sync_statements(migration) s)
           union all
           (select s from encrypt._sync_statements(migration) s
            except all select s from encrypt.sync_statements s where s.migration_id = migration)) as d (s))
    union all
    select format('trigger %s of %s', t.tgname, t.tgrelid::regclass)
    from encrypt._migration_pairs(migration) p
    join pg_trigger t on t.tgrelid in (p.live, p.shadow) and t.tgname ~ '_encrypt_'
    where (t.tgenabled = 'D') <> (t.tgrelid = p.shadow)
    union all
    select format('%s triggers of %s', count(t.oid), c.oid::regclass)
    from encrypt._migration_pairs(migration) p
    join pg_class c on c.oid in (p.live, p.shadow)
    left join pg_trigger t on t.tgrelid = c.oid and t.tgname ~ '_encrypt_'
    group by c.oid, c.relkind having count(t.oid) <> case c.relkind when 'r' then 5 else 4 end
$$;

-- Names that are cut off, and equal then; partitions of partitions, columns with sequences, a name that needs quotes.
create table "Customers of the company since the beginning of the year, by i" (
    id    integer generated always as identity,
    email text,
    note  text default 'none',
    primary key (id)
) partition by range (id);
create table "Customers of the company since the beginning of the year, part 1"
    partition of "Customers of the company since the beginning of the year, by i" for values from (1) to (100);
create table "Customers of the company since the beginning of the year, part" partition of
    "Customers of the company since the beginning of the year, by i" for values from (100) to (200) partition by list (id);
create table "Customers of the company since the beginning of the year, other"
    partition of "Customers of the company since the beginning of the year, part" default;
create index on "Customers of the company since the beginning of the year, by i" (email);
create unique index "Customers of the company since the beginning of the year, uniq"
    on "Customers of the company since the beginning of the year, by i" (email, id);
alter table "Customers of the company since the beginning of the year, by i" rename to customers;
insert into customers (email) select 'c' || i from generate_series(1, 150) i;

create table columns (id integer primary key, email text unique, note text);
create statistics "columns %s" on id, note from columns;
create publication regress_migration_exchange for table columns;
insert into columns select i, 'c' || i from generate_series(1, 10) i;
create table view (id integer primary key, email text unique, note text);
insert into view select i, 'c' || i from generate_series(1, 10) i;

create procedure there_and_back(target regclass, expose text) language plpgsql as
$$
declare
    m integer := encrypt.start_migration(target, '{email}', 'migration_exchange', '{email}', jsonb_build_object('expose', expose));
    table_name name := (select relname from pg_class where oid = target);
    wrong text;
begin
    commit;
    call encrypt.backfill(m);
    call encrypt.verify(m);
    -- The schema of one of them is another by now.
    if expose = 'type' then
        execute format('alter table %s set schema mex_other', (select shadow from encrypt.migrations where migration_id = m));
        commit;
    end if;
    for wrong in select 'before: ' || d from differences(m) d loop raise warning '%', wrong; end loop;
    call encrypt.cutover(m);
    for wrong in select 'cut over: ' || d from differences(m) d loop raise warning '%', wrong; end loop;
    execute format('update %I set note = $1 where id in (3, 150)', table_name) using expose;
    if expose <> 'columns' then
        execute format('update %I set email = email || $1 where id in (3, 150)', table_name) using '!';
    end if;
    execute format('delete from %I where id = 5', table_name);
    commit;
    -- A transaction of the way back: the tables are exchanged, and the migration goes on.
    while (select phase = 'cut_over' from encrypt.migrations where migration_id = m) loop
        perform encrypt._roll_back(m, '1 s');
        commit;
    end loop;
    for wrong in select 'rolled back: ' || d from differences(m) d loop raise warning '%', wrong; end loop;
    execute format('update %I set note = $1 where id = 4', table_name) using 'back';
    commit;
    call encrypt.cutover(m);
    for wrong in select 'again: ' || d from differences(m) d loop raise warning '%', wrong; end loop;
    execute format('delete from %I where id = 6', table_name);
    commit;
end
$$;
set client_min_messages = warning;
call there_and_back('customers', 'type');
call there_and_back('columns', 'columns');
call there_and_back('view', 'view');
select migration_id, phase from encrypt.migrations where migration_id between 7091 and 7093 order by 1;
select id, email, note from customers where id in (3, 4, 5, 6, 150) order by id;
select id, encrypt.decrypt_column(email_encrypted, 'mex %s.columns.email') as email, note from columns where id in (3, 4, 5, 6) order by id;
select id, email, note from view where id in (3, 4, 5, 6) order by id;
select c.relname, c.relkind from pg_class c where c.relnamespace = '"mex %s"'::regnamespace and c.relkind in ('r', 'p', 'v')
order by c.relname collate "C";
select stxname, stxrelid::regclass from pg_statistic_ext where stxnamespace = '"mex %s"'::regnamespace order by 1;

-- The disabled triggers of the counterpart stay as they are.
alter table customers_plaintext enable trigger all;
drop trigger customers_encrypt_insert on customers_plaintext;
alter table customers_plaintext disable trigger all;
select * from differences(7091);
insert into customers (email) values ('late');
select count(*) from customers_plaintext where email = 'late';

call encrypt.rollback_migration(7091);
call encrypt.finalize_migration(7092);
call encrypt.rollback_migration(7093);
select id, email, note from customers where id in (3, 4, 5, 6, 150) or email = 'late' order by id;
select id, email, note from view where id in (3, 4, 5, 6) order by id;
select place, detail from encrypt.leftover_plaintext('columns') where place ~ '^subscribers';

-- Views that can't be made again over the other table's columns are named, before cutover and before a rollback.
create table counted (id integer primary key, n integer, email text);
create view summed as select coalesce(c.n, 0) as n from counted c cross join counted d;
set client_min_messages = warning;
select encrypt.start_migration('counted', '{n, email}', 'migration_exchange', '{email}') as m \gset
set client_min_messages = error;
call encrypt.backfill(:m);
call encrypt.verify(:m);
\set VERBOSITY default
call encrypt.cutover(:m);
drop view summed;
call encrypt.cutover(:m);
create view summed as select c.n::integer as n from counted c cross join counted d where c.email = any (array['x', 'y']);
call encrypt.rollback_migration(:m);
drop view summed;
call encrypt.rollback_migration(:m);
select phase from encrypt.migrations where migration_id = :m;

-- Nothing of dual write is left.
select tgrelid::regclass, tgname from pg_trigger where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace = '"mex %s"'::regnamespace);
drop publication regress_migration_exchange;
drop schema "mex %s" cascade;
drop schema mex_other cascade;
