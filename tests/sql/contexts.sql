-- A value decrypts only with the context and the row id it was encrypted with: moved to another column or row it fails,
-- with the message of every other failed authentication.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('contexts') > 0 as created;
reset client_min_messages;

-- Helpers run many statements: without compiling each, and without starting workers for each.
create function pg_temp.read(e encrypt.ciphertext, context text, row_id text) returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
begin
    return encrypt.decrypt_column(e, context, row_id);
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;

-- Every context and row id against every other. Only the same pair reads the value; all else is one message.
create table contexts_pairs (n serial, context text, row_id text, e encrypt.ciphertext);
insert into contexts_pairs (context, row_id)
select c, r
from unnest(array['', 'users.ssn', 'users.SSN', 'users.ssn ', unistr('caf\00e9'), unistr('cafe\0301'), repeat('x', 63),
                  repeat('x', 64), repeat('x', 65), repeat('x', 66)]) c,
     unnest(array['', '42', '042']) r;
update contexts_pairs set e = encrypt.encrypt_column('secret', 'contexts', context, row_id);
select w.context = r.context and w.row_id = r.row_id as same, pg_temp.read(w.e, r.context, r.row_id) as result, count(*)
from contexts_pairs w, contexts_pairs r group by 1, 2 order by 1;
-- A context is not a row id, and neither are both put together.
select pg_temp.read(encrypt.encrypt_column('secret', 'contexts', 'a', 'b'), 'b', 'a'),
       pg_temp.read(encrypt.encrypt_column('secret', 'contexts', 'a', 'b'), 'ab', ''),
       pg_temp.read(encrypt.encrypt_column('secret', 'contexts', 'a', 'b'), '', 'ab');
-- The header says whether there is a context (2) and a row id (4), which length neither tells.
select context <> '' as context, row_id <> '' as row_id, get_byte(e::bytea, 1) & 7 as bits,
       min(length(e::bytea)), max(length(e::bytea))
from contexts_pairs group by 1, 2, 3 order by 1, 2;

-- The same for bytes, other types and deterministic values.
set client_min_messages = error;
\set VERBOSITY sqlstate
select encrypt.decrypt_bytes(encrypt.encrypt_column('\x00'::bytea, 'contexts', 'a', 'b'), 'a', 'b') as bytes,
       encrypt.decrypt_as(encrypt.encrypt_column(7, 'contexts', 'a', 'b'), null::integer, 'a', 'b') as number,
       encrypt.decrypt_column(encrypt.encrypt_deterministic('x', 'contexts', 'a', 'b'), 'a', 'b') as deterministic;
select encrypt.decrypt_bytes(encrypt.encrypt_column('\x00'::bytea, 'contexts', 'a', 'b'), 'a', 'c');
select encrypt.decrypt_as(encrypt.encrypt_column(7, 'contexts', 'a', 'b'), null::integer, 'A', 'b');
select encrypt.decrypt_column(encrypt.encrypt_deterministic('x', 'contexts', 'a', 'b'), 'a', '');
select encrypt.decrypt_column(encrypt.encrypt_deterministic('x', 'contexts', 'a', 'b'), '', 'b');
\set VERBOSITY default
reset client_min_messages;

-- A table that binds both: swapped between rows or columns, values fail; put back, they are fine.
create table contexts_users (id integer primary key, ssn encrypt.ciphertext, phone encrypt.ciphertext);
insert into contexts_users
select id, encrypt.encrypt_column('ssn ' || id, 'contexts', 'users.ssn', id::text),
       encrypt.encrypt_column('phone ' || id, 'contexts', 'users.phone', id::text)
from generate_series(1, 3) id;
create view contexts_readable as
select id, pg_temp.read(ssn, 'users.ssn', id::text) as ssn, pg_temp.read(phone, 'users.phone', id::text) as phone
from contexts_users;
update contexts_users set ssn = phone, phone = ssn where id = 2;
update contexts_users u set ssn = (select ssn from contexts_users where id = 4 - u.id) where id <> 2;
select * from contexts_readable order by id;
update contexts_users set ssn = phone, phone = ssn where id = 2;
update contexts_users u set ssn = (select ssn from contexts_users where id = 4 - u.id) where id <> 2;
select * from contexts_readable order by id;
-- Names are not part of it: a renamed table and column read as before.
alter table contexts_users rename to contexts_people;
alter table contexts_people rename ssn to number;
select * from contexts_readable order by id;
-- Unbound values can be moved: what is not bound is not protected.
select pg_temp.read(encrypt.encrypt_column('unbound', 'contexts'), '', '');

-- More contexts in one statement than a session keeps subkeys for.
select count(*) filter (where encrypt.decrypt_column(e, 'tenant ' || i) = i::text) as same, count(*)
from (select i, encrypt.encrypt_column(i::text, 'contexts', 'tenant ' || i) as e from generate_series(1, 5000) i offset 0) s;

drop view contexts_readable;
drop table contexts_pairs, contexts_people;
