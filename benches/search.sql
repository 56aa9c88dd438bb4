-- Blind-index tokens, against pgcrypto's hmac, which takes the value as it is: no normalization, no key by name, no
-- privilege.

\set hmac 'hmac(bytes, ''\\xb0b1b2b3b4b5b6b7b8b9babbbcbdbebfb0b1b2b3b4b5b6b7b8b9babbbcbdbebf'', ''sha256'')'

select encrypt.create_key('search');

create table bench.mail as
    select i, 'user' || i || '@example.com' as value, ('user' || i || '@example.com')::bytea as bytes,
           'User' || i || '@Example.COM ' as spelt, 'Jürgen' || i || '@example.com' as unicode
    from generate_series(1, :rows) as i;
vacuum (freeze, analyze) bench.mail;

select bench.work('blind index, exact', 'bench.mail',
                  'encrypt.blind_index(value, ''search'', '''', ''exact'')', 'value');
select bench.peer('blind index, exact', 'hmac', 'bench.mail', :'hmac', 'bytes', 5);

select bench.work('blind index, casefold, ASCII', 'bench.mail',
                  'encrypt.blind_index(spelt, ''search'')', 'spelt');
select bench.peer('blind index, casefold, ASCII', 'hmac', 'bench.mail', :'hmac', 'bytes', 3);

select bench.work('blind index, casefold, not ASCII', 'bench.mail',
                  'encrypt.blind_index(unicode, ''search'')', 'unicode');

select bench.work('blind index, every live version', 'bench.mail',
                  'encrypt.blind_index_all(value, ''search'')', 'value');
call bench.run(:rounds);

call bench.memory_growth('1,000,000 tokens: memory', 'encrypt.blind_index(i::text, ''search'')', 256);
