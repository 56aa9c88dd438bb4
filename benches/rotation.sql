-- Re-encryption of two columns as a job, against a plain UPDATE of two bytea columns of the same size in the same batches;
-- by two workers against one; and what clients get done meanwhile. Tables are made anew for each time: an UPDATE leaves dead rows
-- behind.

select encrypt.create_key('rotation');

-- As an application has it: a primary key, a text, two values of 16 to 40 bytes and their indexes' kind of weight.
create function bench.make_tables(row_count integer) returns void
    language plpgsql as $$
begin
    drop table if exists bench.encrypted, bench.plain;
    create table bench.encrypted (id integer primary key, name text, a encrypt.ciphertext, b encrypt.ciphertext);
    perform encrypt.register_column('bench.encrypted', 'a', key => 'rotation', context => 'a'),
            encrypt.register_column('bench.encrypted', 'b', key => 'rotation', context => 'b');
    insert into bench.encrypted
    select i, 'Customer ' || i, encrypt.encrypt_column('user' || i || '@example.com', 'rotation', 'a'),
           encrypt.encrypt_column('078-05-1120-078-05-1120' || i, 'rotation', 'b')
    from generate_series(1, row_count) as i;
    create table bench.plain (id integer primary key, name text, a bytea, b bytea);
    insert into bench.plain select id, name, a::bytea, b::bytea from bench.encrypted;
end
$$;

-- Another value of the same size in each column, in batches of as many blocks as a job takes; of the whole table, or of one
-- of several parts of it.
create procedure bench.update_plain(batch_rows integer, part integer default 0, parts integer default 1)
    language plpgsql as $$
declare
    blocks constant bigint := pg_relation_size('bench.plain') / current_setting('block_size')::bigint;
    batch  constant bigint := greatest(1, batch_rows / ((select reltuples from pg_class where oid = 'bench.plain'::regclass) / blocks));
    ending constant bigint := blocks * (part + 1) / parts;
begin
    for low in blocks * part / parts .. ending - 1 by batch loop
        update only bench.plain set a = set_byte(a, 10, 255 - get_byte(a, 10)), b = set_byte(b, 10, 255 - get_byte(b, 10))
        where ctid >= format('(%s,0)', low)::tid and ctid < format('(%s,0)', least(low + batch, ending))::tid;
        commit;
    end loop;
end
$$;

set client_min_messages = warning;
select statement from generate_series(0, least(:rounds, 3)) as round
cross join lateral (values
    (1, format('select bench.make_tables(%s)', :rows)),
    (2, 'vacuum (freeze, analyze) bench.encrypted, bench.plain'),
    (3, 'checkpoint'),
    (4, 'select encrypt.rotate_key(''rotation'')'),
    (5, format('select encrypt.start_reencryption(''rotation''), bench.begin_time(%s, ''encrypted'')', round)),
    (6, 'call encrypt.run_job(bench.last_job())'),
    (7, format('select bench.end_time(%s, ''encrypted'')', round)),
    (8, 'checkpoint'),
    (9, format('select bench.begin_time(%s, ''plain'')', round)),
    (10, 'call bench.update_plain(5000)'),
    (11, format('select bench.end_time(%s, ''plain'')', round))) as s (n, statement)
order by round, n
\gexec

insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
select 're-encrypt two columns in batches',
       percentile_cont(0.5) within group (order by cpu_ns) filter (where side = 'encrypted') / :rows,
       percentile_cont(0.5) within group (order by cpu_ns) filter (where side = 'plain') / :rows, 1.5, 'times'
from bench.durations where round > 0;

insert into bench.facts (fact, measured, unit, at_most)
select 're-encryption: one backend, per 1,000,000 rows',
       percentile_cont(0.5) within group (order by seconds) * 1000000 / :rows, 's', 60
from bench.durations where side = 'encrypted' and round > 0;

-- By the clock, so that it says something on an idle machine only. How the UPDATE is divided by two sessions tells what the
-- machine gives at most.
select least(:rounds, 5) as few_rounds \gset
\set seconds `:benches/rotations processes :server_bin :DBNAME :rows :few_rounds`
insert into bench.facts (fact, measured, unit, at_most)
select w.fact, n.seconds[w.place + 1] / n.seconds[w.place], 'times', w.at_most
from (values (1, 're-encryption: time of two workers by that of one', 1 / 1.6),
             (3, 'plain UPDATE: time of two sessions by that of one', 'infinity')) w (place, fact, at_most),
     (select string_to_array(:'seconds', ' ')::numeric[] as seconds) n
order by w.place;
\set per_second `:benches/rotations clients :server_bin :DBNAME :rows :few_rounds`
insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
select 'an UPDATE and a lookup by each of four clients meanwhile', 1e9 / n.per_second[1], 1e9 / n.per_second[2], 1.0, 'times'
from (select string_to_array(:'per_second', ' ')::numeric[] as per_second) n;
