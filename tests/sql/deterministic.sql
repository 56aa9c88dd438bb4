-- Deterministic values: equal where plaintext, key, context and row are equal, and only there; usable for uniqueness and
-- joins; said aloud once per session.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key(name) > 0 as created from unnest(array['deterministic', 'deterministic other']) name;
reset client_min_messages;

-- In one process, because every session, and every parallel worker, warns once.
set max_parallel_workers_per_gather = 0;
select encrypt.encrypt_deterministic(null::text, 'deterministic') is null as no_warning;
select encrypt.decrypt_column(encrypt.encrypt_deterministic('first', 'deterministic')) as warning;
select encrypt.decrypt_column(encrypt.encrypt_deterministic('second', 'deterministic')) as no_warning;
reset max_parallel_workers_per_gather;
set client_min_messages = error;

create table deterministic_values (n serial primary key, what text, e encrypt.ciphertext);
insert into deterministic_values (what, e) values
    ('text', encrypt.encrypt_deterministic('alice', 'deterministic')),
    ('text again', encrypt.encrypt_deterministic('alice', 'deterministic')),
    ('upper case', encrypt.encrypt_deterministic('Alice', 'deterministic')),
    ('bytea', encrypt.encrypt_deterministic('alice'::bytea, 'deterministic')),
    ('context', encrypt.encrypt_deterministic('alice', 'deterministic', context => 'users')),
    ('other context', encrypt.encrypt_deterministic('alice', 'deterministic', context => 'orders')),
    ('row', encrypt.encrypt_deterministic('alice', 'deterministic', row_id => '1')),
    ('other row', encrypt.encrypt_deterministic('alice', 'deterministic', row_id => '2')),
    ('other key', encrypt.encrypt_deterministic('alice', 'deterministic other')),
    ('empty', encrypt.encrypt_deterministic('', 'deterministic')),
    ('integer', encrypt.encrypt_deterministic(7, 'deterministic')),
    ('smallint', encrypt.encrypt_deterministic(7::smallint, 'deterministic')),
    ('numeric', encrypt.encrypt_deterministic(7.0, 'deterministic'));
-- Which are equal to an earlier one, and the bytes that are added (always 22).
select what, (select min(m.what) from deterministic_values m where m.e operator(encrypt.*=) v.e and m.n < v.n) as equal_to,
       length(e::bytea) - case when what in ('integer', 'smallint') then 8 when what = 'empty' then 0
                               when what = 'numeric' then 3 else 5 end as added
from deterministic_values v order by n;
select what, encrypt.decrypt_column(e, case what when 'context' then 'users' when 'other context' then 'orders' else '' end,
                                    case what when 'row' then '1' when 'other row' then '2' else '' end) as value
from deterministic_values where what <> 'bytea' order by n;

-- Longer values, other types: the same each time, and back.
select count(*) filter (where a operator(encrypt.*=) b and encrypt.decrypt_column(a) = v) as same, count(*)
from (select v, encrypt.encrypt_deterministic(v, 'deterministic') as a, encrypt.encrypt_deterministic(v, 'deterministic') as b
      from (select repeat(md5(n::text), n / 32 + 1) as v from generate_series(0, 5000, 50) n) s offset 0) s;
select encrypt.decrypt_as(encrypt.encrypt_deterministic('2024-02-29'::date, 'deterministic'), null::date) = '2024-02-29' as date;

-- A unique index finds duplicates; a join finds partners.
create table deterministic_users (email encrypt.ciphertext unique);
\set VERBOSITY sqlstate
insert into deterministic_users values (encrypt.encrypt_deterministic('alice', 'deterministic'));
insert into deterministic_users values (encrypt.encrypt_deterministic('alice', 'deterministic'));
insert into deterministic_users values (encrypt.encrypt_deterministic('bob', 'deterministic'))
on conflict (email) do nothing;
insert into deterministic_users values (encrypt.encrypt_deterministic('bob', 'deterministic'))
on conflict (email) do nothing;
\set VERBOSITY default
select count(*) from deterministic_users;
select count(*) from deterministic_users u join deterministic_values v on u.email operator(encrypt.*=) v.e;

-- Compression would tell more about content than equality does: never used.
set pg_encrypt.compress = on;
select length(encrypt.encrypt_deterministic(repeat('x', 10000), 'deterministic')::bytea);
reset pg_encrypt.compress;

-- After a rotation equal values differ from earlier ones, and earlier ones still decrypt.
select encrypt.rotate_key('deterministic') > 0 as rotated;
select count(*) from deterministic_values where e operator(encrypt.*=) encrypt.encrypt_deterministic('alice', 'deterministic');
select encrypt.decrypt_column(e) from deterministic_values where what = 'text';

drop table deterministic_values, deterministic_users;
