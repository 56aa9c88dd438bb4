-- Verification: every value is decrypted and compared, every token made again, in both directions, while writes go on.
--
-- No false alarms: both tables are changed by the same transactions, so in any one snapshot they are equal. A batch is one
-- statement, so one snapshot, and compares a range of one table's blocks with the other table by key. What the batches
-- before and after it saw does not matter: a row that was compared and is changed later is changed by dual write, whose
-- triggers cutover checks.

-- The end of the part of a range that a sample looks at: its first blocks, at least one.
create function encrypt._sample_end(first tid, past tid, fraction double precision) returns tid
    language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp
return format('(%s,0)', trunc((first::text::point)[0]
    + ceil(((past::text::point)[0] - (first::text::point)[0]) * fraction))::bigint)::tid;
comment on function encrypt._sample_end(tid, tid, double precision) is 'where a sample of a range of blocks ends';

-- What the two sides of a row must not have: a difference. The aliases: p the plaintext side, e the encrypted one.
-- By the stored image, not by `=`, which some types have none of, and under which 1.0 is 1.00.
create function encrypt._difference(migration integer, plain regclass, encrypted regclass) returns text
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select format('row(%s)::record operator(pg_catalog.*<>) row(%s)::record',
                  string_agg(format('p.%I', c.source), ', ' order by c.ordinal) filter (where not c.is_index),
                  string_agg(case when c.is_encrypted then encrypt._plain_value('e', c.name, c)
                                  else format('e.%I', c.name) end, ', ' order by c.ordinal) filter (where not c.is_index))
           || coalesce(string_agg(format(' or p.%I is not null and (%s) is not true', c.name,
                           encrypt._token_comparison(format('e.%I', c.name), format('p.%I', c.name), c.cipher_type,
                                                     c.base)), '' order by c.ordinal)
                       filter (where c.has_token), '')
           || coalesce(string_agg(format(' or (e.%I is null) is distinct from (p.%I is null) or p.%2$I is not null and not %s', c.name,
                           c.source, encrypt._index_comparison(format('e.%I', c.name), format('p.%I', c.source), c)),
                           '' order by c.ordinal)
                       filter (where c.is_index), '')
    from encrypt._sync_columns(migration, plain, encrypted) c;
end;
comment on function encrypt._difference(integer, regclass, regclass) is 'condition that two rows with the same key differ';

-- What a batch of a verification adds for per-row metadata: rows that were compared and are equal are verified. The comparison
-- is a statement's, and so is this: rows that are changed meanwhile are newer versions, which don't have the version that was
-- compared, also when they are looked at again after a wait. Rows that a writer has locked are left out, for they change; so no
-- writer waits for a batch, nor a batch for a writer.
create function encrypt._marking(shadow regclass) returns text
    language sql stable set search_path = pg_catalog, pg_temp
return format(
    'free as (select s.ctid as place from only %1$s s join compared c on c.place = s.ctid and c.version = s.xmin'
    ' where s.ctid = any (array(select n.place from compared n where n.is_there and not n.differs))'
    ' and s.migration_status <> ''verified'' for no key update of s skip locked),'
    ' marked as (update only %1$s s set migration_status = ''verified'' where s.ctid = any (array(select f.place from free f)))',
    shadow);
comment on function encrypt._marking(regclass) is 'parts of a statement that mark compared rows as verified';

-- What is run for each table, on ranges of blocks. Counted are: rows looked at, differing, missing in the shadow, in the shadow
-- only, rows of the live table.
create function encrypt._verification_statements(migration integer, fraction double precision)
    returns table (relation regclass, statement text)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    pair record;
    until constant text := case when fraction < 1 then format('encrypt._sample_end($1, $2, %s)', fraction) else '$2' end;
    key text;
    marks boolean;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    key := quote_ident(m.key_columns[1]);
    -- After cutover the encrypted table is the application's: marking its rows would fire triggers, and write them back.
    marks := coalesce((m.options ->> 'metadata')::boolean, false) and m.phase <> 'cut_over';
    for pair in select * from encrypt._leaf_pairs(migration) loop
        relation := pair.live;
        statement := format(
            case when marks then
                'with compared as materialized (select %1$s.%2$s is not null as is_there, (%3$s) is true as differs,'
                ' %1$s.ctid as place, %1$s.xmin as version'
                ' from only %4$s %5$s left join only %6$s %1$s on %7$s where %5$s.ctid >= $1 and %5$s.ctid < %8$s), %9$s'
                ' select array[count(*), count(*) filter (where is_there and differs), count(*) filter (where not is_there), 0,'
                ' count(*)] from compared'
            else
                -- OFFSET 0: else what is counted is all columns of both tables, which can be more than PostgreSQL takes.
                'select array[count(*), count(*) filter (where differs), count(*) filter (where not is_there), 0, count(*)]'
                ' from (select %1$s.%2$s is not null as is_there, %1$s.%2$s is not null and (%3$s) as differs'
                ' from only %4$s %5$s left join only %6$s %1$s on %7$s where %5$s.ctid >= $1 and %5$s.ctid < %8$s offset 0) compared'
            end,
            case when pair.forward then 'e' else 'p' end, key, encrypt._difference(migration, pair.plain, pair.encrypted),
            pair.live, case when pair.forward then 'p' else 'e' end, pair.shadow,
            encrypt._key_condition(m.live, m.key_columns, 'p', 'e'), until,
            encrypt._marking(pair.shadow));
        return next;
        relation := pair.shadow;
        statement := format(
            'select array[count(*), 0, 0, count(*) filter (where not exists (select from only %s t where %s)), 0]'
            ' from only %s s where s.ctid >= $1 and s.ctid < %s',
            pair.live, encrypt._key_condition(m.live, m.key_columns, 't', 's'), pair.shadow, until);
        return next;
    end loop;
end
$$;
comment on function encrypt._verification_statements(integer, double precision) is
    'statements that compare the rows between two tids with the other table';

create function encrypt.start_verification(migration integer, options jsonb default '{}') returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations := encrypt._own_migration(migration);
    fraction double precision := coalesce((options ->> 'fraction')::double precision, 1);
    accept_sample boolean := coalesce((options ->> 'accept_sample')::boolean, false);
    made record;
    job integer;
begin
    if m.phase not in ('backfilled', 'verified', 'cut_over') then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s is %s: its rows are not all copied', migration, m.phase),
            hint = format('Run: call encrypt.backfill(%s);', migration);
    end if;
    if not fraction between 0 and 1 or fraction = 0 then
        raise exception using errcode = 'invalid_parameter_value', message = 'fraction must be above 0 and at most 1';
    end if;
    perform encrypt._take_over(migration);
    perform encrypt._check_sync(migration);
    job := encrypt._create_job('verify', migration::text, options - 'fraction' - 'accept_sample');
    for made in select * from encrypt._verification_statements(migration, fraction) loop
        perform encrypt._add_task(job, made.relation, made.statement, m.key_name);
    end loop;
    update encrypt.migrations r
    set options = r.options || jsonb_build_object('verification',
                                   jsonb_build_object('job', job, 'fraction', fraction, 'accept_sample', accept_sample))
    where r.migration_id = migration;
    return job;
end
$$;
comment on function encrypt.start_verification(integer, jsonb) is
    'makes the job that compares both tables of a migration; options: fraction, accept_sample, and those of a job';

create function encrypt._finish_verification(job integer) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    found bigint[];
    asked jsonb;
    differences bigint;
    complete boolean;
begin
    select r.* into m
    from encrypt.jobs j join encrypt.migrations r on r.migration_id = j.subject::integer
    where j.job_id = job
    for update of r;
    if m.phase is null or m.phase not in ('backfilled', 'verified', 'cut_over') then
        return true;
    end if;
    -- A table without rows counts nothing.
    select array[coalesce(j.counts[2], 0), coalesce(j.counts[3], 0), coalesce(j.counts[4], 0), coalesce(j.counts[5], 0)]
    into found
    from encrypt.jobs j where j.job_id = job;
    asked := m.options -> 'verification';
    complete := (asked ->> 'fraction')::double precision >= 1;
    differences := found[1] + found[2] + found[3];
    update encrypt.migrations r
    set verification = jsonb_build_object(
            'job', job, 'rows', found[4], 'mismatched', found[1], 'missing', found[2], 'orphaned', found[3],
            'fraction', asked -> 'fraction', 'complete', complete, 'passed', differences = 0,
            'finished_at', clock_timestamp(), 'wal_position', pg_current_wal_lsn())
            -- As long as they differ, the way back loses something.
            || case when (m.verification ->> 'outdated')::boolean and not (complete and differences = 0)
                    then '{"outdated": true}' else '{}' end::jsonb,
        phase = case when m.phase = 'cut_over' then m.phase
                     when differences > 0 then 'backfilled'
                     when complete or (asked ->> 'accept_sample')::boolean then 'verified'
                     else m.phase end,
        last_error = case when differences > 0 then
            format('verification found differences: %s rows differ, %s are missing, %s are too many', found[1], found[2], found[3])
            end
    where r.migration_id = m.migration_id;
    return true;
end
$$;
comment on function encrypt._finish_verification(integer) is 'stores what a verification found; the gate for cutover';

create procedure encrypt.verify(migration integer, options jsonb default '{}')
    language plpgsql as
$$
declare
    job integer;
begin
    call encrypt._require_own_transactions();
    job := encrypt._job_of_migration(migration, 'verify', options);
    commit;
    call encrypt._run_own_job(job);
end
$$;
comment on procedure encrypt.verify(integer, jsonb) is
    'compares both tables of a migration in this session; goes on with what was begun';

-- why: parts of functions that check their caller
revoke all on function
    encrypt._difference(integer, regclass, regclass),
    encrypt._marking(regclass),
    encrypt._verification_statements(integer, double precision),
    encrypt._finish_verification(integer)
from public;
