-- No table of a migration is dropped under the application: its statements would fail, as they write to both.

-- Partitions may go, since they come and go in life. By what the triggers run, because rollback and finalize do away with
-- that before they drop a table.
create function encrypt._keep_migrating_tables() returns event_trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_generic_plan as
$$
declare
    dropped record;
begin
    select d.object_identity as name, m.migration_id, m.phase into dropped
    from pg_event_trigger_dropped_objects() d
    join encrypt.migrations m on d.objid in (m.live::oid, m.shadow::oid)
    where d.classid = 'pg_class'::regclass and d.objsubid = 0
        and exists (select from encrypt.sync_statements s where s.migration_id = m.migration_id)
    order by d.objid
    limit 1;
    if found then
        raise exception using errcode = 'dependent_objects_still_exist',
            message = format('table %s can''t be dropped: migration %s writes to it', dropped.name, dropped.migration_id),
            hint = format(case when dropped.phase = 'cut_over' then 'Run first: call encrypt.finalize_migration(%s);'
                          else 'Run first: call encrypt.rollback_migration(%s);' end, dropped.migration_id);
    end if;
end
$$;
comment on function encrypt._keep_migrating_tables() is 'refuses to drop a table of a migration that has not ended';

-- why: event trigger functions are called by event triggers only
revoke all on function encrypt._keep_migrating_tables() from public;

-- Not always enabled: who knows better sets session_replication_role to replica.
create event trigger pg_encrypt_migrating_tables on sql_drop
    when tag in ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED')
    execute function encrypt._keep_migrating_tables();
comment on event trigger pg_encrypt_migrating_tables is 'no DROP of a table of a migration that has not ended';
