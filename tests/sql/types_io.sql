-- Input and output: a stored value's own hex, other hex, COPY, what is shown to whom, and what errors say.
set client_min_messages = error;
create schema types_io;
set search_path = types_io;
select encrypt.create_key('types_io') is not null as made;
select encrypt.create_type('email_enc', key => 'types_io', searchable => true);
select encrypt.create_type('note_enc', key => 'types_io');
select encrypt.create_type('number_enc', 'int8', key => 'types_io', searchable => true);
reset client_min_messages;
create table t (k integer primary key, e email_enc, n note_enc, i number_enc);
insert into t values (1, 'bob@example.com', 'a note', 7), (2, '', '', 0), (3, null, null, null);

-- A superuser sees what is stored unless it has a grant of its own or asks. Stored: format, token, number of the type.
\set VERBOSITY sqlstate
select k, left(e::email_enc::text, 3) is not null as decrypted_by_the_cast from t order by k;
select k, left(format('%s', e), 4), left(format('%s', n), 4), left(format('%s', i), 4) from t order by k;
set pg_encrypt.reveal = on;
select * from t order by k;
set pg_encrypt.reveal = off;
select k, left(format('%s', e), 4) as e, length(format('%s', e)) as length from t order by k;
-- 62 bytes beyond the plaintext with a token, 46 without: twice as many digits and "\x".
select length(format('%s', e)) = 2 + 2 * (62 + 15) as e, length(format('%s', n)) = 2 + 2 * (46 + 6) as n from t where k = 1;
select substr(format('%s', e), 7, 8)::text = lpad(to_hex(type_ref), 8, '0') as names_its_type
from t, encrypt.types where k = 1 and type_oid = 'email_enc'::regtype;
set pg_encrypt.reveal = sometimes;
reset pg_encrypt.reveal;

-- Two values of one plaintext share the token and nothing else.
insert into t values (4, 'bob@example.com'), (5, 'bob@example.com');
select count(distinct format('%s', e)) as stored, count(distinct encrypt.token(e)) as tokens, count(distinct e) as values
from t where k in (1, 4, 5);
delete from t where k in (4, 5);

-- A value's hex written back is that value, in upper case and with white space too, whatever is revealed.
set pg_encrypt.reveal = off;
create table copy (k integer, e email_enc, n note_enc, i number_enc);
do $$
declare
    r record;
begin
    for r in select k, format('%s', e) as e, format('%s', n) as n, format('%s', i) as i from t where k < 3 loop
        execute format('insert into copy values (%s, %L, %L, %L)', r.k, r.e, r.n, r.i);
        execute format('insert into copy (k, e) values (%s, %L)', r.k + 10, '\x' || upper(substr(r.e, 3)));
        execute format('insert into copy (k, e) values (%s, %L)', r.k + 20, '\xe3 ' || substr(r.e, 5));
    end loop;
end
$$;
select copy.k, format('%s', copy.e) = format('%s', t.e) as same from copy join t on t.k = copy.k % 10 order by 1;
set pg_encrypt.reveal = on;
select * from copy order by k;

-- Hex that is no well-formed value is a plaintext like any other.
create table plaintexts (n serial, e email_enc);
insert into plaintexts (e) values ('\x'), ('\xe3'), ('\xe301'), ('\xe3010000000100112233445566778899aabbccddeeff'), ('\xzz'),
    ('\x6162'), ('\xe10800000007404142434445464748494a4b4c4d4e4f0000e9a670ce096afb75aef45bbb8eceac14'), (' '), (E'a\nb'), ('é日本');
select n, e, length(e) from plaintexts order by n;

-- A value of another type, or one that says it is of this type and lacks a token, is refused.
select format('%s', null::email_enc) = '' as null_is_null;
set pg_encrypt.reveal = off;
select format('%s', e) as e_hex, format('%s', n) as n_hex, format('%s', i) as i_hex from t where k = 1 \gset
reset pg_encrypt.reveal;
\set VERBOSITY terse
insert into t values (9, :'n_hex');
insert into t values (9, null, :'e_hex');
insert into t values (9, null, null, :'e_hex');
\set VERBOSITY sqlstate
select :'e_hex'::note_enc;
select :'i_hex'::email_enc;
insert into t (k, e) select 9, '\xe300' || substr(:'e_hex', 7, 8) || substr(:'e_hex', 47);
-- A text that is assigned is taken as a value likewise: clients declare their parameters as text.
prepare give (text, varchar) as insert into copy (k, e, n) values (30, $1, $2);
execute give (:'e_hex', :'n_hex');
execute give (:'n_hex', :'n_hex');
set pg_encrypt.reveal = on;
select * from copy where k = 30;
reset pg_encrypt.reveal;
deallocate give;

-- What the base type refuses is never quoted, in no place of the error.
\set VERBOSITY default
insert into t (k, i) values (9, 'secret-4711');
insert into t (k, i) values (9, '99999999999999999999999');
select 'secret-4711'::number_enc;
select count(*) from t where i = 'secret-4711';
do $$
declare
    message text;
    detail text;
    hint text;
begin
    insert into t (k, i) values (9, 'secret-4711');
exception when others then
    get stacked diagnostics message = message_text, detail = pg_exception_detail, hint = pg_exception_hint;
    raise notice '% %', sqlstate, concat_ws('|', message, detail, hint) like '%4711%';
end
$$;

-- COPY in text and CSV form. An error's context quotes the line as it came, with any type: such logs need protection.
create table copied (like t);
set pg_encrypt.reveal = on;
copy t to stdout;
copy t (k, e, i) to stdout csv header;
copy copied from stdin;
1	bob@example.com	a note	7
2			0
3	\N	\N	\N
\.
select * from copied order by k;
select t.k, t.e = copied.e as e, t.n = copied.n as n, t.i = copied.i as i from t join copied using (k) order by k;
copy copied (k, i) from stdin;
9	secret-4711
\.

-- Binary: the base type's form where it is revealed, else the value.
select length(record_send(row(i))) as number from t where k = 1;
-- Text is in the encoding of the client: behind the type's number, what plain text has there.
create view sent as
    select length(record_send(row(encrypted))) as length,
           substr(record_send(row(encrypted)), 9) = substr(record_send(row(plain)), 9) as as_plain
    from (values (E'J\u00fcrgen', E'J\u00fcrgen'::note_enc)) as v (plain, encrypted)
    -- Not in a parallel worker, which has the encoding of the database.
    where pg_backend_pid() > 0;
select * from sent;
set client_encoding = latin1;
select * from sent;
reset client_encoding;
drop view sent;
set pg_encrypt.reveal = off;
select length(record_send(row(i))) as number, length(record_send(row(e))) as text from t where k = 1;

-- Roles: decrypt shows, encrypt writes, nothing else does either.
create role regress_types_io_none;
create role regress_types_io_reader;
create role regress_types_io_writer;
grant usage on schema types_io to regress_types_io_none, regress_types_io_reader, regress_types_io_writer;
grant select, insert on t to regress_types_io_none, regress_types_io_reader, regress_types_io_writer;
select encrypt.grant_key('types_io', 'regress_types_io_reader', 'decrypt');
select encrypt.grant_key('types_io', 'regress_types_io_writer', 'encrypt');
reset pg_encrypt.reveal;
set role regress_types_io_reader;
select * from t order by k;
insert into t values (20, 'x');
set pg_encrypt.reveal = off;
select k, left(format('%s', e), 4) from t order by k;
set pg_encrypt.reveal = on;
select k, e from t order by k;
set role regress_types_io_none;
select k, left(format('%s', e), 4) from t order by k;
insert into t values (20, 'x');
select e::text from t;
set role regress_types_io_writer;
select k, left(format('%s', e), 4) from t where k < 3 order by k;
insert into t values (20, 'x', 'y', 42);
-- A value as it is needs no grant: dumps restore before there are grants.
set role regress_types_io_none;
insert into t values (21, :'e_hex');
reset role;
select * from t where k >= 20 order by k;

-- A superuser with a grant of its own sees plaintext as others do; the answer follows the grant at once.
reset pg_encrypt.reveal;
select format('%s', e) like '\\xe3%' as hidden from t where k = 1;
select encrypt.grant_key('types_io', current_user::regrole, 'decrypt');
select k, e from t where k = 1;
set application_name = 'pg_dump';
select format('%s', e) like '\\xe3%' as hidden from t where k = 1;
reset application_name;
select encrypt.revoke_key('types_io', current_user::regrole, 'decrypt');
select format('%s', e) like '\\xe3%' as hidden from t where k = 1;

drop owned by regress_types_io_none, regress_types_io_reader, regress_types_io_writer;
select encrypt.revoke_key('types_io', 'regress_types_io_reader', 'decrypt');
select encrypt.revoke_key('types_io', 'regress_types_io_writer', 'encrypt');
drop role regress_types_io_none, regress_types_io_reader, regress_types_io_writer;
set client_min_messages = error;
drop schema types_io cascade;
