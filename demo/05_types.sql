-- APPLICATIONS DON'T CHANGE
--
-- An encrypted type takes plaintext from any client, stores it encrypted, is searched by an index, and shows plaintext to
-- those who may see it. It belongs to a key, and has a name like any other type:

select encrypt.create_key('members') is not null as created;
select encrypt.create_type('email_enc', key => 'members', searchable => true);
select encrypt.create_type('phone_enc', key => 'members');

-- Two schemas with the same table, one plain and one encrypted, and an application that may use both. All it is granted
-- beyond that is the key.

create schema plain;
create table plain.members (id integer primary key, email text not null, phone text, visits integer default 0);
create unique index on plain.members (email);

create schema encrypted;
create table encrypted.members (id integer primary key, email email_enc not null, phone phone_enc, visits integer default 0);
create unique index on encrypted.members (email email_enc_ops);

create role demo_app login;
grant usage on schema plain, encrypted to demo_app;
grant select, insert, update on plain.members, encrypted.members to demo_app;
select encrypt.grant_key('members', 'demo_app', 'encrypt', 'decrypt', 'search');

-- What the application does, first with the plain table, then word for word the same with the encrypted one:

set role demo_app;
set search_path = plain, public;
\ir application.psql
set search_path = encrypted, public;
\ir application.psql

-- A search by e-mail address uses the index of the encrypted column. What is compared are tokens: the literal was encrypted
-- when the statement was parsed, and is shown in plaintext to those only who may decrypt.

insert into plain.members select id, 'user' || id || '@example.com', '555-' || id from generate_series(1001, 50000) as id;
insert into encrypted.members select * from plain.members where id > 1000;
reset role;
analyze plain.members, encrypted.members;
set role demo_app;
explain (costs off) select id, phone from members where email = 'user4711@example.com';
\timing on
select id, phone from members where email = 'user4711@example.com';
\timing off

-- WHO SEES WHAT
--
-- Support may search, but not decrypt. It finds the row and sees what is stored, 62 bytes longer than the plaintext; what
-- needs the plaintext is refused:

reset role;
create role demo_desk;
grant usage on schema encrypted to demo_desk;
grant select on encrypted.members to demo_desk;
select encrypt.grant_key('members', 'demo_desk', 'encrypt', 'search');
set role demo_desk;
\pset expanded on
select * from members where email = 'bob@example.org';
\pset expanded off
\ir expect_error.psql
select upper(email) from members where email = 'bob@example.org';
\ir was_error.psql
reset role;

-- The superuser has no grant either, so copies of the database stay encrypted. This is what
--
--     pg_dump --data-only --table encrypted.members | grep -A 2 COPY
--
-- prints:

\! pg_dump --data-only --table encrypted.members | grep --after-context=2 COPY

-- An index in the order of the plaintexts would tell much about them, so it is refused, with advice:

\ir expect_error.psql
create index on encrypted.members (email);
\ir was_error.psql

-- AN UNCHANGED SCRIPT OF PGBENCH
--
-- Reads, updates, searches and upserts through prepared statements, with the same random numbers on both tables. First
-- plain, then encrypted:
--
--     pgbench --protocol=prepared --random-seed=5 --transactions=5000 --file=application.pgbench

\! demo/application_pgbench plain
\! demo/application_pgbench encrypted

-- Afterwards both tables hold the same:

set role demo_app;
select count(*) as rows, count(*) filter (where e.email = p.email and e.phone is not distinct from p.phone
                                             and e.visits = p.visits) as same
from plain.members p full join encrypted.members e using (id);
reset role;
reset search_path;
