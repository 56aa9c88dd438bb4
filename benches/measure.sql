-- Shared by every benchmark: declares what is compared, runs it, and reports.
--
-- A topic (values.sql, search.sql, ...) fills tables of schema bench, then says what to compare:
--
--   select bench.work('encrypt 9 bytes', source, expression, reads)   our side, and what it reads
--   select bench.peer('encrypt 9 bytes', 'pgcrypto aes', expression, reads, goal)
--   call bench.run()
--
-- A side's cost is the time of `select count(EXPRESSION) from SOURCE` minus the time of `select count(READS) from
-- SOURCE`, per row: what the function costs beyond the bare scan that reads its argument. All statements of one work
-- take turns, so that a machine that gets slower or faster meanwhile does so for everybody; reported are medians.

create schema bench;

create table bench.statements (
    work       text not null,
    side       text not null,
    part       text not null check (part in ('expression', 'scan')),
    statement  text not null,
    row_count  bigint not null,
    primary key (work, side, part)
);

create table bench.works (
    ord   integer generated always as identity,
    work  text primary key,
    done  boolean not null default false
);

create table bench.peers (
    ord   integer generated always as identity,
    work  text not null references bench.works,
    side  text not null,
    goal  numeric,
    primary key (work, side)
);

create table bench.times (
    work  text not null,
    side  text not null,
    part  text not null,
    round integer not null,
    ns    numeric not null    -- per row
);

-- Facts other than times: sizes, memory.
create table bench.facts (
    ord       integer generated always as identity primary key,
    fact      text not null,
    measured  numeric not null,
    unit      text not null,
    at_most   numeric not null
);

-- Whole statements: on a table with encrypted columns, and the same on a plain one.
create table bench.comparisons (
    ord           integer generated always as identity primary key,
    work          text not null,
    encrypted_ns  numeric not null,    -- per row
    plain_ns      numeric not null,
    at_most       numeric not null,    -- times the plain one, or nanoseconds beyond it
    unit          text not null check (unit in ('times', 'ns more'))
);

create function bench._add(work text, side text, source text, expression text, reads text) returns void
    language plpgsql as $$
declare
    rows bigint;
begin
    execute format('select count(*) from %s', source) into rows;
    insert into bench.statements values
        (work, side, 'expression', format('select count(%s) from %s', expression, source), rows),
        (work, side, 'scan', format('select count(%s) from %s', reads, source), rows);
end
$$;

-- Our side of a comparison. source: what follows FROM; reads: the columns that the expression reads, comma-separated.
create function bench.work(work text, source text, expression text, reads text) returns void
    language plpgsql as $$
begin
    insert into bench.works (work) values (work);
    perform bench._add(work, 'pg_encrypt', source, expression, reads);
end
$$;

-- Another way to do the same work; the ratio should reach the goal. Left out where pgcrypto is not installed. A source
-- of its own is for peers so slow that they get fewer rows.
create function bench.peer(work text, side text, source text, expression text, reads text, goal numeric default null)
    returns void
    language plpgsql as $$
begin
    if exists (select from pg_extension where extname = 'pgcrypto') then
        insert into bench.peers (work, side, goal) values (work, side, goal);
        perform bench._add(work, side, source, expression, reads);
    end if;
end
$$;

-- Nanoseconds that this backend has been running on a processor. Unlike the time on the wall, it does not count waiting
-- for one. The kernel brings the number up to date when the process sleeps.
create function bench._cpu_ns() returns numeric
    language plpgsql as $$
begin
    perform pg_sleep(0.0001);
    return split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric;
end
$$;

-- Nanoseconds per row of one execution.
create function bench._time(statement text, row_count bigint) returns numeric
    language plpgsql as $$
declare
    started numeric := bench._cpu_ns();
    result  bigint;
begin
    execute statement into result;
    if result is distinct from row_count then
        raise exception '% of % rows gave a result: %', result, row_count, statement;
    end if;
    return (bench._cpu_ns() - started) / row_count;
end
$$;

-- Runs every work that has not been run. The first round warms caches and does not count.
create procedure bench.run(rounds integer)
    language plpgsql as $$
declare
    w text;
    s record;
begin
    for w in select work from bench.works where not done order by ord loop
        for round in 0 .. rounds loop
            for s in select * from bench.statements where work = w order by side, part loop
                insert into bench.times values
                    (s.work, s.side, s.part, round, bench._time(s.statement, s.row_count));
                -- A transaction each, as statements of an application have.
                commit;
            end loop;
        end loop;
        delete from bench.times where work = w and round = 0;
        update bench.works set done = true where work = w;
        commit;
    end loop;
end
$$;

-- Compares whole statements, in which `%s` is first `encrypted`, then `plain`. before: what is done before each, and is
-- not measured. Like run, it takes turns, does not count the first round, and keeps medians.
create procedure bench.compare(
    work text, statement text, row_count bigint, at_most numeric, rounds integer, unit text default 'times',
    before text default null
)
    language plpgsql as $$
declare
    side    text;
    started numeric;
begin
    for round in 0 .. rounds loop
        foreach side in array '{encrypted,plain}'::text[] loop
            if before is not null then
                execute replace(before, '%s', side);
                commit;
            end if;
            started := bench._cpu_ns();
            execute replace(statement, '%s', side);
            insert into bench.times values
                (work, side, 'expression', round, (bench._cpu_ns() - started) / row_count);
            commit;
        end loop;
    end loop;
    insert into bench.comparisons (work, encrypted_ns, plain_ns, at_most, unit)
    select compare.work,
           percentile_cont(0.5) within group (order by t.ns) filter (where t.side = 'encrypted'),
           percentile_cont(0.5) within group (order by t.ns) filter (where t.side = 'plain'),
           compare.at_most, compare.unit
    from bench.times t
    where t.work = compare.work and t.round > 0;
    commit;
end
$$;

-- Times of larger works that a topic runs statement by statement, tables made anew for each: between begin_time and end_time.
-- Round 0 is what a topic makes of it: a round that warms caches, or the only one.
create table bench.durations (
    round    integer not null,
    side     text not null,
    cpu_ns   numeric not null,        -- of this backend; up to end_time, where its clock stood
    started  timestamptz not null,
    seconds  numeric,
    primary key (round, side)
);

create function bench.begin_time(round integer, side text) returns void
    language sql as $$
    insert into bench.durations values (round, side, bench._cpu_ns(), clock_timestamp())
$$;

create function bench.end_time(round integer, side text) returns void
    language sql as $$
    update bench.durations d
    set cpu_ns = bench._cpu_ns() - d.cpu_ns, seconds = extract(epoch from clock_timestamp() - d.started)
    where d.round = end_time.round and d.side = end_time.side
$$;

create function bench.last_job() returns integer
    language sql as 'select max(job_id) from encrypt.jobs';

-- In many transactions: jobs wait for those that run.
create procedure bench.wait_for_job()
    language plpgsql as $$
declare
    job constant integer := bench.last_job();
begin
    while exists (select from encrypt.jobs where job_id = job and ended_at is null) loop
        perform pg_sleep(0.01);
        commit;
    end loop;
    if (select state from encrypt.jobs where job_id = job) <> 'finished' then
        raise exception 'job failed: %', (select last_error from encrypt.jobs where job_id = job);
    end if;
end
$$;

create view bench.comparison_report as
select ord, work, encrypted_ns, plain_ns, measured, unit, at_most, measured <= at_most as ok
from bench.comparisons,
     lateral (select case unit when 'times' then encrypted_ns / plain_ns else encrypted_ns - plain_ns end as measured) m;

-- A side's cost per row beyond its scan.
create view bench.costs as
select work, side, max(ns) filter (where part = 'expression') - max(ns) filter (where part = 'scan') as ns
from (select work, side, part, percentile_cont(0.5) within group (order by ns)::numeric as ns
      from bench.times group by work, side, part) medians
group by work, side;

create view bench.report as
select w.work, round(ours.ns) as "pg_encrypt ns", p.side as peer, round(theirs.ns) as "peer ns",
       round(theirs.ns / ours.ns, 1) as ratio, p.goal, theirs.ns / ours.ns >= p.goal as ok,
       w.ord as work_ord, p.ord as peer_ord
from bench.works w
join bench.costs ours on ours.work = w.work and ours.side = 'pg_encrypt'
left join bench.peers p on p.work = w.work
left join bench.costs theirs on theirs.work = w.work and theirs.side = p.side;

-- Anonymous memory of this backend in KiB: without shared buffers, which fill as tables are read.
create function bench.memory_kib() returns bigint
    language sql as $$
    select (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\s+(\d+) kB'))[1]::bigint
$$;

-- Records how much the backend's memory grows while one statement evaluates an expression over i for a million rows,
-- from its first sample, when everything has been set up, to its largest.
create procedure bench.memory_growth(fact text, expression text, at_most_kib numeric)
    language plpgsql as $$
declare
    growth bigint;
begin
    execute format($statement$
        select max(kib) - min(kib)
        from (select case when i %% 20000 = 0 then bench.memory_kib() end as kib, %s as result
              from (select generate_series(1, 1000000) as i offset 0) as rows offset 0) as results
        where result is not null
    $statement$, expression) into growth;
    insert into bench.facts (fact, measured, unit, at_most) values (fact, growth, 'KiB', at_most_kib);
end
$$;

create function bench.all_goals_met() returns boolean
    language sql as $$
    select not exists (select from bench.report where not ok)
       and not exists (select from bench.comparison_report where not ok)
       and not exists (select from bench.facts where measured > at_most)
$$;
