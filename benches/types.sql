-- Encrypted types: the same statements on bench.encrypted and on bench.plain, whose columns are text. Rows come in random
-- order of their e-mail addresses, as they do in life; the locale is C.UTF-8, whose comparisons are the fastest.

select encrypt.create_key('types');
select encrypt.create_type('email_enc', key => 'types', searchable => true);
select encrypt.create_type('ssn_enc', key => 'types');
-- Superusers see plaintext only with a grant of their own.
select encrypt.grant_key('types', 'postgres', 'encrypt', 'decrypt', 'search');

-- Every address occurs ten times in `again`, for groups and joins.
create table bench.people as
    select i as id, 'user' || i || '@example.com' as email, lpad(i::text, 9, '0') as ssn,
           'user' || i % (:rows / 10) || '@example.com' as again
    from generate_series(1, :rows) as i order by md5(i::text);
create table bench.encrypted (id integer, email email_enc, ssn ssn_enc, again email_enc, note integer default 0);
create index on bench.encrypted (email email_enc_ops);
create table bench.plain (id integer, email text, ssn text, again text, note integer default 0);
create index on bench.plain (email);
vacuum (freeze, analyze) bench.people;
checkpoint;

call bench.compare('INSERT with two encrypted columns, one indexed',
                   'insert into bench.%s (id, email, ssn) select id, email, ssn from bench.people', :rows, 1.7, :rounds,
                   before => 'truncate bench.%s');

-- From here on without the index: it gives the plain table its order for nothing, which encrypted values don't have.
truncate bench.encrypted, bench.plain;
drop index bench.encrypted_email_idx, bench.plain_email_idx;
insert into bench.encrypted select * from bench.people;
insert into bench.plain select * from bench.people;
create index on bench.encrypted (id);
create index on bench.plain (id);
vacuum (freeze, analyze) bench.encrypted, bench.plain;
checkpoint;

-- Reading and showing what an application shows; and what it costs not to touch the column.
call bench.compare('full scan that shows the column', 'copy (select email from bench.%s) to ''/dev/null''', :rows, 300, :rounds,
                   'ns more');
call bench.compare('full scan of another column', 'copy (select id from bench.%s) to ''/dev/null''', :rows, 1.5, :rounds);

-- Enough memory for both; what spills comes after.
set work_mem = '256MB';
call bench.compare('count(distinct)', 'select count(distinct again) from bench.%s', :rows, 1.2, :rounds);
call bench.compare('GROUP BY', 'select count(*) from (select again from bench.%s group by again) g', :rows, 1.2, :rounds);
call bench.compare('join', 'select count(*) from bench.%s a join bench.%s b on a.email = b.again', :rows, 1.2, :rounds);
call bench.compare('ORDER BY', 'select count(*) from (select 1 from bench.%s order by email offset 0) s', :rows, 4, :rounds);
set work_mem = '4MB';
call bench.compare('join, spills', 'select count(*) from bench.%s a join bench.%s b on a.email = b.again', :rows, 1.2, :rounds);
call bench.compare('ORDER BY, spills', 'select count(*) from (select 1 from bench.%s order by email offset 0) s', :rows, 6,
                   :rounds);
reset work_mem;

-- In place (HOT), because the pages have room. Every row at once shows what wider rows cost, in tables that are made anew, half
-- full, before each; one row per statement is what applications do, in many short turns, as the difference is small.
alter table bench.encrypted set (fillfactor = 45);
alter table bench.plain set (fillfactor = 45);
call bench.compare('UPDATE of another column, every row', 'update bench.%s set note = note + 1', :rows, 1.6, :rounds,
                   before => 'truncate bench.%s; insert into bench.%s select * from bench.people');
vacuum (analyze) bench.encrypted, bench.plain;
call bench.compare('UPDATE of another column, one row per statement',
                   'do $do$ begin for n in 1 .. ' || :rows / 100 || ' loop
                        update bench.%s set note = note + 1 where id = n;
                    end loop; end $do$', :rows / 100, 1.1, 10 * :rounds);

-- By the clock: of client and server together.
create table bench.lookup_encrypted (email email_enc, id integer);
create table bench.lookup_plain (email text, id integer);
insert into bench.lookup_encrypted select (1000000000000000000 + i)::text, i from generate_series(1, 5 * :rows) as i order by md5(i::text);
insert into bench.lookup_plain select (1000000000000000000 + i)::text, i from generate_series(1, 5 * :rows) as i order by md5(i::text);
create index on bench.lookup_encrypted (email email_enc_ops);
create index on bench.lookup_plain (email);
vacuum (freeze, analyze) bench.lookup_encrypted, bench.lookup_plain;
checkpoint;
-- Tables and indexes in shared buffers: else the larger ones would be read from the kernel for most of the time.
select count(id) from bench.lookup_encrypted;
select count(id) from bench.lookup_plain;
set enable_seqscan = off;
select count(*) from bench.lookup_encrypted where email is not null;
select count(*) from bench.lookup_plain where email is not null;
reset enable_seqscan;
\set ns `sed "s/{rows}/$((5 * :rows))/" :benches/point_lookup.pgbench | :benches/interleaved :server_bin :DBNAME 1 $((10000 * :rounds)) bench.lookup_plain bench.lookup_encrypted`
insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
select 'point lookup, pgbench -M prepared, by the clock', ns[2], ns[1], 1 / 0.9, 'times'
from string_to_array(trim(:'ns'), ' ') as text, lateral (select text::numeric[] as ns) n;

-- Values of 3 kB, which a btree can't hold: a hash index on the column, which unchanged statements use, and a btree on
-- the token, which can be unique.
create table bench.long_values as
    select i as id, (select string_agg(md5(i || '.' || j), '') from generate_series(1, 94) as j) as value
    from generate_series(1, :rows / 20) as i;
create table bench.long_encrypted (id integer, value email_enc);
create table bench.long_plain (id integer, value text);
insert into bench.long_encrypted select * from bench.long_values;
insert into bench.long_plain select * from bench.long_values;
do $$
begin
    create index on bench.long_encrypted (value email_enc_ops);
    raise exception 'a btree holds values of 3 kB';
exception when program_limit_exceeded then
    null;
end
$$;
create index by_hash on bench.long_encrypted using hash (value);
create index on bench.long_plain using hash (value);
create index by_token on bench.long_encrypted (encrypt.token(value));
vacuum (freeze, analyze) bench.long_values, bench.long_encrypted, bench.long_plain;
-- A lookup for each of the values.
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
call bench.compare('point lookup of 3 kB by hash index', 'select count(*) from bench.long_values v,
                   lateral (select from bench.long_%s t where t.value = v.value offset 0) found', :rows / 20, 1.5, :rounds);
insert into bench.facts (fact, measured, unit, at_most)
select 'a value of 3 kB by hash index: size of the index', pg_relation_size('bench.by_hash') / (:rows / 20.0), 'bytes', 64
union all
select 'a value of 3 kB by token: size of the index', pg_relation_size('bench.by_token') / (:rows / 20.0), 'bytes', 64;
