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
drop schema m18 cascade;
