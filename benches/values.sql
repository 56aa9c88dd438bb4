-- Encrypting and decrypting values, against the ways that pgcrypto offers:
--   aes                raw AES-256-CBC with a fixed IV: altered bytes go unnoticed, equal values look equal
--   aes and hmac       random IV, AES, HMAC over the result: three calls for what pg_encrypt does in one
--   pgp_sym_encrypt    OpenPGP with its defaults, on fewer rows because it is so slow
-- Putting IV, ciphertext and MAC together and taking them apart again is left out: it would slow the peer down.

\set aes_key '''\\xa0a1a2a3a4a5a6a7a8a9aaabacadaeafa0a1a2a3a4a5a6a7a8a9aaabacadaeaf'''
\set mac_key '''\\xb0b1b2b3b4b5b6b7b8b9babbbcbdbebfb0b1b2b3b4b5b6b7b8b9babbbcbdbebf'''
\set aes 'encrypt(bytes, ' :aes_key ', ''aes'')'
\set aes_and_hmac 'hmac(encrypt_iv(bytes, ' :aes_key ', gen_random_bytes(16), ''aes''), ' :mac_key ', ''sha256'')'
\set pgp 'pgp_sym_encrypt(value, ''correct horse battery staple'')'

select encrypt.create_key('default');

create table bench.plain_9 as
    select i, lpad(i::text, 9, '0') as value, lpad(i::text, 9, '0')::bytea as bytes
    from generate_series(1, :rows) as i;
create table bench.plain_50 as
    select i, lpad(i::text, 50, 'x') as value, lpad(i::text, 50, 'x')::bytea as bytes
    from generate_series(1, :rows) as i;
create table bench.plain_few as
    select * from bench.plain_9 order by i limit :few_rows;
create table bench.plain_few_50 as
    select * from bench.plain_50 order by i limit :few_rows;
vacuum (freeze, analyze) bench.plain_9, bench.plain_50, bench.plain_few, bench.plain_few_50;

select bench.work('encrypt 9 bytes', 'bench.plain_9', 'encrypt.encrypt_column(value)', 'value');
select bench.peer('encrypt 9 bytes', 'aes', 'bench.plain_9', :'aes', 'bytes', 4);
select bench.peer('encrypt 9 bytes', 'aes and hmac', 'bench.plain_9', :'aes_and_hmac', 'bytes', 14);
select bench.peer('encrypt 9 bytes', 'pgp_sym_encrypt', 'bench.plain_few', :'pgp', 'value', 400);

select bench.work('encrypt 50 bytes', 'bench.plain_50', 'encrypt.encrypt_column(value)', 'value');
select bench.peer('encrypt 50 bytes', 'aes', 'bench.plain_50', :'aes', 'bytes', 3);
select bench.peer('encrypt 50 bytes', 'aes and hmac', 'bench.plain_50', :'aes_and_hmac', 'bytes', 10);
select bench.peer('encrypt 50 bytes', 'pgp_sym_encrypt', 'bench.plain_few_50', :'pgp', 'value', 350);

select bench.work('encrypt 9 bytes for a column and row', 'bench.plain_9',
                  'encrypt.encrypt_column(value, ''default'', ''users.ssn'', value)', 'value');
call bench.run(:rounds);

-- Values as a bulk load leaves them: 65,536 of them share a nonce epoch, so their key is derived once.
create table bench.sealed_9 as
    select i, encrypt.encrypt_column(value) as value from bench.plain_9;
-- Values as an application leaves them: every transaction has an epoch of its own.
create table bench.sealed_singly (i integer, value encrypt.ciphertext);
do $$
begin
    for n in 1 .. (select count(*) from bench.plain_9) loop
        insert into bench.sealed_singly values (n, encrypt.encrypt_column(lpad(n::text, 9, '0')));
        commit;
    end loop;
end
$$;
vacuum (freeze, analyze) bench.sealed_9, bench.sealed_singly;

\if :have_pgcrypto
create table bench.aes_9 as
    select i, encrypt(bytes, :aes_key, 'aes') as bytes from bench.plain_9;
create table bench.aes_and_hmac_9 as
    select i, iv, bytes, hmac(bytes, :mac_key, 'sha256') as mac
    from (select i, iv, encrypt_iv(bytes, :aes_key, iv, 'aes') as bytes
          from (select i, bytes, gen_random_bytes(16) as iv from bench.plain_9 offset 0) as ivs offset 0) as encrypted;
create table bench.pgp_9 as
    select i, pgp_sym_encrypt(value, 'correct horse battery staple') as bytes from bench.plain_few;
vacuum (freeze, analyze) bench.aes_9, bench.aes_and_hmac_9, bench.pgp_9;
\endif

\set aes 'decrypt(bytes, ' :aes_key ', ''aes'')'
\set hmac_and_aes 'case when hmac(bytes, ' :mac_key ', ''sha256'') = mac then decrypt_iv(bytes, ' :aes_key ', iv, ''aes'') end'
\set pgp 'pgp_sym_decrypt(bytes, ''correct horse battery staple'')'

select bench.work('decrypt 9 bytes, loaded in bulk', 'bench.sealed_9', 'encrypt.decrypt_column(value)', 'value');
select bench.peer('decrypt 9 bytes, loaded in bulk', 'aes', 'bench.aes_9', :'aes', 'bytes', 4);
select bench.peer('decrypt 9 bytes, loaded in bulk', 'hmac and aes', 'bench.aes_and_hmac_9', :'hmac_and_aes', 'mac', 9);
select bench.peer('decrypt 9 bytes, loaded in bulk', 'pgp_sym_decrypt', 'bench.pgp_9', :'pgp', 'bytes');

select bench.work('decrypt 9 bytes, inserted singly', 'bench.sealed_singly', 'encrypt.decrypt_column(value)', 'value');
select bench.peer('decrypt 9 bytes, inserted singly', 'aes', 'bench.aes_9', :'aes', 'bytes', 2);
call bench.run(:rounds);

-- Not read from a table: fetching it from TOAST takes as long as encrypting it, and is not our subject.
\set megabyte 'repeat(''0123456789abcdef'', 65536)::bytea'
\set hundred ' offset 0) as one, generate_series(1, 100)'
\set plain '(select ' :megabyte ' as bytes' :hundred
\set sealed '(select encrypt.encrypt_column(' :megabyte ') as value' :hundred
\set aes_sealed '(select encrypt(' :megabyte ', ' :aes_key ', ''aes'') as bytes' :hundred

\set aes 'encrypt(bytes, ' :aes_key ', ''aes'')'
select bench.work('encrypt 1 MB', :'plain', 'encrypt.encrypt_column(bytes)', 'bytes');
select bench.peer('encrypt 1 MB', 'aes', :'plain', :'aes', 'bytes', 2);

\set aes 'decrypt(bytes, ' :aes_key ', ''aes'')'
select bench.work('decrypt 1 MB', :'sealed', 'encrypt.decrypt_bytes(value)', 'value');
select bench.peer('decrypt 1 MB', 'aes', :'aes_sealed', :'aes', 'bytes');
call bench.run(:rounds);

create table bench.sealed_50 as
    select i, encrypt.encrypt_column(value) as value from bench.plain_50;
create table bench.bare_9 as select i, value from bench.plain_9;
create table bench.bare_50 as select i, value from bench.plain_50;
insert into bench.facts (fact, measured, unit, at_most)
select '9 bytes encrypted: larger value', (select avg(pg_column_size(value)) from bench.sealed_9)
                                        - (select avg(pg_column_size(value)) from bench.bare_9), 'bytes', 40
union all
select '50 bytes encrypted: larger value', (select avg(pg_column_size(value)) from bench.sealed_50)
                                         - (select avg(pg_column_size(value)) from bench.bare_50), 'bytes', 40
union all
-- A page holds a whole number of rows, each aligned to 8 bytes: hence one step of alignment more.
select '9 bytes encrypted: larger table, per row',
       round((pg_relation_size('bench.sealed_9') - pg_relation_size('bench.bare_9'))::numeric / :rows, 1), 'bytes', 48
union all
select '50 bytes encrypted: larger table, per row',
       round((pg_relation_size('bench.sealed_50') - pg_relation_size('bench.bare_50'))::numeric / :rows, 1), 'bytes', 48;
call bench.memory_growth('encrypt and decrypt 1,000,000 values: memory', 'encrypt.decrypt_column(encrypt.encrypt_column(i::text))', 256);
