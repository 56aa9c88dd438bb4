-- Encrypted types within other objects: defaults, views, rules, partitions, inheritance, arrays, composites, domains.
set client_min_messages = error;
create schema types_objects;
set search_path = types_objects;
select encrypt.create_key('types_objects') is not null as made;
select encrypt.create_type('email_enc', key => 'types_objects', searchable => true);
select encrypt.create_type('note_enc', key => 'types_objects');
reset client_min_messages;
set pg_encrypt.reveal = on;
create table t (k integer primary key, e email_enc default 'nobody', n note_enc);
insert into t (k) values (1);
insert into t values (2, 'bob', 'a note');

-- Constants in definitions are stored sealed, whatever is revealed to the one who made them.
create view bobs as select k, e, lower(e) as folded from t where e = 'bob';
select * from bobs;
create table checked (e email_enc check (e <> 'bad'), l email_enc check (length(l) <= 3));
set pg_encrypt.reveal = off;
select pg_get_viewdef('bobs') ~ '\\xe301' and pg_get_viewdef('bobs') !~ 'bob''' as sealed;
select pg_get_expr(adbin, adrelid) ~ '\\xe301' as sealed from pg_attrdef where adrelid = 't'::regclass;
select conname, pg_get_constraintdef(oid) ~ '\\xe301' as sealed from pg_constraint where conrelid = 'checked'::regclass order by 1;
set pg_encrypt.reveal = on;
insert into checked values ('good', 'abc');
\set VERBOSITY sqlstate
insert into checked values ('bad');
insert into checked values ('good', 'abcd');
\set VERBOSITY default

-- Views that write, rules, triggers.
update bobs set e = 'robert' where e = 'bob';
select * from t order by k;
create rule also as on update to t do also insert into checked values (new.e, 'r');
update t set e = 'bob' where k = 2;
select * from checked order by e;
drop rule also on t;
create function stamp() returns trigger language plpgsql as
    $$begin new.n := new.e || ' by trigger'; return new; end$$;
create trigger stamp before insert on t for each row when (new.e = 'eve') execute function stamp();
insert into t values (3, 'eve', null), (4, 'ann', 'kept') returning *;

-- Copies keep the values and the type.
create table ctas as select * from t;
create table ctas_like (like t including all);
select attname, atttypid::regtype from pg_attribute where attrelid = 'ctas'::regclass and attnum > 0 order by attnum;
create materialized view mat as select e, count(*) from t group by e;
refresh materialized view mat;
select * from mat order by e;
select into_text from (select e::text as into_text from ctas) s order by 1;

-- Generated columns may copy, not decrypt.
create table generated (e email_enc, again email_enc generated always as (e) stored);
insert into generated values ('gen');
select *, e = again as same from generated;
create table refused (e email_enc, l text generated always as (lower(e)) stored);

-- Partitions by other columns, attached and detached; inheritance.
create table parted (k integer, e email_enc, n note_enc) partition by range (k);
create table low partition of parted for values from (0) to (10);
create table high (k integer, e email_enc, n note_enc);
insert into high values (11, 'bob', 'h');
alter table parted attach partition high for values from (10) to (20);
create unique index on parted (k, e email_enc_ops);
insert into parted values (1, 'bob', 'l'), (2, 'ann', 'l'), (12, 'eve', 'h');
insert into parted values (1, 'bob', 'again') on conflict (k, e) do update set n = excluded.n;
update parted set k = k + 10 where e = 'ann' returning tableoid::regclass, k, e;
select tableoid::regclass, * from parted where e in ('bob', 'ann') order by k;
set enable_partitionwise_join = on;
select a.k from parted a join parted b using (k, e) order by 1;
reset enable_partitionwise_join;
create table parent (e email_enc);
create table heir (extra integer) inherits (parent);
insert into heir values ('child', 1);
select tableoid::regclass, e from parent where e = 'child';

-- Arrays, composites, domains, ranges of rows.
create type couple as (k integer, e email_enc);
create table nested (k integer, many email_enc[], pair couple, dom email_enc);
insert into nested values (1, '{bob,NULL,"a b"}', row(9, 'x'), 'd'), (2, array['bob', 'ann']::email_enc[], null, null);
select k, many, many[1] = 'bob', 'ann' = any (many), array_length(many, 1), (pair).e, (pair).e = 'x' from nested order by k;
select array_position(many, 'ann') from nested where many @> array['ann']::email_enc[];
select unnest(many) from nested order by 1;
create domain short as email_enc check (length(value) < 5);
create table with_domain (s short);
insert into with_domain values ('four');
\set VERBOSITY sqlstate
insert into with_domain values ('fives');
\set VERBOSITY default
select s, s = 'four', s || '!', lower(s) from with_domain where s = 'four' and s in (text 'four', 'x');
select row('a', 1)::text, row_to_json(row('b'::email_enc));

-- A column is renamed, moved, dropped and added; the table moves and is truncated.
alter table t rename e to mail;
alter table t add phone email_enc default '007';
select mail, phone from t order by k;
alter table t drop phone;
create schema types_objects_2;
alter table t set schema types_objects_2;
select mail, n from types_objects_2.t order by k;
truncate types_objects_2.t;
set client_min_messages = error;
drop schema types_objects_2 cascade;
drop schema types_objects cascade;
