-- Base types with a modifier: what is stored is what a plain column of that type would store.
set client_min_messages = error;
create schema types_modifiers;
set search_path = types_modifiers;
select encrypt.create_key('types_modifiers') is not null as made;
select encrypt.create_type('money_enc', 'numeric', 'types_modifiers', searchable => true, modifier => '10,2') as t;
select encrypt.create_type('scaled_enc', 'numeric', 'types_modifiers', modifier => ' 3 ') as t;
select encrypt.create_type('name_enc', 'varchar', 'types_modifiers', searchable => true, modifier => '5') as t;
select encrypt.create_type('short_enc', 'text', 'types_modifiers', modifier => '5') as t;
select encrypt.create_type('any_enc', 'varchar', 'types_modifiers') as t;
select encrypt.create_type('fold_enc', 'varchar', 'types_modifiers', searchable => true, normalizer => 'casefold', modifier => '5') as t;
select encrypt.create_type('at_enc', 'timestamptz', 'types_modifiers', searchable => true, modifier => '3') as t;
select encrypt.create_type('when_enc', 'timestamp', 'types_modifiers', modifier => '0') as t;
select encrypt.create_type('time_enc', 'time', 'types_modifiers', searchable => true, modifier => '1') as t;
select encrypt.create_type('span_enc', 'interval', 'types_modifiers', modifier => '2') as t;
reset client_min_messages;
set pg_encrypt.reveal = on;
set timezone = 'UTC';
set datestyle = iso;
select type_oid, base, format_type(base, base_modifier), obj_description(type_oid, 'pg_type')
from encrypt.types where type_oid::text ~ '_enc$' and key_name = 'types_modifiers' order by type_oid::text collate "C";

create table enc (
    n integer, money money_enc, scaled scaled_enc, name name_enc, short short_enc, at at_enc, w when_enc, t time_enc, span span_enc
);
create table plain (
    n integer, money numeric(10,2), scaled numeric(3), name varchar(5), short varchar(5), at timestamptz(3), w timestamp(0),
    t time(1), span interval(2)
);
-- Literals, which go through input functions; parameters; values of the base type, and of others that are assigned to it.
insert into enc values
    (1, '1.005', '-99.5', 'abcde   ', 'é日本 x', '2000-01-01 00:00:00.0005+00', '2000-01-01 00:00:00.5', '10:11:12.35', '1.005');
insert into plain values
    (1, '1.005', '-99.5', 'abcde   ', 'é日本 x', '2000-01-01 00:00:00.0005+00', '2000-01-01 00:00:00.5', '10:11:12.35', '1.005');
prepare e as insert into enc values (2, $1, $2, $3, $4, $5, $6, $7, $8);
prepare p as insert into plain values (2, $1, $2, $3, $4, $5, $6, $7, $8);
execute e ('99999999.994', '1e2', 'a    b', E'x\t', '1999-12-31 23:59:59.9996+00', 'infinity', '23:59:59.99', '-1 day 00:00:00.006');
execute e ('99999999.994', '1e2', 'a', E'x\t', '1999-12-31 23:59:59.9996+00', 'infinity', '23:59:59.99', '-1 day 00:00:00.006');
execute p ('99999999.994', '1e2', 'a', E'x\t', '1999-12-31 23:59:59.9996+00', 'infinity', '23:59:59.99', '-1 day 00:00:00.006');
insert into enc
select 3, 1.235, 7.5::real, 'a'::char(20), 'b'::text, date '2000-01-01', timestamptz '2000-01-01 00:00:00.4999+00',
    timestamp '2000-01-01 10:00:00.04', time '01:00:00.006';
insert into plain
select 3, 1.235, 7.5::real, 'a'::char(20), 'b'::text, date '2000-01-01', timestamptz '2000-01-01 00:00:00.4999+00',
    timestamp '2000-01-01 10:00:00.04', time '01:00:00.006';
copy enc from stdin;
4	12.345	12.5	abc  	\N	2001-02-03 04:05:06.7891+00	2001-02-03 04:05:06.7891	04:05:06.7891	1 mon 04:05:06.7891
\.
copy plain from stdin;
4	12.345	12.5	abc  	\N	2001-02-03 04:05:06.7891+00	2001-02-03 04:05:06.7891	04:05:06.7891	1 mon 04:05:06.7891
\.
update enc set money = 8.888::numeric, name = 'x' || repeat(' ', 9) where n = 4;
update plain set money = 8.888::numeric, name = 'x' || repeat(' ', 9) where n = 4;
select * from enc order by n;
select * from enc e join plain p using (n)
where (e.money::text, e.scaled::text, e.name::text, e.short::text, e.at::text, e.w::text, e.t::text, e.span::text)
    is distinct from (p.money::text, p.scaled::text, p.name::text, p.short::text, p.at::text, p.w::text, p.t::text, p.span::text);

-- Values that don't fit, with PostgreSQL's own messages: they name the limit and not the value.
insert into enc (name) values ('abcdef');
insert into plain (name) values ('abcdef');
insert into enc (name) values ('abcdef'::text);
insert into enc (short) values ('é日本 xy');
insert into enc (name) select 'abcdef'::varchar from generate_series(1, 1);
insert into enc (money) values ('100000000');
insert into plain (money) values ('100000000');
insert into enc (money) values (99999999.995);
insert into enc (scaled) values (1000);
copy enc (name) from stdin;
abcdef
\.

-- Tokens are those of stored values. Values that are compared with are as they are if they are of a plain type.
create unique index on enc (money money_enc_ops);
select n from enc where money = 1.01;
select n from enc where money = 1.005;
select n from enc where money = 1.0100;
select n from enc where name = 'abcdef'::text or name = 'abcde'::varchar;
select n from enc where name = any (array['abcdef', 'a']);
select n from enc where name = encrypt.search_value('much too long');
select n from enc where at = timestamptz '2000-01-01 00:00:00+00';
select n from enc where scaled = -100;
-- A literal in quotes becomes a value of the type; in a condition it stays what it is.
select n from enc where money = '1.005';
select n from enc where money = '1.01' and name = 'abcde';
select n from enc where name = 'abcdef' or name in ('abcdefgh', 'abcde') order by n;
select n from enc where name = any ('{abcdef,a}') order by n;
select e.n from enc e join enc o on e.name = o.name and o.name <> 'abcdef' and e.n <> o.n order by 1;
select count(*) filter (where name < 'abcdef') from enc having max(name) <> 'much too long';
update enc set short = 'x' where name = 'abcdef';
delete from enc where name = 'abcdef';
merge into enc using (values (1)) as v (n) on name = 'abcdef' when matched and name = 'abcdef' then delete;
-- Elsewhere it is made to fit, since it may be stored.
update enc set name = 'abcdef' where name = 'abcdef';
select name = 'abcdef' as same from enc;
with gone as (insert into enc (name) select 'abcdef' where 'a' = 'a' returning 1) select from enc where name = 'abcdef';
insert into enc (name) values ('a') on conflict do nothing returning name = 'abcdef';
prepare searched as select n from enc where name = $1;
execute searched ('abcdef');

-- Functions and operators see the base type; its modifier is gone, as after any function.
select pg_typeof(money + 0), pg_typeof(lower(name)), pg_typeof(name || 'x') from enc where n = 1;
select name || 'efgh' as longer, name::varchar(2) as cut, money::numeric(5,1) from enc where n = 1;
select min(money), max(name), sum(money::numeric) from enc;

-- Stored values are taken as they are.
set pg_encrypt.reveal = off;
create table copies as select n, money::money_enc, name from enc;
do $$
begin
    execute format('insert into types_modifiers.copies (n, money, name) values (9, %L, %L)',
                   (select money from types_modifiers.enc where n = 1), (select name from types_modifiers.enc where n = 1));
end
$$;
set pg_encrypt.reveal = on;
select * from copies where n in (1, 9) order by n;

-- What can't be.
\set VERBOSITY default
select encrypt.create_type('x', 'char', 'types_modifiers', modifier => '5');
select encrypt.create_type('x', 'character', 'types_modifiers', modifier => '5');
select encrypt.create_type('x', 'integer', 'types_modifiers', modifier => '5');
select encrypt.create_type('x', 'numeric', 'types_modifiers', modifier => '2000,2');
select encrypt.create_type('x', 'numeric', 'types_modifiers', modifier => 'wide');
select encrypt.create_type('x', 'numeric', 'types_modifiers', modifier => '');
select encrypt.create_type('x', 'varchar', 'types_modifiers', modifier => '0');
select encrypt.create_type('x', 'varchar', 'types_modifiers', modifier => '5,6');
select encrypt.create_type('x', 'interval', 'types_modifiers', searchable => true);
select encrypt.create_type('x', 'smallint', 'types_modifiers', searchable => true);
\set VERBOSITY sqlstate
update encrypt.types set base_modifier = -1 where type_oid = 'money_enc'::regtype;
set client_min_messages = error;
drop schema types_modifiers cascade;
