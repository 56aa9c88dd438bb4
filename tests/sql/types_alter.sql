-- Encrypting a small table in place with ALTER TABLE, and back.
set client_min_messages = error;
create schema types_alter;
set search_path = types_alter;
select encrypt.create_key('types_alter') is not null as made;
select encrypt.create_type('email_enc', key => 'types_alter', searchable => true);
select encrypt.create_type('number_enc', 'int8', key => 'types_alter', searchable => true);
select encrypt.create_type('next_enc', key => 'types_alter', searchable => true);
reset client_min_messages;
set pg_encrypt.reveal = on;
create table t (k integer primary key, e varchar(20) not null default 'none', n bigint, d text);
insert into t values (1, 'bob', 7, 'x'), (2, 'ann', null, 'y');

alter table t alter e drop default, alter e type email_enc using e::email_enc, alter e set default 'none';
alter table t alter n type number_enc, alter d type email_enc;
create unique index on t (e email_enc_ops);
insert into t (k, n) values (3, 8);
select * from t order by k;
select k from t where e = 'bob' and n = 7;
-- Each row has a ciphertext of its own.
update t set d = 'same';
alter table t alter d type text;
alter table t alter d type email_enc;
set pg_encrypt.reveal = off;
select count(distinct format('%s', d)) from t;
set pg_encrypt.reveal = on;

-- To a successor type: by way of the base type, and the index is made anew.
\set VERBOSITY sqlstate
alter table t alter e type next_enc;
alter table t alter e drop default, alter e type next_enc using e::text;
\set VERBOSITY default
drop index t_e_idx;
alter table t alter e drop default, alter e type next_enc using e::text;
create unique index on t (e next_enc_ops);
select k from t where e = 'ann';

-- And back.
drop index t_e_idx;
alter table t alter e type varchar(20), alter n type bigint, alter d type text;
create unique index on t (e);
select * from t order by k;
select attname, atttypid::regtype, atttypmod from pg_attribute where attrelid = 't'::regclass and attnum > 1 order by attnum;
-- Nothing uses the types any more.
select encrypt.drop_type('email_enc');
select encrypt.drop_type('number_enc');
select encrypt.drop_type('next_enc');

-- Without the grant nobody decrypts a column this way.
set client_min_messages = error;
select encrypt.create_type('email_enc', key => 'types_alter', searchable => true);
create table owned (e email_enc);
insert into owned values ('secret');
create role regress_types_alter;
grant usage, create on schema types_alter to regress_types_alter;
alter table owned owner to regress_types_alter;
set role regress_types_alter;
alter table owned alter e type text;
alter table owned alter e type text using format('%s', e);
select e like '\\xe301%' as still_encrypted from owned;
-- Back as it was: the text is the value.
alter table owned alter e type email_enc using e::email_enc;
reset role;
set pg_encrypt.reveal = on;
select * from owned;
drop schema types_alter cascade;
drop role regress_types_alter;
