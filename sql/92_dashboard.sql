-- Jobs and migrations as a picture, for \watch.

-- Whole and eighths of a block where the database's encoding has them, else plain characters.
create function encrypt._bar(percent numeric, width integer) returns text
    language plpgsql stable parallel safe set search_path = pg_catalog, pg_temp as
$$
declare
    eighths integer := floor(greatest(least(coalesce(percent, 0), 100), 0) * width * 8 / 100);
    bar text;
begin
    if getdatabaseencoding() <> 'UTF8' or current_setting('client_encoding') <> 'UTF8' then
        return format('[%s]', rpad(repeat('#', eighths / 8), width, '.'));
    end if;
    bar := repeat(chr(x'2588'::integer), eighths / 8);
    if eighths % 8 > 0 then
        -- U+258F is one eighth, U+2589 seven.
        bar := bar || chr(x'2590'::integer - eighths % 8);
    end if;
    return rpad(bar, width, chr(x'2591'::integer));
end
$$;
comment on function encrypt._bar(numeric, integer) is 'a bar of some width that is filled to a percentage';

-- 3d 4h, 3h 7m, 5m 20s, 12s
create function encrypt._rough_time(t interval) returns text
    language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return case
    when t >= interval '1 day' then format('%sd %sh', floor(extract(epoch from t) / 86400),
                                           floor(extract(epoch from t)::bigint % 86400 / 3600))
    when t >= interval '1 hour' then format('%sh %sm', floor(extract(epoch from t) / 3600),
                                            floor(extract(epoch from t)::bigint % 3600 / 60))
    when t >= interval '1 minute' then format('%sm %ss', floor(extract(epoch from t) / 60),
                                              extract(epoch from t)::bigint % 60)
    else format('%ss', greatest(round(extract(epoch from t)), 0)) end;
comment on function encrypt._rough_time(interval) is 'an interval in its two largest units';

create function encrypt._shortened(line text, width integer) returns text
    language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return case when length(line) > width then left(line, width - 3) || '...' else line end;
comment on function encrypt._shortened(text, integer) is 'a line of some width at most';

create function encrypt.dashboard() returns setof text
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
    job encrypt.job_progress;
    phases constant text[] := '{dual_writing,backfilling,backfilled,verified,cut_over}';
    migration encrypt.migration_progress;
    passed integer;
    part numeric;
    drawn boolean := false;
begin
    for job in
        select * from encrypt.job_progress p
        where p.ended_at is null or p.ended_at > now() - interval '1 hour'
        order by p.ended_at is not null, p.job_id
    loop
        drawn := true;
        return next format('job %s  %s  %s', rpad(job.job_id::text, 4), rpad(job.kind, 9),
            encrypt._shortened(regexp_replace(job.subject, '[[:cntrl:]]', '?', 'g'), 60));
        return next format('  %s %s  %s',
            encrypt._bar(job.percent, 40), lpad(coalesce(job.percent::text, '-'), 5) || ' %',
            concat_ws('  ', job.state,
                case when job.round > 1 then format('round %s', job.round) end,
                format('%s of %s rows', job.rows_done, job.rows_total),
                case when job.state = 'running' then format('%s/s', coalesce(job.rows_per_second, 0)) end,
                case when job.state = 'running' and job.estimated_end > now()
                    then encrypt._rough_time(job.estimated_end - now()) || ' left' end,
                case when job.ended_at is not null
                    then format('took %s', encrypt._rough_time(job.ended_at - job.created_at)) end,
                case when job.workers > 0 then format('%s workers', job.workers) end,
                case when job.retries > 0 then format('%s retries', job.retries) end));
        if job.last_error is not null then
            return next '  ' || encrypt._shortened(regexp_replace(job.last_error, '[[:cntrl:]]', ' ', 'g'), 110);
        end if;
    end loop;
    for migration in select * from encrypt.migration_progress m order by m.migration_id loop
        passed := array_position(phases, migration.phase) - 1;
        continue when passed is null;
        drawn := true;
        return next format('migration %s  %s  %s', rpad(migration.migration_id::text, 4), migration.phase,
            encrypt._shortened(regexp_replace(migration.table_name, '[[:cntrl:]]', '?', 'g'), 60));
        -- One part per phase; a job that runs fills its part.
        part := case when migration.job_state in ('running', 'paused') then coalesce(migration.percent, 0) else 0 end;
        return next format('  %s  next: %s',
            encrypt._bar((100 * passed + part) / (cardinality(phases) - 1), 40), migration.next_step);
    end loop;
    if not drawn then
        return next 'no jobs and no migrations in the last hour';
    end if;
end
$$;
comment on function encrypt.dashboard() is 'jobs and migrations with a bar each: select * from encrypt.dashboard() \watch 1';

-- why: its parts stay with PUBLIC, as everybody may look at it
