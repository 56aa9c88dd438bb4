-- Blind indexes: tokens that are equal where normalised values are, and differ per key, context, normalizer and version.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key(name) > 0 as created from unnest(array['blind_index', 'blind_index other']) name;
reset client_min_messages;

-- Sixteen bytes by default, the version of the index key first; the same each time.
select length(t) as bytes, get_byte(t, 0) as version, t = encrypt.blind_index('alice', 'blind_index') as again,
       encrypt.blind_index_all('alice', 'blind_index') = array[t] as the_only_one
from (select encrypt.blind_index('alice', 'blind_index') as t) s;

-- Every length that bits allow, and those they don't. A shorter token begins a longer one.
select count(*) filter (where length(t) = bits / 8 and t = substr(encrypt.blind_index('alice', 'blind_index', bits => 256), 1, bits / 8))
       as right_length, count(*)
from (select bits, encrypt.blind_index('alice', 'blind_index', bits => bits) as t from generate_series(16, 256, 8) bits) s;
-- Helpers run many statements: without compiling each, and without starting workers for each.
create function pg_temp.outcome(statement text) returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    result text;
begin
    execute statement into result;
    return 'ok';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select bits, pg_temp.outcome(format('select encrypt.blind_index(''alice'', ''blind_index'', bits => %s)', bits))
from unnest(array[-16, 0, 8, 15, 16, 17, 20, 256, 257, 264, 2147483647]) bits;

-- Normalizers: which values have the same token. Nothing here depends on the database's collation.
select normalizer, a, b,
       encrypt.blind_index(unistr(a), 'blind_index', normalizer => normalizer)
       = encrypt.blind_index(unistr(b), 'blind_index', normalizer => normalizer) as same
from (values (1, 'exact', 'Alice', 'Alice'), (2, 'exact', 'Alice', 'alice'), (3, 'exact', 'alice', 'alice '),
             (4, 'exact', '\00e9', 'e\0301'),
             (5, 'casefold', 'Alice', 'ALICE'), (6, 'casefold', E' alice\t', 'alice'), (7, 'casefold', 'a lice', 'alice'),
             (8, 'casefold', '\00e9', 'E\0301'), (9, 'casefold', 'stra\00dfe', 'STRASSE'),
             (10, 'casefold', '\0130', 'i\0307'), (11, 'casefold', '\0131', 'i'), (12, 'casefold', '\ff21', 'a'),
             (13, 'casefold', 'alice', 'bob'), (14, 'casefold', '', ' '),
             (15, 'email', 'Alice@Example.COM', 'alice@example.com'), (16, 'email', 'alice+tag@example.com', 'alice@example.com'),
             (17, 'digits', '078-05-1120', '078051120'), (18, 'digits', '(078) 05 1120', '078051120'),
             (19, 'digits', '078051120', '78051120'), (20, 'digits', 'x', '')) as v(n, normalizer, a, b)
order by n;
-- The normalizer is part of the token, so is the context, so is the key.
select count(distinct t) as tokens, count(*)
from (select encrypt.blind_index('12345', key, context, normalizer) as t
      from unnest(array['blind_index', 'blind_index other']) key, unnest(array['', 'a', 'b', repeat('long', 20)]) context,
           unnest(array['exact', 'casefold', 'email', 'digits']) normalizer) s;
select pg_temp.outcome(statement) from unnest(array[
    $$select encrypt.blind_index('x', 'blind_index', normalizer => 'lower')$$,
    $$select encrypt.blind_index('x', 'blind_index', normalizer => '')$$,
    $$select encrypt.blind_index('x', 'blind_index', normalizer => 'CASEFOLD')$$,
    $$select encrypt.blind_index('x', 'blind_index missing')$$,
    $$select encrypt.blind_index_all('x', 'blind_index missing')$$]) with ordinality as u(statement, n) order by n;
-- Any type by way of its text; long values too.
select encrypt.blind_index(12345::text, 'blind_index') = encrypt.blind_index('12345', 'blind_index') as number,
       length(encrypt.blind_index(repeat('x', 1000000), 'blind_index')) as long;

-- Search on an index, while the index key is rotated: old rows are found by the old token, new rows by the new one.
create table blind_index_users (id integer primary key, email encrypt.ciphertext, email_index bytea);
create function pg_temp.add(id integer, email text) returns void language sql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
    insert into blind_index_users
    values (id, encrypt.encrypt_column(email, 'blind_index', 'users.email', id::text),
            encrypt.blind_index(email, 'blind_index', 'users.email'))
$$;
create function pg_temp.search(email text) returns text language sql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
    select string_agg(id || ' ' || encrypt.decrypt_column(u.email, 'users.email', id::text), ', ' order by id)
    from blind_index_users u
    where u.email_index = any (encrypt.blind_index_all(search.email, 'blind_index', 'users.email'))
$$;
create index on blind_index_users (email_index);
select count(pg_temp.add(id, 'user' || id || '@example.com')) from generate_series(1, 500) id;
select pg_temp.search('USER7@example.com'), pg_temp.search('nobody@example.com');
-- Rotating the data key changes no token.
select encrypt.rotate_key('blind_index') > 0 as rotated;
select pg_temp.search('user7@example.com');
-- Rotating the index key does.
select encrypt.rotate_key('blind_index', 'index') > 0 as rotated;
select pg_temp.add(1007, 'user7@example.com');
select pg_temp.search('user7@example.com');
select get_byte(email_index, 0) as version, count(*) from blind_index_users group by 1 order by 1;
select array_length(tokens, 1) as tokens, get_byte(tokens[1], 0) as active_first, get_byte(tokens[2], 0) as then
from (select encrypt.blind_index_all('x', 'blind_index') as tokens) s;
-- The old version is taken back: it is active, the newer one is still searched.
select encrypt.activate_key(key_id) from encrypt.keys where name = 'blind_index' and purpose = 'index' and version = 1;
select pg_temp.search('user7@example.com'), get_byte(encrypt.blind_index('x', 'blind_index'), 0) as version;
-- A retired version is no longer searched.
select encrypt.retire_key(key_id) from encrypt.keys where name = 'blind_index' and purpose = 'index' and version = 2;
select pg_temp.search('user7@example.com');

-- The version's byte counts modulo 256: tokens of version 257 begin as those of version 1.
set jit = off;
do $$
begin
    for version in 2..257 loop
        perform encrypt.rotate_key('blind_index other', 'index');
    end loop;
end $$;
reset jit;
select version, get_byte(encrypt.blind_index('x', 'blind_index other'), 0) as byte,
       array_length(encrypt.blind_index_all('x', 'blind_index other'), 1) as searched
from encrypt.keys where name = 'blind_index other' and purpose = 'index' and state = 'active';

-- Plans: the tokens are computed once, and the index is used.
set plan_cache_mode = auto;
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_indexscan = on;
explain (costs off)
select id from blind_index_users where email_index = any (encrypt.blind_index_all('user7@example.com', 'blind_index'));

drop table blind_index_users;
