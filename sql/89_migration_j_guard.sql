-- What DDL does to the tables of a migration: it is followed (88_migration_e_follow.sql), or refused where the application's statements
-- would fail or write to one table only, as no table of a migration is dropped under the application.

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
    join encrypt.sync_statements s on d.objid in (s.relation::oid, s.shadow::oid, s.tombstones::oid)
    join encrypt.migrations m on m.migration_id = s.migration_id and d.objid in (m.live::oid, m.shadow::oid, m.tombstones::oid)
    where d.classid = 'pg_class'::regclass and d.objsubid = 0
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

-- One migration after a command that was about its tables. A migration that was restored from a dump is followed, but nothing is
-- refused before a step has taken it over: while its tables are being restored, much is missing that is yet to come. Several jobs of
-- pg_restore fill our tables while others make indexes, and statements that were written then would lack columns: those of the dump
-- stay. Every dump sets check_function_bodies in the sessions that restore it; what they call themselves is up to PGAPPNAME.
create function encrypt._follow_migration(migration integer, refuse boolean) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    item record;
    is_taken_over constant boolean := encrypt._is_at_home(migration);
begin
    -- Who dropped one knew better: there is nothing to follow, and nothing to keep from others.
    if not encrypt._is_whole(migration) then
        return;
    end if;
    if is_taken_over then
        for item in
            select c.oid::regclass as relation, pg_get_userbyid(l.relowner) as owner
            from encrypt._migration_pairs(migration) p
            join encrypt.migrations m on m.migration_id = migration
            join pg_class l on l.oid = p.live
            join pg_class c on c.oid in (p.shadow, m.tombstones) and c.relowner <> l.relowner and (p.root or c.oid = p.shadow)
        loop
            -- The triggers run as the owner of the live table, who has to be that of the others.
            raise notice 'table % belongs to %, as the table that it is kept in step with', item.relation, item.owner;
            perform encrypt._own_ddl(format('alter table %s owner to %I', item.relation, item.owner));
        end loop;
    end if;
    perform encrypt._switch_constraints(migration);
    if is_taken_over then
        perform encrypt._refresh_partitions(migration);
        perform encrypt._set_shadow_triggers(migration);
    elsif current_setting('check_function_bodies') = 'off' then
        return;
    end if;
    perform encrypt._refresh_sync(migration);
    -- Whoever knows better than what is refused sets session_replication_role to replica.
    if refuse and is_taken_over and current_setting('session_replication_role') <> 'replica' then
        perform encrypt._refuse_barriers(migration);
    end if;
end
$$;
comment on function encrypt._follow_migration(integer, boolean) is 'what a migration needs after DDL on its tables';

create function encrypt._only_validates(command pg_ddl_command) returns boolean
    language c stable strict as 'MODULE_PATHNAME', 'only_validates';
comment on function encrypt._only_validates(pg_ddl_command) is 'whether an ALTER TABLE does nothing but validate constraints';
-- why: it stays with PUBLIC, as nobody can call it but event triggers, which have such a command to pass

-- The view writes by the names of its columns, which are those of the tables below it.
create function encrypt._refuse_exposed_rename(relation regclass) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    exposed regclass;
begin
    select m.exposed into exposed from encrypt.migrations m
    where m.exposed is not null and encrypt._exposure(m.migration_id) = 'view' and relation in (m.exposed, m.live, m.shadow);
    if exposed is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('columns of %s can''t be renamed: view %s is written to by their names', relation, exposed),
            hint = format('Make a view over %s, with the names that are wanted.', exposed);
    end if;
end
$$;
comment on function encrypt._refuse_exposed_rename(regclass) is 'refuses new names for columns of a decrypting view and its tables';

create function encrypt._follow_migrating_tables() returns event_trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_generic_plan as
$$
declare
    relations oid[];
    item record;
    migration integer;
    schemas text[];
    -- Names in the statements of any table; and what owners may do, of which PostgreSQL tells no table.
    everywhere constant boolean := tg_tag in ('ALTER SCHEMA', 'ALTER TYPE', 'ALTER OPERATOR', 'ALTER EXTENSION', 'REVOKE');
begin
    if encrypt._is_own_ddl()
       or not exists (select from encrypt.migrations m where m.ended_at is null or m.exposed is not null) then
        return;
    end if;
    if tg_event = 'sql_drop' then
        -- Of an index that is gone, its schema is what is known of its table.
        select array_agg(d.objid) filter (where d.classid = 'pg_class'::regclass),
               array_agg(d.address_names[1]) filter (where tg_tag in ('DROP INDEX', 'DROP TRIGGER', 'DROP RULE'))
        into relations, schemas
        from pg_event_trigger_dropped_objects() d where d.address_names is not null;
    else
        -- ALTER TABLE tells of a column only when it renames one.
        for item in select d.objid, d.objsubid from pg_event_trigger_ddl_commands() d
                    where d.classid = 'pg_class'::regclass and d.objsubid > 0 and tg_tag like 'ALTER %' loop
            perform encrypt._refuse_exposed_rename(item.objid);
            perform encrypt._carry_column(item.objid, item.objsubid::int2);
        end loop;
        -- That a constraint is valid changes nothing for dual write; cutover validates the keys of every partition.
        with commands as materialized (select d.classid, d.objid from pg_event_trigger_ddl_commands() d
                                       where d.objid is not null and not encrypt._only_validates(d.command))
        select array_agg(r.relation) into relations
        from (select c.objid from commands c where c.classid = 'pg_class'::regclass
              union all
              select i.indrelid from commands c join pg_index i on i.indexrelid = c.objid where c.classid = 'pg_class'::regclass
              union all
              -- A partition or child that was made.
              select i.inhparent from commands c join pg_inherits i on i.inhrelid = c.objid where c.classid = 'pg_class'::regclass
              union all
              -- What it refers to.
              select o.confrelid from commands c join pg_constraint o on o.conrelid = c.objid and o.contype = 'f'
              where c.classid = 'pg_class'::regclass
              union all
              select t.tgrelid from commands c join pg_trigger t on t.oid = c.objid where c.classid = 'pg_trigger'::regclass
              union all
              select w.ev_class from commands c join pg_rewrite w on w.oid = c.objid where c.classid = 'pg_rewrite'::regclass
             ) as r (relation);
    end if;
    if relations is null and schemas is null and not everywhere then
        return;
    end if;
    for migration in
        select m.migration_id from encrypt.migrations m
        where m.ended_at is null
          and exists (select from encrypt.sync_statements s where s.migration_id = m.migration_id)
          and (everywhere or m.table_schema = any (schemas) or m.tombstones = any (relations) or m.exposed = any (relations)
               or exists (select from encrypt.migration_relations r where r.migration_id = m.migration_id
                          and (r.plain = any (relations) or r.encrypted = any (relations))))
        order by 1
    loop
        perform encrypt._follow_migration(migration, refuse => not everywhere or tg_tag = 'REVOKE');
    end loop;
end
$$;
comment on function encrypt._follow_migrating_tables() is 'lets dual write follow DDL on the tables of a migration, or refuses it';

-- why: event trigger functions are called by event triggers only, and these are their parts
revoke all on function
    encrypt._keep_migrating_tables(),
    encrypt._follow_migration(integer, boolean),
    encrypt._refuse_exposed_rename(regclass),
    encrypt._follow_migrating_tables()
from public;

-- Not always enabled: who knows better sets session_replication_role to replica.
create event trigger pg_encrypt_migrating_tables on sql_drop
    when tag in ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED')
    execute function encrypt._keep_migrating_tables();
comment on event trigger pg_encrypt_migrating_tables is 'no DROP of a table of a migration that has not ended';

-- Always enabled: tools that replicate DDL rename tables under session_replication_role = replica. Named to come after the other.
create event trigger pg_encrypt_migrations_altered on ddl_command_end
    execute function encrypt._follow_migrating_tables();
create event trigger pg_encrypt_migrations_dropped on sql_drop
    when tag in ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP INDEX', 'DROP TRIGGER', 'DROP RULE')
    execute function encrypt._follow_migrating_tables();
alter event trigger pg_encrypt_migrations_altered enable always;
alter event trigger pg_encrypt_migrations_dropped enable always;
comment on event trigger pg_encrypt_migrations_altered is 'lets dual write follow what is done to the tables of a migration';
comment on event trigger pg_encrypt_migrations_dropped is 'refuses DROP of what dual write needs';
