-- The steps of a migration that need its tables for themselves: cutover, rollback, finalize.
--
-- Each is a loop of short transactions. One either does what it should within lock_timeout or changes nothing, says who
-- was in the way, and is tried again after a pause in which everyone who queued behind it goes on. Sessions are never ended.

create function encrypt._cut_over(migration integer, lock_timeout interval) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    unknown regclass;
    plan encrypt._exchange_plan;
begin
    perform encrypt._migration_for(migration, 'verified');
    perform encrypt._check_exposed_name(migration);
    if encrypt._prepare_swap(migration, clock_timestamp() + lock_timeout) then
        return false;
    end if;
    -- Plans of the first minutes are made from its statistics.
    select p.shadow into unknown from encrypt._migration_pairs(migration) p
    where not exists (select from pg_statistic s where s.starelid = p.shadow)
      and exists (select from pg_statistic s where s.starelid = p.live)
    limit 1;
    if unknown is not null then
        execute format('analyze %s', unknown);
        if exists (select from pg_statistic s where s.starelid = unknown) then
            return false;
        end if;
    end if;
    plan := encrypt._lock_for_exchange(migration, lock_timeout);
    -- DDL that came before the locks can have taken that back.
    perform encrypt._migration_for(migration, 'verified');
    perform encrypt._exchange(migration, plan);
    update encrypt.migrations m set phase = 'cut_over', cut_over_at = clock_timestamp(), last_error = null
    where m.migration_id = migration;
    return true;
end
$$;
comment on function encrypt._cut_over(integer, interval) is 'one transaction of cutover; true when it was the last';

-- Batches of a job would go on to write the shadow.
create function encrypt._cancel_jobs(migration integer) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    open_jobs integer[] := array(select j.job_id from encrypt.jobs j
                                 where j.kind in ('backfill', 'verify') and j.subject = migration::text
                                   and j.ended_at is null);
    job integer;
begin
    foreach job in array open_jobs loop
        perform encrypt.cancel_job(job);
    end loop;
    return cardinality(open_jobs) > 0;
end
$$;
comment on function encrypt._cancel_jobs(integer) is 'cancels the jobs of a migration; whether there were any';

create function encrypt._roll_back(migration integer, lock_timeout interval) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found_migration encrypt.migrations;
    plan encrypt._exchange_plan;
begin
    found_migration := encrypt._migration_for(migration, 'dual_writing', 'backfilling', 'backfilled', 'verified', 'cut_over');
    if encrypt._cancel_jobs(migration) then
        return false;
    end if;
    if found_migration.phase = 'cut_over' then
        -- The way back is the way there. Then everything is as it was before cutover, where a rollback can begin anew
        -- if the next transaction of it never comes.
        if encrypt._prepare_swap(migration, clock_timestamp() + lock_timeout) then
            return false;
        end if;
        plan := encrypt._lock_for_exchange(migration, lock_timeout);
        if exists (select from encrypt.migrations m where m.migration_id = migration and (m.verification ->> 'outdated')::boolean) then
            raise exception using errcode = 'object_not_in_prerequisite_state',
                message = format('migration %s: columns were added or dropped since cutover', migration),
                detail = 'The plaintext table may lack values that were written before both tables had the column.',
                hint = format('Run: call encrypt.verify(%s); and then again: call encrypt.rollback_migration(%1$s);', migration);
        end if;
        perform encrypt._exchange(migration, plan);
        update encrypt.migrations m set phase = 'verified', cut_over_at = null where m.migration_id = migration;
        return false;
    end if;
    perform encrypt._lock_out_ddl(migration, clock_timestamp() + lock_timeout);
    perform encrypt._lock_migration(migration, clock_timestamp() + lock_timeout);
    perform encrypt._remove_sync(migration);
    perform encrypt._drop_shadow_keys(migration);
    perform encrypt._drop_shadow(migration);
    perform encrypt._end_migration(migration, 'rolled_back');
    return true;
end
$$;
comment on function encrypt._roll_back(integer, interval) is 'one transaction of a rollback; true when it was the last';

create function encrypt._finalize(migration integer, lock_timeout interval) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found_migration encrypt.migrations;
begin
    found_migration := encrypt._migration_for(migration, 'cut_over');
    if encrypt._cancel_jobs(migration) then
        return false;
    end if;
    perform encrypt._lock_out_ddl(migration, clock_timestamp() + lock_timeout);
    perform encrypt._lock_migration(migration, clock_timestamp() + lock_timeout);
    perform encrypt._remove_sync(migration);
    perform encrypt._drop_shadow_keys(migration);
    if not exists (select from pg_class c where c.oid = found_migration.live) then
        raise warning using message = format('table %s is left', found_migration.shadow),
            detail = 'The encrypted table was dropped, so this may be the last copy.';
        perform encrypt._drop_sync_triggers(p.shadow) from encrypt._migration_pairs(migration) p;
    elsif exists (select from pg_class c where c.oid = found_migration.shadow) then
        -- Without CASCADE: what depends on it by now is somebody's, who is told.
        execute format('drop table %s', found_migration.shadow);
    end if;
    update encrypt.migrations m set clean_from = pg_current_wal_insert_lsn() where m.migration_id = migration;
    perform encrypt._end_migration(migration, 'finalized');
    return true;
end
$$;
comment on function encrypt._finalize(integer, interval) is 'one transaction of finalize_migration; true when it was the last';

create function encrypt._end_migration(migration integer, phase text) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    delete from encrypt.migration_objects o where o.migration_id = migration;
    delete from encrypt.migration_relations r where r.migration_id = migration;
    update encrypt.migrations m
    set phase = _end_migration.phase, shadow = null, ended_at = clock_timestamp(), last_error = null
    where m.migration_id = migration;
end
$$;
comment on function encrypt._end_migration(integer, text) is 'writes down that a migration has ended';

-- Returns the number of the next attempt; null when the step is done. The caller commits in between. Compiling its queries of
-- the catalog, which are long and find little, would take seconds under locks, and planning each of them anew a good part of one.
create function encrypt._try_step(step text, migration integer, lock_timeout interval, attempt integer, attempts integer)
    returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    set jit = off set plan_cache_mode = force_generic_plan as
$$
declare
    began timestamptz := clock_timestamp();
    done boolean;
    reason text;
begin
    -- Every statement of the step has to see what was committed before it got its locks.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using errcode = 'feature_not_supported',
            message = 'a migration''s steps need isolation level read committed',
            hint = 'Run: set default_transaction_isolation = ''read committed'';';
    end if;
    if lock_timeout <= interval '0' or attempts < 1 then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'lock_timeout and attempts must be greater than zero';
    end if;
    begin
        perform encrypt._limit_waits(began + lock_timeout);
        done := case step
            when 'cutover' then encrypt._cut_over(migration, lock_timeout)
            when 'rollback' then encrypt._roll_back(migration, lock_timeout)
            when 'finalize' then encrypt._finalize(migration, lock_timeout)
        end;
    exception when lock_not_available or deadlock_detected or internal_error or foreign_key_violation then
        -- GRANT, for one, locks no table. If it is committed while the exchange waits to change the same row of a catalog, PostgreSQL
        -- gives up with this message, which it translates into no language.
        if sqlstate = 'XX000' and sqlerrm !~ '^tuple concurrently (updated|deleted)$' then
            raise;
        end if;
        -- A key of the counterpart is checked row by row where its owner can't read the other table. Then a row that is deleted along
        -- with the one that it refers to looks like an orphan for a moment. One that stays is one in the live table, too.
        if sqlstate = '23503' and attempt >= least(attempts, 5) then
            raise;
        end if;
        -- All locks are gone by now: who is in the way is asked while nobody waits for this. It may be nobody any more.
        reason := coalesce('in the way: ' || encrypt._lock_holders(migration, began), sqlerrm);
        if attempt >= attempts then
            raise exception using errcode = 'lock_not_available',
                message = format('migration %s: no lock within %s ms, in %s attempts', migration,
                                 round(extract(epoch from lock_timeout) * 1000), attempts),
                detail = upper(left(reason, 1)) || substr(reason, 2),
                hint = 'Nothing was changed, dual write goes on. Try again when they have ended.';
        end if;
        raise notice 'attempt % of %: %', attempt, attempts, reason;
        -- At random, so as not to meet a periodic job each time.
        perform pg_sleep(least(5, 0.1 * 1.3 ^ attempt) * (0.5 + random()));
        return attempt + 1;
    end;
    return case when not done then attempt end;
end
$$;
comment on function encrypt._try_step(text, integer, interval, integer, integer) is
    'one attempt at a step of a migration; number of the next, null when it is done';

create function encrypt._report_step(step text, migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found_migration encrypt.migrations;
    item record;
begin
    found_migration := encrypt._migration_for(migration, 'cut_over', 'rolled_back', 'finalized');
    if step = 'cutover' then
        raise notice 'table % is encrypted; writes go on to %, too', found_migration.live, found_migration.shadow
            using hint = format('Run: call encrypt.finalize_migration(%s); or: call encrypt.rollback_migration(%s);',
                                migration, migration);
        perform encrypt._announce_privileges(migration);
    elsif step = 'rollback' then
        raise notice 'table % is as it was', found_migration.live;
    else
        for item in select * from encrypt._leftovers(found_migration.live) loop
            raise notice 'plaintext may be left in: %: %', item.place, item.detail using hint = item.remedy;
        end loop;
    end if;
end
$$;
comment on function encrypt._report_step(text, integer) is 'says what a step of a migration has come to';

-- Procedures that commit run with the rights and the search_path of the caller: so there is nothing in them to resolve.
create procedure encrypt._run_step(step text, migration integer, lock_timeout interval, attempts integer)
    language plpgsql as
$$
declare
    attempt integer := 1;
begin
    call encrypt._require_own_transactions();
    while attempt is not null loop
        commit;
        set transaction isolation level read committed;
        attempt := encrypt._try_step(step, migration, lock_timeout, attempt, attempts);
    end loop;
    perform encrypt._report_step(step, migration);
end
$$;
comment on procedure encrypt._run_step(text, integer, interval, integer) is 'runs a step of a migration, attempt after attempt';

create procedure encrypt.cutover(migration integer, lock_timeout interval default '500 ms', attempts integer default 60)
    language plpgsql as
$$
begin
    call encrypt._run_step('cutover', migration, lock_timeout, attempts);
end
$$;
comment on procedure encrypt.cutover(integer, interval, integer) is
    'puts the verified encrypted table in the place of the plaintext one; writes go on to both';

create procedure encrypt.rollback_migration(migration integer, lock_timeout interval default '500 ms', attempts integer default 60)
    language plpgsql as
$$
begin
    call encrypt._run_step('rollback', migration, lock_timeout, attempts);
end
$$;
comment on procedure encrypt.rollback_migration(integer, interval, integer) is
    'undoes a migration that is not finalized: the plaintext table is in its place, with every write, and alone';

create procedure encrypt.finalize_migration(migration integer, lock_timeout interval default '500 ms', attempts integer default 60)
    language plpgsql as
$$
begin
    call encrypt._run_step('finalize', migration, lock_timeout, attempts);
end
$$;
comment on procedure encrypt.finalize_migration(integer, interval, integer) is
    'drops the plaintext table after cutover, and says where plaintext may be left';

-- why: they check the caller themselves, but only whoever owns tables has a use for them; _try_step, _report_step
-- and _run_step stay open to the procedures' callers
revoke all on function encrypt._cut_over(integer, interval) from public;
revoke all on function encrypt._cancel_jobs(integer) from public;
revoke all on function encrypt._roll_back(integer, interval) from public;
revoke all on function encrypt._finalize(integer, interval) from public;
revoke all on function encrypt._end_migration(integer, text) from public;
