-- Rows and names on the other side of a comparison: operators that PostgreSQL finds by their families, or by the one that is not
-- ambiguous.
set client_min_messages = error;
create schema types_comparisons;
set search_path = types_comparisons;
create role regress_types_comparisons_one;
create role regress_types_comparisons_two;
select encrypt.create_key('types_comparisons') is not null as made;
select encrypt.create_type('note_enc', key => 'types_comparisons');
select encrypt.create_type('email_enc', key => 'types_comparisons', searchable => true);
select encrypt.create_type('count_enc', 'integer', 'types_comparisons');
select encrypt.create_type('when_enc', 'timestamptz', 'types_comparisons', searchable => true);
select encrypt.grant_key('types_comparisons', 'regress_types_comparisons_one', 'encrypt', 'decrypt', 'search');
select encrypt.grant_key('types_comparisons', 'regress_types_comparisons_two', 'encrypt', 'decrypt', 'search');
reset client_min_messages;
set pg_encrypt.reveal = on;
create table e (k integer, note note_enc, email email_enc, counted count_enc, at when_enc);
create table p (k integer, note text, email text, counted integer, at timestamptz);
insert into p values (1, 'a', 'a', 1, '2001-01-01'), (2, 'b', 'b', 2, '2002-01-01'), (3, 'b', 'a', null, '2003-01-01'), (4, null, 'b', 2, null);
insert into e select * from p;

-- Rows: literals, typed values, columns, parameters; sub-queries; order.
create table conditions (n serial, condition text);
insert into conditions (condition) values
    ($$(note, email) = ('b', 'a')$$),
    ($$(note, email) = (text 'b', text 'a')$$),
    ($$(note, email) <> (varchar 'b', varchar 'b')$$),
    ($$(email, note, k) = (select email, note, k from p where k = 2)$$),
    ($$(note, counted) in (select note, counted from p)$$),
    ($$(note, counted) not in (select note, counted from p where k = 1)$$),
    ($$(note, counted) in (('b', 2), ('a', 1))$$),
    ($$(note, counted) = any (select note, counted::smallint from p)$$),
    ($$(counted, note) = (bigint '2', name 'b')$$),
    ($$(bigint '2', name 'b') = (counted, note)$$),
    ($$(at, note) = (date '2001-01-01', 'a')$$),
    ($$(note, email) is distinct from (text 'b', text 'a')$$),
    ($$(note, k) > ('a', 1)$$),
    ($$(note, email, k) >= (text 'b', text 'a', 2)$$),
    ($$(counted, k) < (2, 4)$$),
    ($$note = name 'b'$$),
    ($$name 'b' <> email$$),
    ($$email = any (array['a', 'c']::name[])$$),
    ($$email in (select unnest(array['a', 'c']::name[]))$$),
    ($$note not in (select unnest(array['a', 'c']::name[]))$$),
    ($$email = character(3) 'a'$$);
create function matched(relation text, condition text) returns text language plpgsql as
$$
declare
    keys text;
begin
    execute format('select string_agg(k::text, '','' order by k) from %s where %s', relation, condition) into keys;
    return keys;
exception when others then
    return sqlerrm;
end
$$;
select condition, matched('e', condition), matched('e', condition) is not distinct from matched('p', condition) as same from conditions order by n;
prepare by_row (text, text) as select k from e where (note, email) = ($1, $2);
execute by_row('b', 'a');
prepare by_untyped as select k from e where (note, email) = ($1, $2);
execute by_untyped('b', 'a');

-- A type is made, dropped and made again with all its families.
set client_min_messages = error;
select encrypt.create_type('gone_enc', key => 'types_comparisons');
select opfname, amname from pg_opfamily f join pg_am a on a.oid = f.opfmethod where opfname ~ '^gone_enc' order by 1;
drop type gone_enc cascade;
select count(*) from pg_opfamily where opfname ~ '^gone_enc';
select encrypt.create_type('gone_enc', key => 'types_comparisons');
select encrypt.drop_type('gone_enc');
select count(*) from pg_opfamily where opfname ~ '^gone_enc';
reset client_min_messages;

-- current_user is a name.
create table owned (owner email_enc, note note_enc default current_user);
create index on owned (owner email_enc_ops);
alter table owned enable row level security;
create policy own on owned using (owner = current_user) with check (current_user = owner and owner = session_user is not null);
grant usage on schema types_comparisons to regress_types_comparisons_one, regress_types_comparisons_two;
grant select, insert on owned to regress_types_comparisons_one, regress_types_comparisons_two;
set role regress_types_comparisons_one;
insert into owned values (current_user);
insert into owned values ('regress_types_comparisons_two');
select * from owned where note = current_user;
set role regress_types_comparisons_two;
insert into owned values (current_user);
select * from owned;
reset role;
select count(*) from owned join pg_roles on owner = rolname;
set client_min_messages = error;
drop schema types_comparisons cascade;
drop owned by regress_types_comparisons_one, regress_types_comparisons_two;
drop role regress_types_comparisons_one, regress_types_comparisons_two;
