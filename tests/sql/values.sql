-- Values come back exactly as they were, whatever their type and length and whatever the session's settings.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('default') > 0 as created;
reset client_min_messages;
\pset null '<null>'

-- Text and bytea: the value, whether it came back, and the bytes added (always 40).
select v, encrypt.decrypt_column(e) = v as same, octet_length(e::bytea) - octet_length(v) as added
from (select v, encrypt.encrypt_column(v) as e
      from unnest(array['', ' ', 'a', 'alice@example.com', 'NULL', '\x00', 'tab	and '' quote']) as v) s;
select v, encrypt.decrypt_bytes(e) = v as same, octet_length(e::bytea) - octet_length(v) as added
from (select v, encrypt.encrypt_column(v) as e from unnest('{"","\\x00","\\xff00ff","\\xc3"}'::bytea[]) as v) s;
-- An unknown literal is text; equal values have different ciphertexts.
select encrypt.decrypt_column(encrypt.encrypt_column('literal'));
select encrypt.encrypt_column('same') operator(encrypt.*=) encrypt.encrypt_column('same') as equal;
select count(distinct encrypt.encrypt_column('same')) as ciphertexts from generate_series(1, 1000);

-- A NULL value stays NULL. A NULL key, context or row id is an error: it must not become a NULL value.
select encrypt.encrypt_column(null::text) is null, encrypt.encrypt_column(null::bytea) is null,
       encrypt.encrypt_column(null::integer) is null, encrypt.decrypt_column(null) is null,
       encrypt.decrypt_bytes(null) is null, encrypt.decrypt_as(null, null::integer) is null,
       encrypt.encrypt_deterministic(null::text) is null, encrypt.reencrypt_column(null) is null,
       encrypt.blind_index(null) is null, encrypt.blind_index_all(null) is null,
       encrypt.key_id(null) is null, encrypt.is_ciphertext(null) is null;
-- Helpers run many statements: without compiling each, and without starting workers for each.
create function pg_temp.outcome(statement text, argument encrypt.ciphertext default null) returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    result text;
begin
    execute statement into result using argument;
    return 'ok: ' || coalesce(result, '<null>');
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select statement, pg_temp.outcome(statement)
from unnest(array[
    $$select encrypt.encrypt_column('v', key => null)$$,
    $$select encrypt.encrypt_column('v', context => null)$$,
    $$select encrypt.encrypt_column('v', row_id => null)$$,
    $$select encrypt.encrypt_column('\x00'::bytea, key => null)$$,
    $$select encrypt.encrypt_column(1, context => null)$$,
    $$select encrypt.encrypt_deterministic('v', key => null)$$,
    $$select encrypt.encrypt_deterministic('v', context => null)$$,
    $$select encrypt.encrypt_deterministic(1, row_id => null)$$,
    $$select encrypt.decrypt_column(encrypt.encrypt_column('v'), context => null)$$,
    $$select encrypt.decrypt_column(encrypt.encrypt_column('v'), row_id => null)$$,
    $$select encrypt.decrypt_bytes(encrypt.encrypt_column('v'), context => null)$$,
    $$select encrypt.decrypt_as(encrypt.encrypt_column(1), null::integer, context => null)$$,
    $$select encrypt.decrypt_as(encrypt.encrypt_column(1), null::integer, row_id => null)$$,
    $$select encrypt.reencrypt_column(encrypt.encrypt_column('v'), context => null)$$,
    $$select encrypt.reencrypt_column(encrypt.encrypt_column('v'), row_id => null)$$,
    $$select encrypt.blind_index('v', key => null)$$,
    $$select encrypt.blind_index('v', context => null)$$,
    $$select encrypt.blind_index('v', normalizer => null)$$,
    $$select encrypt.blind_index('v', bits => null)$$,
    $$select encrypt.blind_index_all('v', key => null)$$]) with ordinality as u(statement, n)
order by n;

-- Unicode: bytes are kept, composed and decomposed forms too.
select escaped, encrypt.decrypt_column(encrypt.encrypt_column(v)) = v as same, octet_length(v) as bytes
from (select escaped, unistr(escaped) as v
      from unnest(array['\00e9', 'e\0301', '\0130\0131\00df', '\05e9\05dc\05d5\05dd', '\+01f468\200d\+01f469',
                        '\feff\200b', '\+10ffff']) as escaped) s;

-- Lengths around the limits of TOAST, stored: what comes back, bytes added.
create table values_lengths (n integer, kind text, v text, e encrypt.ciphertext);
insert into values_lengths
select n, kind, v, encrypt.encrypt_column(v)
from (select n, kind, case kind when 'repeated' then repeat('x', n)
                                else left((select string_agg(md5(n::text || i), '') from generate_series(0, n / 32) i), n)
                      end as v
      from (select n from generate_series(1, 64) n
            union all select n from generate_series(1950, 2050) n
            union all select n from generate_series(8100, 8200, 7) n
            union all select 1048576) lengths(n)
      cross join (values ('repeated'), ('random')) kinds(kind)
      offset 0) s;
select kind, count(*), count(*) filter (where encrypt.decrypt_column(e) = v and length(v) = n) as same,
       min(octet_length(e::bytea) - n) as least_added, max(octet_length(e::bytea) - n) as most_added
from values_lengths group by kind order by kind;

-- Every type: its code in the header, bytes of plaintext, and whether the same value came back.
create type values_mood as enum ('sad', 'ok', 'so "happy"');
create type values_pair as (a integer, b text);
create domain values_positive as integer check (value > 0);
create domain values_short as text check (length(value) < 10);
create table values_types (n serial, type text, literal text, e encrypt.ciphertext);
insert into values_types (type, literal) values
    ('text', 'plain'), ('varchar(5)', 'five5'), ('char(6)', 'ab'), ('name', 'a name'),
    ('bytea', '\x6162'), ('bytea', '\x00ff'), ('bytea', ''),
    ('boolean', 'true'), ('boolean', 'false'),
    ('smallint', '-32768'), ('integer', '2147483647'), ('integer', '-1'), ('bigint', '-9223372036854775808'),
    ('oid', '4294967295'), ('regtype', 'integer'), ('regclass', 'pg_catalog.pg_class'),
    ('numeric', '1.500'), ('numeric', 'NaN'), ('numeric', '-Infinity'), ('numeric(10,2)', '12345678.90'),
    ('numeric', '123456789012345678901234567890.000000000000000000001'),
    ('real', '0.1'), ('real', '3.4028235e38'), ('real', '-0'), ('double precision', '0.1'),
    ('double precision', '5e-324'), ('double precision', 'NaN'), ('double precision', '-Infinity'),
    ('date', '2024-02-29'), ('date', 'infinity'), ('date', '-infinity'), ('date', '4713-11-24 BC'),
    ('timestamp', '2024-03-04 05:06:07.123456'), ('timestamp', 'infinity'),
    ('timestamptz', '2024-03-04 05:06:07.123456+05:45'), ('timestamptz', '-infinity'),
    ('time', '23:59:59.999999'), ('timetz', '04:05:06-08'),
    ('interval', '1 year 2 mons 3 days 04:05:06.789'), ('interval', '-1 mons'), ('interval', '0'),
    ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
    ('json', '{"b": 1,  "a": [2], "b": null}'), ('jsonb', '{"b": 1, "a": 1.10}'), ('jsonb', 'null'),
    ('inet', '10.1.2.3/8'), ('cidr', '10.0.0.0/8'), ('inet', '2001:db8::1'), ('macaddr', '08:00:2b:01:02:03'),
    ('bit(5)', '10101'), ('varbit', '101'), ('point', '(1.1,2.2)'), ('tsvector', '''a'':1 ''b'':2'),
    ('tsquery', '''a'' & ''b'''), ('pg_lsn', '16/B374D848'), ('jsonpath', '$."a"[*]'),
    ('integer[]', '{1,NULL,-3}'), ('text[]', '{"",NULL,"NULL","a,b","\"\\"}'), ('text[]', '{}'),
    ('integer[]', '[2:3][0:0]={{1},{2}}'), ('bytea[]', '{"\\x00ff",NULL}'), ('date[]', '{2024-02-29,infinity}'),
    ('double precision[]', '{0.1,1e300}'), ('timestamptz[]', '{"2024-03-04 05:06:07+00"}'), ('money[]', '{1234.56}'),
    ('values_mood', 'so "happy"'), ('values_mood[]', '{sad,"so \"happy\""}'),
    ('values_pair', '(1,"a ""b"", c")'), ('values_pair', '(,)'), ('values_pair[]', '{"(1,x)",NULL}'),
    ('values_positive', '7'), ('values_short', 'short'), ('values_positive[]', '{1,2}'),
    ('int4range', '[1,10)'), ('tstzrange', '["2024-01-01 00:00+00",)'), ('daterange', 'empty'),
    ('int4multirange', '{[1,3),[5,7)}');

create function pg_temp.encrypted(type text, literal text) returns encrypt.ciphertext language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    result encrypt.ciphertext;
begin
    execute format('select encrypt.encrypt_column(%L::%s)', literal, type) into result;
    return result;
end $$;
-- Compares printed values: = says less (1.5 = 1.500) or nothing (json).
create function pg_temp.same(type text, literal text, e encrypt.ciphertext) returns boolean language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    result boolean;
begin
    execute format('select encrypt.decrypt_as($1, null::%2$s)::text = (%1$L::%2$s)::text', literal, type)
        into result using e;
    return result;
end $$;
update values_types set e = pg_temp.encrypted(type, literal);
select type, literal, get_byte(e::bytea, 1) >> 3 as code, length(encrypt.decrypt_bytes(e)) as bytes,
       pg_temp.same(type, literal, e) as same
from values_types order by n;

-- Settings of the session change nothing, neither when it encrypts nor when it decrypts.
create function pg_temp.strange_settings(on_ boolean) returns void language plpgsql as $$
begin
    perform set_config(name, case when on_ then strange else reset_val end, false)
    from (values ('datestyle', 'German, DMY'), ('timezone', 'Asia/Kathmandu'), ('intervalstyle', 'iso_8601'),
                 ('bytea_output', 'escape'), ('extra_float_digits', '-10'), ('array_nulls', 'off'),
                 ('xmloption', 'document')) as s(setting, strange)
    join pg_settings p on p.name = s.setting;
end $$;
-- Literals with NULL in arrays can't be read under array_nulls = off: those are encrypted under ordinary settings only.
create temp table expected as select * from values_types;
select pg_temp.strange_settings(true);
select type, literal from expected where not pg_temp.same(type, literal, e) and literal !~ 'NULL' order by n;
update values_types set e = pg_temp.encrypted(type, literal) where literal !~ 'NULL';
-- With NULLs: looked at as elements.
select array_position(encrypt.decrypt_as(encrypt.encrypt_column(array['a', null]), null::text[]), null) as null_at;
select pg_temp.strange_settings(false);
select type, literal from values_types where not pg_temp.same(type, literal, e) order by n;
-- decrypt_column prints under the session's settings, as the type itself does.
set datestyle = 'German, DMY';
select encrypt.decrypt_column(encrypt.encrypt_column('2024-02-29'::date)) as german,
       encrypt.decrypt_column(encrypt.encrypt_column(array['2024-02-29'::date])) as stored_as_text;
reset datestyle;

-- citext, where it can be had. To encrypt_column it is text.
select count(*) > 0 as there from pg_available_extensions where name = 'citext' \gset
\if :there
set client_min_messages = error;
-- Its script's statements take minutes to compile.
set jit = off;
create extension citext;
reset jit;
reset client_min_messages;
select encrypt.decrypt_as(encrypt.encrypt_column('MiXed'::citext), null::citext) = 'mixed'
       and encrypt.decrypt_column(encrypt.encrypt_column('MiXed'::citext)) = 'MiXed' as same \gset
drop extension citext;
\else
\set same t
\endif
\echo :same

-- What decrypt_column shows of each type, and the canonical bytes.
select type, encrypt.decrypt_column(e) as shown, encrypt.decrypt_bytes(e) as bytes
from (select distinct on (get_byte(e::bytea, 1)) n, type, e from values_types order by get_byte(e::bytea, 1), n) s
order by n;

-- Reading as another type goes through the text form, or fails without telling the value.
select statement, pg_temp.outcome(replace(replace(statement, 'dec(', 'encrypt.decrypt_as(encrypt.encrypt_column('), ' as ', '), null::')) as outcome
from unnest(array[
    'select dec(1::bigint as smallint)', 'select dec(40000 as smallint)', 'select dec(3000000000 as integer)',
    'select dec(''17''::text as integer)', 'select dec(17 as text)', 'select dec(1.5 as integer)',
    'select dec(2.0 as integer)', 'select dec(1e300::float8 as real)', 'select dec(0.1::float8 as real)',
    'select dec(0.1::real as double precision)', 'select dec(true as text)', 'select dec(''yes''::text as boolean)',
    'select dec(''2024-02-29''::date as timestamp)', 'select dec(''2024-02-29 12:00+00''::timestamptz as date)',
    'select dec(''2024-02-29 12:00''::timestamp as timestamptz)', 'select dec(''{"a":1}''::json as jsonb)',
    'select dec(''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11''::uuid as text)', 'select dec(''10.0.0.0/8''::inet as cidr)',
    -- errors
    'select dec(''s3cret''::text as integer)', 'select dec(''s3cret''::text as date)',
    'select dec(''s3cret''::text as values_mood)', 'select dec(''s3cret''::text as jsonb)',
    'select dec(''s3cret''::text as regclass)', 'select dec(''s3cret''::text as regrole)',
    'select dec(''s3cret &''::text as tsquery)', 'select dec(''(s3cret)''::text as values_pair)',
    'select dec(''{s3cret}''::text as integer[])', 'select dec(''10.1.2.3/8''::inet as cidr)',
    'select dec(-7 as values_positive)', 'select dec(''more than ten''::text as values_short)',
    'select dec(''s3cret''::text as bytea)', 'select dec(''\x00''::bytea as text)', 'select dec(''\x00''::bytea as integer)',
    'select dec(1 as bytea)', 'select dec(1 as money)', 'select dec(1 as record)']) with ordinality as u(statement, n)
order by n;

-- Bytes read as text must be text of this database: no NUL, no broken UTF-8.
select b, pg_temp.outcome('select encrypt.decrypt_column($1)', encrypt.encrypt_column(b)) as outcome
from unnest('{"\\x616263","","\\x61006263","\\xff","\\xc3","\\xc3a9","\\xeda080"}'::bytea[]) as b;

-- Refused: what could not be read back, and what is encrypted already.
create domain values_domain as encrypt.ciphertext;
select statement, pg_temp.outcome(statement)
from unnest(array[
    $$select encrypt.encrypt_column('1'::money)$$,
    $$select encrypt.encrypt_column(row(1, 2))$$,
    $$select encrypt.encrypt_deterministic('1'::money)$$,
    $$select encrypt.encrypt_column(encrypt.encrypt_column('v'))$$,
    $$select encrypt.encrypt_deterministic(encrypt.encrypt_column('v'))$$,
    $$select encrypt.encrypt_column(encrypt.encrypt_column('v')::values_domain)$$]) with ordinality as u(statement, n)
order by n;

drop table values_lengths, values_types;
drop type values_mood, values_pair, values_positive, values_short, values_domain;
