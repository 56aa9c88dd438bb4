-- Making and dropping encrypted types: names, keys, bases, normalizers, privileges, the registry.
set client_min_messages = error;
create schema types_create;
set search_path = types_create;
select encrypt.create_key('types_create') is not null as made;
reset client_min_messages;

-- A type is entered in the registry, with its index key if it is searchable.
select encrypt.create_type('email_enc', key => 'types_create', searchable => true);
select encrypt.create_type('types_create.note_enc', key => 'types_create');
select type_oid, base, key_name, normalizer, index_key_id is not null as searchable, created_by = current_user as mine
from encrypt.types where key_name = 'types_create' order by type_oid::text;
select typname, typtype, typcategory, typstorage, typlen, typcollation::regcollation
from pg_type where typname in ('email_enc', 'note_enc') order by 1;
select obj_description('email_enc'::regtype, 'pg_type'), obj_description('note_enc'::regtype, 'pg_type');

-- Nothing is said while it is made, and the caller's path stays what it was.
show search_path;

-- Every base, and two low-entropy ones where asked for.
select encrypt.create_type('base_' || base::text, base, key => 'types_create')
from unnest('{text,bytea,int4,int8,numeric,date,timestamptz,uuid,jsonb,bool}'::regtype[]) with ordinality as b (base, n)
where base::text !~ ' ' order by n;
select encrypt.create_type('base_timestamptz', 'timestamptz', key => 'types_create');
select encrypt.create_type('leaking_bool', 'bool', key => 'types_create', searchable => true, accept_leakage => true);
select encrypt.create_type('leaking_date', 'date', key => 'types_create', searchable => true, accept_leakage => true);
select encrypt.create_type('x', 'bool', key => 'types_create', searchable => true);
select encrypt.create_type('x', 'date', key => 'types_create', searchable => true);
select encrypt.create_type('x', 'jsonb', key => 'types_create', searchable => true, accept_leakage => true);

-- Other bases are refused: those without an exact form of their own, arrays, domains, encrypted types, pseudo-types.
create domain domain_over_text as text;
create type pair as (a integer, b integer);
do $$
declare
    base regtype;
begin
    foreach base in array '{bpchar,name,json,timetz,xml,inet,money,"char",oid,
        text[],domain_over_text,pair,email_enc,encrypt.ciphertext,record,anyelement,void,unknown}'::regtype[]
    loop
        begin
            perform encrypt.create_type('x', base, key => 'types_create');
            raise exception 'base % was taken', base;
        exception when feature_not_supported then
            null;
        end;
    end loop;
end
$$;
select encrypt.create_type('x', 'character', key => 'types_create');

-- Normalizers: for text only, by name.
select encrypt.create_type('folded_enc', key => 'types_create', searchable => true, normalizer => 'casefold');
select encrypt.create_type('digits_enc', key => 'types_create', searchable => true, normalizer => 'digits');
select encrypt.create_type('x', 'int8', key => 'types_create', searchable => true, normalizer => 'casefold');
select encrypt.create_type('x', key => 'types_create', normalizer => 'soundex');

-- Names, quoted as in SQL.
select encrypt.create_type('"Weird ""Name""; drop table t --"', key => 'types_create', searchable => true);
select encrypt.create_type('Folded_To_Lower', key => 'types_create');
select encrypt.create_type('"types_create"."In Schema"', key => 'types_create');
select encrypt.create_type(repeat('x', 40), key => 'types_create', searchable => true);
select encrypt.create_type(repeat('é', 20), key => 'types_create');
create table hostile (w "Weird ""Name""; drop table t --", x xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, i "In Schema");
create index on hostile (w "Weird ""Name""; drop table t --_ops", x xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_ops);
insert into hostile values ('one', 'two', 'three');
select count(*) from hostile where w = 'one' and x = 'two' and i = 'three';
select encrypt.create_type(repeat('x', 41), key => 'types_create');
select encrypt.create_type('a.b.c', key => 'types_create');
select encrypt.create_type('no_such_schema.x', key => 'types_create');
select encrypt.create_type('two words', key => 'types_create');
select encrypt.create_type(E'"line\nbreak"', key => 'types_create');
select encrypt.create_type('', key => 'types_create');
select encrypt.create_type('""', key => 'types_create');

-- Taken names: of types, tables, and of types of ours.
create table taken ();
select encrypt.create_type('taken', key => 'types_create');
select encrypt.create_type('email_enc', key => 'types_create');

-- Keys, and NULL for each argument.
select encrypt.create_type('x', key => 'no such key');
select encrypt.create_type(null, key => 'types_create');
select encrypt.create_type('x', null, key => 'types_create');
select encrypt.create_type('x', key => null);
select encrypt.create_type('x', key => 'types_create', searchable => null);
select encrypt.create_type('x', key => 'types_create', normalizer => null);
select encrypt.create_type('x', key => 'types_create', accept_leakage => null);

-- Whoever may make types needs the right to create in the schema. The functions run with the owner's rights; the schema is
-- looked up with the caller's path, the objects they make are not.
create role regress_types_create;
set role regress_types_create;
\set VERBOSITY sqlstate
select encrypt.create_type('types_create.x', key => 'types_create');
select encrypt.drop_type('types_create.note_enc');
reset role;
\set VERBOSITY default
grant execute on function encrypt.create_type(text, regtype, text, boolean, text, boolean, text) to regress_types_create;
set role regress_types_create;
select encrypt.create_type('types_create.x', key => 'types_create');
reset role;
grant usage, create on schema types_create to regress_types_create;
set role regress_types_create;
select encrypt.create_type('types_create.granted', key => 'types_create');
select count(*) from encrypt.types where type_oid = 'types_create.granted'::regtype;
select created_by from encrypt.types where type_oid = 'types_create.granted'::regtype;
\set VERBOSITY sqlstate
insert into encrypt.types select * from encrypt.types limit 1;
update encrypt.types set normalizer = 'email';
delete from encrypt.types;
truncate encrypt.types;
reset role;

-- What a type is can't be changed, not even by the owner of the table.
update encrypt.types set type_ref = type_ref + 1 where type_oid = 'email_enc'::regtype;
update encrypt.types set uuid = gen_random_uuid() where type_oid = 'email_enc'::regtype;
update encrypt.types set base = 'int4' where type_oid = 'email_enc'::regtype;
update encrypt.types set normalizer = 'casefold' where type_oid = 'email_enc'::regtype;
update encrypt.types set key_name = 'another' where type_oid = 'email_enc'::regtype;
update encrypt.types set index_key_id = null where type_oid = 'email_enc'::regtype;
\set VERBOSITY default
truncate encrypt.types;
set session_replication_role = replica;
truncate encrypt.types, encrypt.columns;
truncate encrypt.columns;
reset session_replication_role;

-- Renaming a type or moving it changes nothing that matters.
create schema types_create_2;
alter type email_enc rename to mail_enc;
alter type mail_enc set schema types_create_2;
create table moved (m types_create_2.mail_enc);
insert into moved values ('a@example.com');
select count(*) from moved where m::text = 'a@example.com';
select type_oid from encrypt.types where type_oid = 'types_create_2.mail_enc'::regtype;
drop table moved;
select encrypt.create_type('renamed_enc', key => 'types_create', searchable => true);
alter type renamed_enc rename to another_enc;
select encrypt.drop_type('another_enc');
alter type types_create_2.mail_enc set schema types_create;
alter type mail_enc rename to email_enc;

-- Dropping: refused while anything uses the type.
create table used (e email_enc, many note_enc[]);
select encrypt.drop_type('email_enc');
select encrypt.drop_type('note_enc');
drop table used;
create domain used as email_enc;
select encrypt.drop_type('email_enc');
drop domain used;
create type used as (e email_enc);
select encrypt.drop_type('email_enc');
drop type used;
create function used(email_enc) returns integer language sql as 'select 1';
select encrypt.drop_type('email_enc');
drop function used;
create view used as select null::email_enc as e;
select encrypt.drop_type('email_enc');
drop view used;
create function _email_enc_of_mine(email_enc) returns integer language sql as 'select 1';
select encrypt.drop_type('email_enc');
drop function _email_enc_of_mine;
select encrypt.drop_type('email_enc');
select encrypt.drop_type('types_create.hostile');
select encrypt.drop_type('text');
select encrypt.drop_type(null) is null as nothing_done;

-- Nothing is left of it, and the name is free again.
select proname from pg_proc where proname ~ '^_(email|renamed|another)_enc';
select opfname from pg_opfamily where opfname ~ '^(email|renamed|another)_enc';
select oprname from pg_operator o join pg_namespace n on n.oid = oprnamespace
where nspname = 'types_create' and oprleft::regtype::text like 'email%';
select encrypt.create_type('email_enc', 'int4', key => 'types_create');

-- DROP TYPE ... CASCADE and DROP SCHEMA ... CASCADE take the registry's rows along, DROP EXTENSION does not go that far.
set client_min_messages = error;
drop type note_enc cascade;
select count(*) from encrypt.types where key_name = 'types_create' and type_oid::text ~ 'note_enc';
select proname from pg_proc where proname ~ '^_note_enc';
select opfname from pg_opfamily where opfname ~ '^note_enc';
\set VERBOSITY sqlstate
drop extension pg_encrypt;
\set VERBOSITY default
drop schema types_create cascade;
drop schema types_create_2;
select count(*) from encrypt.types where key_name = 'types_create';
revoke execute on function encrypt.create_type(text, regtype, text, boolean, text, boolean, text) from regress_types_create;
drop role regress_types_create;
