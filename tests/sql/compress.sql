-- pg_encrypt.compress: off by default, because the length of a compressed value tells something about its content; only
-- for values above 1,024 bytes, and only where it saves an eighth.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('compress') > 0 as created;
reset client_min_messages;

create function pg_temp.random_text(n integer) returns text language sql immutable as
$$ select left(string_agg(md5('compress' || i::text), ''), n) from generate_series(0, n / 32) i $$;
create table compress_values (n serial, what text, v text, e encrypt.ciphertext);
insert into compress_values (what, v) values
    ('1,024 bytes', repeat('x', 1024)), ('1,025 bytes', repeat('x', 1025)),
    ('1,025 characters of two bytes', repeat(unistr('\00e9'), 1025)),
    ('barely compressible', pg_temp.random_text(2000)), ('half compressible', pg_temp.random_text(2000) || repeat('x', 2000)),
    ('1 MB', repeat('0123456789abcdef', 65536));

show pg_encrypt.compress;
update compress_values set e = encrypt.encrypt_column(v, 'compress');
select what, (get_byte(e::bytea, 1) & 1)::boolean as compressed, length(e::bytea) - octet_length(v) as added,
       encrypt.decrypt_column(e) = v as same
from compress_values order by n;

set pg_encrypt.compress = on;
update compress_values set e = encrypt.encrypt_column(v, 'compress');
select what, (get_byte(e::bytea, 1) & 1)::boolean as compressed, length(e::bytea) < octet_length(v) * 7 / 8 + 40 as shorter,
       encrypt.decrypt_column(e) = v as same
from compress_values order by n;
-- Bytes and other types too.
select (get_byte(e::bytea, 1) & 1)::boolean as compressed, length(e::bytea) < 200 as shorter, encrypt.decrypt_bytes(e) = v as same
from (select v, encrypt.encrypt_column(v, 'compress') as e from (select decode(repeat('00', 10000), 'hex') as v) s offset 0) s;
select (get_byte(e::bytea, 1) & 1)::boolean as compressed, encrypt.decrypt_as(e, null::integer[]) = v as same
from (select v, encrypt.encrypt_column(v, 'compress') as e from (select array_fill(1, array[5000]) as v) s offset 0) s;

-- Reading needs no setting.
set pg_encrypt.compress = off;
select count(*) filter (where encrypt.decrypt_column(e) = v) as same, count(*) from compress_values;
-- The flag is authenticated.
\set VERBOSITY sqlstate
select encrypt.decrypt_column(set_bit(e::bytea, 8, 1 - get_bit(e::bytea, 8))::encrypt.ciphertext) is null
from compress_values where what = '1,025 bytes';
select encrypt.decrypt_column(set_bit(e::bytea, 8, 1 - get_bit(e::bytea, 8))::encrypt.ciphertext) is null
from compress_values where what = '1,024 bytes';
\set VERBOSITY default

drop table compress_values;
