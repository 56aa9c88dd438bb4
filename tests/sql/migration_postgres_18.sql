-- default settings only: what is made is read from catalogs
-- What tables can have from PostgreSQL 18 on: NOT NULL with names, virtual columns, constraints that are not enforced.
-- Before that there is nothing to show.
select current_setting('server_version_num')::integer < 180000 as old \gset
\if :old
\quit
\endif
set client_min_messages = error;
\set VERBOSITY terse
select encrypt.create_key('migration_postgres_18') is not null as made;
-- Numbers are in messages.
select setval('encrypt.migrations_migration_id_seq', 9000) is not null as numbered;
create schema m18;
set search_path = m18;
create function differences() returns table (relation text, constraint_name name, definition text, inherited smallint)
    language sql as $$
    with named as (
        select regexp_replace(c.relname, '_encrypted$', '') as relation, regexp_replace(k.conname, '_encrypted$', '') as name,
               pg_get_constraintdef(k.oid) as definition, k.coninhcount, c.relname ~ '_encrypted$' as made
        from pg_class c join pg_constraint k on k.conrelid = c.oid
        where c.relnamespace = 'm18'::regnamespace
    )
    (select relation, name, definition, coninhcount from named where not made
     except all select relation, name, definition, coninhcount from named where made)
    union all
    (select relation, name, definition, coninhcount from named where made
     except all select relation, name, definition, coninhcount from named where not made)
$$;

create table item (
    id      integer generated always as identity primary key,
    secret  text constraint "sec'ret is there" not null,
    amount  integer constraint amount_given not null,
    note    text,
    twice   integer generated always as (amount * 2) virtual,
    constraint alone not null note no inherit,
    constraint wish check (amount > 0) not enforced
);
insert into item (secret, amount, note) select 's' || i, i - 5, 'n' from generate_series(1, 20) as i;
select encrypt.start_migration('item', '{secret, note}', 'migration_postgres_18', '{secret}') as m \gset
select * from differences();
insert into item (secret, amount, note) values ('later', -7, 'n');
update item set amount = 100 where secret = 's3';
call encrypt.backfill(:m);
call encrypt.verify(:m);
-- A constraint that waits to be validated is not the same as one that holds.
alter table item_encrypted alter amount drop not null;
alter table item alter amount drop not null;
alter table item add constraint amount_given not null amount not valid;
alter table item_encrypted add constraint amount_given not null amount;
\set VERBOSITY default
\set SHOW_CONTEXT never
call encrypt.cutover(:m);
\set VERBOSITY terse
alter table item validate constraint amount_given;
call encrypt.cutover(:m);
select count(*), count(*) filter (where twice = amount * 2) as twice, count(*) filter (where secret = 'later') as found from item;
insert into item (secret, amount, note) values ('last', -1, 'n');
insert into item (secret, amount, note) values (null, 1, 'n');
select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'item'::regclass order by 1;
call encrypt.rollback_migration(:m);
select count(*), sum(twice) = 2 * sum(amount) as twice from item;
drop table item;

-- Partitions whose constraints have names, and whose virtual columns have expressions, of their own.
create table part (id integer generated always as identity, at date constraint dated not null, secret text,
                   label text generated always as ('p' || id) virtual, primary key (id, at)) partition by range (at);
create table part_1 partition of part for values from ('2020-01-01') to ('2021-01-01');
create table part_2 (secret text, at date constraint own not null, id integer not null,
                     label text generated always as ('q' || id) virtual);
alter table part attach partition part_2 for values from ('2021-01-01') to ('2022-01-01');
insert into part (at, secret) values ('2020-02-02', 'a'), ('2021-02-02', 'b');
select encrypt.start_migration('part', '{secret}', 'migration_postgres_18') as m \gset
select * from differences();
call encrypt.backfill(:m);
call encrypt.verify(:m);
call encrypt.cutover(:m);
insert into part (at, secret) values ('2021-03-03', 'c');
update part set at = '2020-03-03' where secret::text = 'b';
select tableoid::regclass, id, at, label, secret::text from part order by id;
select label from part_2;
select tableoid::regclass, id, at, label, secret from part_plaintext order by id;
call encrypt.finalize_migration(:m);
select conname from pg_constraint where conrelid = 'part_2'::regclass order by 1;

-- MERGE through a decrypting view (from PostgreSQL 17 on) does what it does to a table that was never migrated: one and the same
-- statement, on both.
create table client (id integer generated always as identity primary key, name text not null unique, ssn text default 'none',
                     amount integer not null default 0, twice integer generated always as (amount * 2) stored);
insert into client (name, ssn, amount) select 'n' || i, 's' || i, i from generate_series(1, 7) i;
create table twin (like client including all);
insert into twin (name, ssn, amount) select name, ssn, amount from client order by id;
create table news (name text, ssn text, amount integer, op text);
insert into news values ('n1', 'x1', 11, 'update'), ('n2', null, 12, 'delete'), ('n3', 'x3', 13, 'nothing'), ('n4', null, 14, 'update'),
                        ('new', 'x9', 19, 'insert'), ('default', 'x', 20, 'default'), ('never', 'x', 21, 'nothing');
call encrypt.migrate('client', '{name, ssn}', 'migration_postgres_18', '{name}', '{"expose": "view"}');
select migration_id as m from encrypt.migrations where exposed = 'client'::regclass \gset
-- Whatever is not the same: on the view, its twin, and the table that writes go back to.
create view unequal as
    with sides (side, id, name, ssn, amount, twice) as (
        select 'view', * from client union all select 'twin', * from twin union all select 'plain', * from client_plaintext
    )
    select string_agg(side, ', ' order by side) as only, id, name, ssn, amount, twice from sides
    group by id, name, ssn, amount, twice having count(*) <> 3;
create procedure on_both(statement text) language plpgsql as $$
declare
    relation text;
    done json;
    dones text[] := '{}';
begin
    foreach relation in array array['client', 'twin'] loop
        begin
            execute format('with m as (' || statement || ') select json_agg(m order by to_json(m)::text) from m', relation) into done;
            dones := dones || coalesce(done::text, 'no rows');
        exception when others then
            dones := dones || format('%s %s', sqlstate, sqlerrm);
        end;
    end loop;
    if dones[1] <> dones[2] then
        raise info 'not the same: %', array_to_string(dones, E'\n');
    else
        raise info '%', dones[1];
    end if;
end $$;
call on_both($$ merge into %s t using news s on t.name = s.name
    when matched and s.op = 'delete' then delete
    when matched and s.op = 'update' then update set ssn = s.ssn, amount = t.amount + s.amount
    when matched then do nothing
    when not matched and s.op = 'default' then insert (name, amount) values (s.name, s.amount)
    when not matched and s.op = 'insert' then insert values (default, s.name, s.ssn, s.amount)
    when not matched by source and t.ssn = 's6' then delete
    when not matched by source and t.name = 'n5' then update set name = t.name || '!', ssn = default
    returning merge_action() as action, s.op, old.name as old_name, old.ssn as old_ssn, t.* $$);
select * from unequal;
-- A unique value that is there; a column that takes no value; one that must have one.
call on_both($$ merge into %s t using news s on t.name = s.name when matched then update set id = 1 returning t.id $$);
call on_both($$ merge into %s t using (values ('n1', 'n3')) as s (name, other) on t.name = s.name
                when matched then update set name = s.other returning t.* $$);
call on_both($$ merge into %s t using (values ('x')) as s (name) on t.name = s.name when not matched then insert default values returning t.* $$);
-- Values pass from one row to another.
call on_both($$ merge into %s t using (values ('n1', 'n4'), ('n4', 'n1')) as s (name, other) on t.name = s.name
                when matched then update set ssn = s.other returning t.name, t.ssn $$);
select * from unequal;
-- A row that is met twice is changed once; a table is more particular.
call on_both($$ merge into %s t using (values ('n1'), ('n1')) as s (name) on t.name = s.name
                when matched then update set amount = t.amount + 1000 returning t.name, t.amount $$);
update twin set amount = amount + 1000 where name = 'n1';
select * from unequal;
-- Who may insert and not update.
create role regress_m18;
grant usage on schema m18 to regress_m18;
grant select, insert on client, client_encrypted to regress_m18;
select encrypt.grant_key('migration_postgres_18', 'regress_m18', 'encrypt', 'decrypt', 'search');
set role regress_m18;
merge into client t using (values ('r1', 'r')) as s (name, ssn) on t.name = s.name
    when not matched then insert (name, ssn) values (s.name, s.ssn) returning merge_action(), t.name, t.ssn;
merge into client t using (values ('r1', 'r')) as s (name, ssn) on t.name = s.name when matched then delete;
reset role;
delete from client where name = 'r1';
drop view unequal;
call encrypt.finalize_migration(:m);
call on_both($$ merge into %s t using news s on t.name = s.name when matched then update set ssn = 'last' || s.op
                returning merge_action() as action, t.name, t.ssn $$);
drop schema m18 cascade;
drop owned by regress_m18;
drop role regress_m18;
