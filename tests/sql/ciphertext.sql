-- The type encrypt.ciphertext: what it accepts, how it is stored and compared, and that an altered byte never decrypts.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('ciphertext') > 0 as created;
reset client_min_messages;

-- Helpers run many statements: without compiling each, and without starting workers for each.
create function pg_temp.outcome(statement text, e encrypt.ciphertext default null, b bytea default null, t text default null)
returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    result text;
begin
    execute statement into result using e, b, t;
    return 'ok: ' || coalesce(result, 'null');
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
create table ciphertext_values (id serial primary key, e encrypt.ciphertext);
insert into ciphertext_values (e)
select encrypt.encrypt_column('value ' || i, key => 'ciphertext') from generate_series(1, 5) i;

-- The text form is hexadecimal whatever bytea_output says, inside arrays and rows too, and reads back.
set bytea_output = 'escape';
select left(e::text, 6) = '\xe108' as hex, (e::text)::encrypt.ciphertext operator(encrypt.*=) e as reads_back,
       (array[e]::text)::encrypt.ciphertext[] = array[e] as in_array,
       (row(e)::text) = '("' || replace(e::text, '\', '\\') || '")' as in_row
from ciphertext_values where id = 1;
reset bytea_output;
select upper(ltrim(e::text, '\x'))  ~ '^E108' as upper_case,
       ('\x' || upper(substr(e::text, 3)))::encrypt.ciphertext operator(encrypt.*=) e as upper_case_reads,
       ('\x ' || regexp_replace(substr(e::text, 3), '(..)', E'\\1 \n', 'g'))::encrypt.ciphertext operator(encrypt.*=) e
           as white_space_reads
from ciphertext_values where id = 1;

-- Casts to and from bytea are explicit, and the one from bytea checks.
select e::bytea::encrypt.ciphertext operator(encrypt.*=) e as same, encrypt.ciphertext(e::bytea) operator(encrypt.*=) e as same
from ciphertext_values where id = 1;
create table ciphertext_bytea (b bytea);
\set VERBOSITY sqlstate
insert into ciphertext_bytea select e from ciphertext_values;
insert into ciphertext_values (e) select e::bytea from ciphertext_values;
insert into ciphertext_values (e) values ('plaintext');
\set VERBOSITY default
insert into ciphertext_bytea select e::bytea from ciphertext_values;

-- Binary COPY out and in; as bytea the same bytes. What is no envelope is refused on the way in.
\getenv results PG_ABS_BUILDDIR
\set file :results '/results/ciphertext.bin'
copy ciphertext_values (e) to stdout (format binary) \g :file
create table ciphertext_copy (e encrypt.ciphertext);
\set copy '\\copy ciphertext_copy from ' :'file' ' (format binary)'
:copy
select count(*) from ciphertext_copy c join ciphertext_bytea b on c.e::bytea = b.b;
copy (select substr(b, 1, 39) from ciphertext_bytea) to stdout (format binary) \g :file
\set VERBOSITY sqlstate
:copy
\set VERBOSITY default
-- Text COPY too.
copy (select substr(e::text, 1, 20) from ciphertext_values where id = 1) to stdout (format csv) \g :file
\set copy '\\copy ciphertext_copy from ' :'file' ' (format csv)'
\set VERBOSITY sqlstate
:copy
\set VERBOSITY default

-- Every truncation is refused as input, from text and from bytea, with one SQLSTATE.
select left(pg_temp.outcome('select $2::encrypt.ciphertext', b => substr(b, 1, n)), 5) as from_bytea,
       left(pg_temp.outcome('select $3::encrypt.ciphertext', t => substr(b, 1, n)::text), 5) as from_text,
       encrypt.is_ciphertext(substr(b, 1, n)) as is_ciphertext,
       min(n), max(n), count(*)
from (select e::bytea as b from ciphertext_values where id = 1) s, generate_series(0, length(b) - 1) n
group by 1, 2, 3 order by 4;

-- Malformed input and the message for each.
select what, pg_temp.outcome('select $3::encrypt.ciphertext', t => t) as outcome
from (select e::text as e from ciphertext_values where id = 1) s
cross join lateral (values (1, 'empty', ''), (2, 'no bytes', '\x'), (3, 'no hex', 'xyz'), (4, 'bytea escape format', 'abc\000'),
                           (5, 'odd digits', e || '0'), (6, 'no digit', overlay(e placing 'g' from 20)),
                           (7, 'space in a pair', overlay(e placing ' ' from 20)),
                           (8, 'format 0', overlay(e placing '00' from 3)), (9, 'format 255', overlay(e placing 'ff' from 3)),
                           (10, 'type 13', overlay(e placing '68' from 5)), (11, 'type 31', overlay(e placing 'f8' from 5)),
                           (12, 'key id 0', overlay(e placing '00000000' from 7)),
                           (13, 'key id negative', overlay(e placing '80000000' from 7)),
                           (14, 'header only', left(e, 14)), (15, 'capital x', overlay(e placing 'X' from 2)))
     as v(n, what, t)
order by n;

-- An unknown key id has an error of its own; no key is tried instead.
select pg_temp.outcome('select encrypt.decrypt_column($1)', overlay(e::text placing '7fffffff' from 7)::encrypt.ciphertext)
from ciphertext_values where id = 1;

-- Flip every bit of every byte: never a success, and one message for all that is only found by authentication.
create function pg_temp.flips(e encrypt.ciphertext)
returns table (part text, outcome text, bits bigint) language sql as $$
    select case when bit < 8 then '0 format' when bit < 16 then '1 flags' when bit < 48 then '2-5 key id'
                else '6- nonce, ciphertext, tag' end,
           regexp_replace(
               pg_temp.outcome('select encrypt.decrypt_column($2::encrypt.ciphertext)',
                               b => set_bit(e::bytea, bit, 1 - get_bit(e::bytea, bit))),
               '(id|code|format) (0x)?-?[0-9a-f]+', '\1 N'),
           count(*)
    from generate_series(0, 8 * length(e::bytea) - 1) bit
    group by 1, 2 order by 1, 2
$$;
select * from pg_temp.flips((select e from ciphertext_values where id = 1));
-- The same for a value of no length, a deterministic value, and one of another type.
set client_min_messages = error;
select f.* from pg_temp.flips(encrypt.encrypt_column('', 'ciphertext')) f;
select f.* from pg_temp.flips(encrypt.encrypt_deterministic('value', 'ciphertext')) f;
select f.* from pg_temp.flips(encrypt.encrypt_column(17, 'ciphertext')) f;
reset client_min_messages;

-- Appended bytes and two values in one: well-formed, but not authentic. Bytes of one value put into another as well.
select pg_temp.outcome('select encrypt.decrypt_column($2::encrypt.ciphertext)', b => a || '\x00') as appended,
       pg_temp.outcome('select encrypt.decrypt_column($2::encrypt.ciphertext)', b => a || b) as concatenated,
       pg_temp.outcome('select encrypt.decrypt_column($2::encrypt.ciphertext)', b => substr(a, 1, 24) || substr(b, 25)) as other_nonce,
       pg_temp.outcome('select encrypt.decrypt_column($2::encrypt.ciphertext)', b => substr(a, 1, length(a) - 16) || substr(b, length(b) - 15))
           as other_tag
from (select (select e::bytea from ciphertext_values where id = 1) as a, (select e::bytea from ciphertext_values where id = 2) as b) s;

-- Comparing by accident is refused; so is concatenation.
\set VERBOSITY terse
select e = e from ciphertext_values;
select * from ciphertext_values where e in (select e from ciphertext_values);
select e < e from ciphertext_values;
select e like 'a%' from ciphertext_values;
select e || e from ciphertext_values;
select row(e) = row(e) from ciphertext_values;
\set VERBOSITY default
-- On purpose, and where SQL needs it, stored bytes are compared.
insert into ciphertext_values (e) select e from ciphertext_values where id = 1;
select count(*), count(distinct e) from ciphertext_values;
select count(*) from (select e from ciphertext_values group by e having count(*) = 2) s;
select count(*) from (select e from ciphertext_values union select e from ciphertext_values) s;
select array_agg(id order by e) = array_agg(id order by e::bytea, id) as ordered_by_bytes
from ciphertext_values where id <= 5;
select count(*) from ciphertext_values a join ciphertext_values b on a.e operator(encrypt.*=) b.e where a.id <> b.id;
select count(*) from ciphertext_values a, ciphertext_values b where a = b;
select bool_and(a.e operator(encrypt.*<) b.e = (a.e::bytea < b.e::bytea)
                and a.e operator(encrypt.*<=) b.e = (a.e::bytea <= b.e::bytea)
                and a.e operator(encrypt.*>) b.e = (a.e::bytea > b.e::bytea)
                and a.e operator(encrypt.*>=) b.e = (a.e::bytea >= b.e::bytea)
                and a.e operator(encrypt.*<>) b.e = (a.e::bytea <> b.e::bytea)) as operators_compare_bytes
from ciphertext_values a, ciphertext_values b;
-- DISTINCT and joins by hash and by sort.
set enable_sort = off;
select count(*) from (select distinct e from ciphertext_values) s;
reset enable_sort;
set enable_hashagg = off;
select count(*) from (select distinct e from ciphertext_values) s;
reset enable_hashagg;
-- As a replica identity, and in keys.
alter table ciphertext_copy add primary key (e);
alter table ciphertext_copy replica identity using index ciphertext_copy_pkey;
alter table ciphertext_values replica identity full;
insert into ciphertext_copy select e from ciphertext_values where id = 1 on conflict do nothing;
select count(*) from ciphertext_copy;

-- Stored out of line and never compressed.
select attstorage from pg_attribute where attrelid = 'ciphertext_values'::regclass and attname = 'e';
insert into ciphertext_values (id, e) values (100, encrypt.encrypt_column(repeat('x', 100000), key => 'ciphertext'));
select pg_column_size(e) from ciphertext_values where id = 100;

-- is_ciphertext looks at the form only.
select encrypt.is_ciphertext(e::bytea) as value, encrypt.is_ciphertext(e::bytea || '\x00') as longer,
       encrypt.is_ciphertext('\x') as nothing, encrypt.is_ciphertext('plain text') as text
from ciphertext_values where id = 1;

-- key_id can be indexed; the index is used.
select bool_and(encrypt.key_id(e) = k.key_id) as right_id
from ciphertext_values, encrypt.keys k where k.name = 'ciphertext' and k.purpose = 'column';
create index ciphertext_key_id on ciphertext_values (encrypt.key_id(e));
create index ciphertext_hash on ciphertext_values using hash (e);
begin;
set local enable_seqscan = off;
set local enable_bitmapscan = off;
set local enable_indexscan = on;
explain (costs off) select id from ciphertext_values where encrypt.key_id(e) = 1;
commit;

drop table ciphertext_values, ciphertext_bytea, ciphertext_copy;
