-- reencrypt_column: to the active version of the same key, or to another key. Everything but the key stays.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key(name) > 0 as created from unnest(array['reencrypt', 'reencrypt other']) name;

create table reencrypt_values (n serial primary key, what text, context text default '', row_id text default '',
                               e encrypt.ciphertext);
set pg_encrypt.compress = on;
insert into reencrypt_values (what, context, row_id, e) values
    ('text', '', '', encrypt.encrypt_column('text', 'reencrypt')),
    ('empty', '', '', encrypt.encrypt_column('', 'reencrypt')),
    ('bytes', '', '', encrypt.encrypt_column('\x616263'::bytea, 'reencrypt')),
    ('integer', '', '', encrypt.encrypt_column(42, 'reencrypt')),
    ('bound', 'ctx', '7', encrypt.encrypt_column('bound', 'reencrypt', 'ctx', '7')),
    ('compressed', '', '', encrypt.encrypt_column(repeat('compressed ', 1000), 'reencrypt')),
    ('deterministic', 'ctx', '', encrypt.encrypt_deterministic('deterministic', 'reencrypt', 'ctx')),
    ('null', '', '', null);
reset pg_encrypt.compress;

-- Under the active version already: the same bytes, without another look at them.
select count(*) filter (where encrypt.reencrypt_column(e, null, context, row_id) operator(encrypt.*=) e) as unchanged,
       count(*) filter (where encrypt.reencrypt_column(e, 'reencrypt', context, row_id) operator(encrypt.*=) e) as unchanged,
       count(e) as "of"
from reencrypt_values;

-- After a rotation: another key id, the same type, binding, format and length, the same value.
select encrypt.rotate_key('reencrypt') > 0 as rotated;
create temp table moved as
select *, encrypt.reencrypt_column(e, null, context, row_id) as m from reencrypt_values;
select what, encrypt.key_id(e) <> encrypt.key_id(m) as moved,
       (select version from encrypt.keys k where k.key_id = encrypt.key_id(m)) as version,
       get_byte(e::bytea, 0) = get_byte(m::bytea, 0) as format, get_byte(e::bytea, 1) = get_byte(m::bytea, 1) as flags,
       length(e::bytea) = length(m::bytea) as length,
       encrypt.decrypt_bytes(e, context, row_id) = encrypt.decrypt_bytes(m, context, row_id) as value
from moved order by n;

-- To another key by name.
select what, (select name from encrypt.keys k where k.key_id = encrypt.key_id(o)) as key,
       encrypt.decrypt_bytes(e, context, row_id) = encrypt.decrypt_bytes(o, context, row_id) as value
from (select *, encrypt.reencrypt_column(e, 'reencrypt other', context, row_id) as o from moved offset 0) s order by n;

-- A value that does not authenticate is not moved.
\set VERBOSITY sqlstate
select encrypt.reencrypt_column(e, null, 'other context') is null from reencrypt_values where what = 'text';
select encrypt.reencrypt_column(e, null, 'ctx', '8') is null from reencrypt_values where what = 'bound';
select encrypt.reencrypt_column(set_bit(e::bytea, 200, 1 - get_bit(e::bytea, 200))::encrypt.ciphertext) is null
from reencrypt_values where what = 'text';
-- A key that is not there; a value whose key is not there.
select encrypt.reencrypt_column(e, 'reencrypt missing') is null from reencrypt_values where what = 'text';
select encrypt.reencrypt_column(overlay(e::text placing '7fffffff' from 7)::encrypt.ciphertext) is null
from reencrypt_values where what = 'text';
\set VERBOSITY default

-- Moving takes decrypt for the old key and encrypt for the new one, or deterministic for deterministic values, whatever
-- the values before were.
create role regress_reencrypt;
grant select on reencrypt_values to regress_reencrypt;
-- Helpers run many statements: without compiling each, and without starting workers for each.
create function pg_temp.move(which text[]) returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    moved bigint;
begin
    select count(encrypt.reencrypt_column(e, 'reencrypt other', context, row_id)) into moved
    from (select * from reencrypt_values where what = any (which) order by n) s;
    return moved;
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
set role regress_reencrypt;
select pg_temp.move('{text}');
reset role;
select encrypt.grant_key('reencrypt other', 'regress_reencrypt', 'encrypt');
set role regress_reencrypt;
select pg_temp.move('{text}');
reset role;
select encrypt.grant_key('reencrypt', 'regress_reencrypt', 'decrypt');
set role regress_reencrypt;
select pg_temp.move('{text}');
select pg_temp.move('{deterministic}');
select pg_temp.move('{text,deterministic}');
reset role;
select encrypt.grant_key('reencrypt other', 'regress_reencrypt', 'deterministic');
set role regress_reencrypt;
select pg_temp.move('{text,deterministic}');
reset role;
select encrypt.revoke_key('reencrypt other', 'regress_reencrypt', 'encrypt');
set role regress_reencrypt;
select pg_temp.move('{deterministic}');
select pg_temp.move('{deterministic,text,bytes}');
select pg_temp.move('{bytes,deterministic}');
reset role;
select encrypt.revoke_key('reencrypt', 'regress_reencrypt', 'decrypt');
select encrypt.revoke_key('reencrypt other', 'regress_reencrypt', 'deterministic');
reset client_min_messages;

drop table reencrypt_values;
drop role regress_reencrypt;
