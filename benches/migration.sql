-- Dual write: what statements cost on a table that migrates, against one that does not and one with a PL/pgSQL trigger that
-- copies rows as they are. Then the backfill, against one INSERT ... SELECT into the same tables, and the cutover.

set client_min_messages = warning;
select encrypt.create_key('migration');
select encrypt.grant_key('migration', 'postgres', 'encrypt', 'decrypt', 'search');

-- As applications have it: a primary key, a text, two values to encrypt, one of them indexed.
create table bench.people as
    select i::bigint as id, 'Customer ' || i as name, 'user' || i || '@example.com' as email, lpad(i::text, 9, '0') as ssn
    from generate_series(1, :rows) as i order by md5(i::text);
create table bench.plain (id bigint primary key, name text, email text, ssn text);
create index on bench.plain (email);
create table bench.copied (like bench.plain including all);
create table bench.copy (like bench.plain including all);
create table bench.encrypted (like bench.plain including all);

create function bench.copy_row() returns trigger
    language plpgsql as $$
begin
    case tg_op
    when 'INSERT' then
        insert into bench.copy values (new.id, new.name, new.email, new.ssn);
    when 'UPDATE' then
        update bench.copy set id = new.id, name = new.name, email = new.email, ssn = new.ssn where id = old.id;
    else
        delete from bench.copy where id = old.id;
    end case;
    return null;
end
$$;
create trigger copy after insert or update or delete on bench.copied for each row execute function bench.copy_row();
select encrypt.start_migration('bench.encrypted', '{email, ssn}', key => 'migration', search => '{email}');

-- Bulk, by the time on a processor.
call bench.compare('dual write, INSERT ... SELECT', 'insert into bench.%s select * from bench.people', :rows, 3, :rounds,
                   before => 'truncate bench.%s');
select format('%L', current_setting('data_directory') || '/bench_people.copy') as file \gset
copy bench.people to :file;
call bench.compare('dual write, COPY', format('copy bench.%%s from %L', :file), :rows, 3, :rounds,
                   before => 'truncate bench.%s');

-- Single rows, by the clock, with commits that wait for the disk: in tables that have rows already.
truncate bench.plain, bench.encrypted;
insert into bench.plain select -id, name, email, ssn from bench.people;
insert into bench.copied select * from bench.plain;
insert into bench.encrypted select * from bench.plain;
vacuum (analyze) bench.plain, bench.copied, bench.copy, bench.encrypted;
vacuum (analyze) bench.encrypted_encrypted;
alter system set fsync = on;
alter system set synchronous_commit = on;
select pg_reload_conf();
checkpoint;
\set one `:benches/interleaved :server_bin :DBNAME 1 $((:few_rows * :rounds)) bench.plain bench.copied bench.encrypted <:benches/single_writes.pgbench`
\set four `:benches/interleaved :server_bin :DBNAME 4 $((4 * :few_rows * :rounds)) bench.plain bench.copied bench.encrypted <:benches/single_writes.pgbench`

-- What an application does, with one table of four that migrates, and the column that changes encrypted.
create schema bench_plain;
create schema bench_encrypted;
\set scale `echo $((:rows > 100000 ? :rows / 100000 : 1))`
\set made `:benches/standard_transaction tables :server_bin :DBNAME :scale bench_plain bench_encrypted`
select encrypt.start_migration('bench_encrypted.pgbench_accounts', '{abalance}', key => 'migration');
call encrypt.backfill(2);
checkpoint;
\set standard_one `:benches/standard_transaction script :server_bin :scale | :benches/interleaved :server_bin :DBNAME 1 $((2 * :few_rows * :rounds)) bench_plain bench_encrypted`
\set standard_four `:benches/standard_transaction script :server_bin :scale | :benches/interleaved :server_bin :DBNAME 4 $((4 * :few_rows * :rounds)) bench_plain bench_encrypted`
call encrypt.rollback_migration(2);
call encrypt.rollback_migration(1);
alter system reset fsync;
alter system reset synchronous_commit;
select pg_reload_conf();
insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
select format('dual write, pgbench''s standard transaction, %s', w.clients), n.ns[2], n.ns[1], 1 / 0.9, 'times'
from (values (1, '1 client', :'standard_one'), (2, '4 clients', :'standard_four')) w (ord, clients, text),
     lateral (select string_to_array(trim(w.text), ' ')::numeric[]) n (ns)
order by w.ord;
insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
select format('dual write, single rows, %s, against %s', w.clients, o.peer), n.ns[3] / 3, n.ns[o.position] / 3, o.at_most, 'times'
from (values (1, '1 client', :'one'), (2, '4 clients', :'four')) w (ord, clients, text),
     (values (1, 'no trigger', 1 / 0.77), (2, 'a PL/pgSQL trigger', 1.0)) o (position, peer, at_most),
     lateral (select string_to_array(trim(w.text), ' ')::numeric[]) n (ns)
order by w.ord, o.position;

-- Backfill and cutover: tables anew for each time.
create function bench.migration() returns integer language sql as 'select max(migration_id) from encrypt.migrations';

truncate bench.plain;
insert into bench.plain select * from bench.people;
vacuum (freeze, analyze) bench.plain;
select statement from generate_series(0, least(:rounds, 3)) as round
cross join lateral (values
    (1, 'select encrypt.start_migration(''bench.plain'', ''{email, ssn}'', key => ''migration'', search => ''{email}'')'),
    (2, 'checkpoint'),
    (3, format('select bench.begin_time(%s, ''encrypted'')', round)),
    (4, 'call encrypt.backfill(bench.migration())'),
    (5, format('select bench.end_time(%s, ''encrypted'')', round)),
    (6, 'call encrypt.rollback_migration(bench.migration())'),
    (7, 'truncate bench.copy'),
    (8, 'checkpoint'),
    (9, format('select bench.begin_time(%s, ''plain'')', round)),
    (10, 'insert into bench.copy select * from bench.plain'),
    (11, format('select bench.end_time(%s, ''plain'')', round))) as s (n, statement)
order by round, n
\gexec
insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
select 'backfill, against INSERT ... SELECT',
       percentile_cont(0.5) within group (order by cpu_ns) filter (where side = 'encrypted') / :rows,
       percentile_cont(0.5) within group (order by cpu_ns) filter (where side = 'plain') / :rows, 2, 'times'
from bench.durations where round > 0;

-- By the clock, so that it says something on an idle machine only.
select statement from unnest(array[1, 2]) as workers
cross join lateral (values
    (1, 'select encrypt.start_migration(''bench.plain'', ''{email, ssn}'', key => ''migration'', search => ''{email}'')'),
    (2, 'checkpoint'),
    (3, format('select bench.begin_time(0, ''workers %s'')', workers)),
    (4, format('select encrypt.start_workers(encrypt.start_backfill(bench.migration()), %s)', workers)),
    (5, 'call bench.wait_for_job()'),
    (6, format('select bench.end_time(0, ''workers %s'')', workers)),
    (7, case workers when 1 then 'call encrypt.rollback_migration(bench.migration())'
                     else 'call encrypt.verify(bench.migration())' end)) as s (n, statement)
order by workers, n
\gexec
insert into bench.facts (fact, measured, unit, at_most)
select 'backfill: time of two workers by that of one',
       max(seconds) filter (where side = 'workers 2') / max(seconds) filter (where side = 'workers 1'), 'times', 1 / 1.6
from bench.durations;

-- As an application sees it: the longest that a statement on the table took while it was cut over.
select bench.migration() as migration \gset
\set longest `:benches/longest_statement :server_bin :DBNAME "select name from bench.plain where id = 1" "call encrypt.cutover(":migration")"`
insert into bench.facts (fact, measured, unit, at_most)
values ('cutover: longest statement of a client meanwhile', :longest, 'ms', 100);

-- The same with 50 partitions: there are as many tables and indexes to exchange.
create table bench.parted (like bench.copy including all) partition by range (id);
select format('create table bench.parted_%s partition of bench.parted for values from (%s) to (%s)', n, n * :rows / 50, (n + 1) * :rows / 50)
from generate_series(0, 50) n
\gexec
insert into bench.parted select * from bench.people;
analyze bench.parted;
select encrypt.start_migration('bench.parted', '{email, ssn}', key => 'migration', search => '{email}') as migration \gset
call encrypt.backfill(:migration);
call encrypt.verify(:migration);
\set longest `:benches/longest_statement :server_bin :DBNAME "select name from bench.parted where id = 1" "call encrypt.cutover(":migration")"`
insert into bench.facts (fact, measured, unit, at_most)
values ('cutover of 50 partitions: longest statement of a client meanwhile', :longest, 'ms', 100);
