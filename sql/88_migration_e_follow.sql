-- Dual write follows what is done to the tables of a migration by DDL, in the transaction of the DDL itself.
--
-- The statements of dual write name tables, columns and operators, so a rename would make the application's next write fail. They
-- are written anew where the catalogs have changed (_refresh_sync), by event triggers (89_migration_j_guard.sql) and, where those
-- did not fire, by the next step of the migration (_take_over).
--
-- Why no writer meets statements of which the names are gone. A session looks into its statements under its lock on the live table,
-- and after it has locked what they write to (src/migrate/statements.rs). Whoever renames one of these tables or a column has
-- locked it against all writers. Schemas, types and operators are renamed without a lock on any table: then the live tables are
-- locked here. In each case the lock goes when the new statements are committed, and getting a lock is when sessions hear of that.

-- The locks that no writer of a table is under at the same time, held by this session on one of the tables.
create function encrypt._writers_are_out(variadic tables regclass[]) returns boolean
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return exists (
        select from pg_locks l
        where l.pid = pg_backend_pid() and l.granted and l.locktype = 'relation' and l.relation = any (tables::oid[])
            and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'));
end
$$;
comment on function encrypt._writers_are_out(regclass[]) is 'whether this session keeps writers from one of the tables';

-- What is the same neither in a restored database nor after pg_upgrade, which doesn't carry over what a dump doesn't either.
create function encrypt._home(live regclass) returns text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    return (select format('%s/%s/%s', s.system_identifier, d.oid, live::oid)
            from pg_control_system() s, pg_database d where d.datname = current_database());
end
$$;
comment on function encrypt._home(regclass) is 'server, database and table, by numbers that no dump carries';

create function encrypt._is_at_home(migration integer) returns boolean
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    return coalesce(m.home = encrypt._home(m.live), false);
end
$$;
comment on function encrypt._is_at_home(integer) is 'whether a migration is where its triggers were installed, or a step has taken it over';

create function encrypt._is_whole(migration integer) returns boolean
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    return exists (select from encrypt._present_pairs(migration) p where p.root);
end
$$;
comment on function encrypt._is_whole(integer) is 'whether neither the table of a migration nor its counterpart was dropped';

-- Brings all that is written down about a migration into agreement with the catalogs. What can't be written at present, for want
-- of a key, stays as it is: the event triggers refuse what takes a key away, and while a dump is restored it is yet to come.
create function encrypt._refresh_sync(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    wanted encrypt.sync_statements[];
    changed regclass[];
    is_alone boolean := false;
begin
    loop
        select * into m from encrypt.migrations r where r.migration_id = migration;
        if exists (select from encrypt._present_pairs(migration) p
                   where encrypt._key_index(p.live, m.key_columns) is null or encrypt._key_index(p.shadow, m.key_columns) is null) then
            return;
        end if;
        wanted := array(select s from encrypt._sync_statements(migration) s);
        select array_agg(distinct coalesce(w.relation, s.relation)) into changed
        from unnest(wanted) w
        full join (select * from encrypt.sync_statements x where x.migration_id = migration) s
            on s.relation = w.relation and s.event = w.event and s.level = w.level
        where s is distinct from w;
        exit when changed is null or is_alone;
        if exists (select from encrypt._migration_pairs(migration) p
                   where p.live = any (changed) and not encrypt._writers_are_out(p.live, p.shadow, m.tombstones)) then
            perform encrypt._lock_table(m.live, 'share row exclusive', interval '500 ms', 20);
        end if;
        -- Against another session that does the same, or a step. It may have ended while this one waited, and then the answers from
        -- before are about the past: after a cutover, the statements would be those of the other table, and all writes fail.
        perform from encrypt.migrations r where r.migration_id = migration for update;
        is_alone := true;
    end loop;
    if changed is not null then
        delete from encrypt.sync_statements s where s.migration_id = migration;
        insert into encrypt.sync_statements select * from unnest(wanted);
        perform encrypt._refresh_tasks(migration);
    end if;
    update encrypt.migrations r set table_schema = n.nspname, table_name = c.relname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where r.migration_id = migration and c.oid = case when encrypt._exposure(migration) = 'view' then coalesce(m.exposed, m.live)
                                                      else m.live end
      and (r.table_schema, r.table_name) <> (n.nspname, c.relname);
    perform encrypt._refresh_pairs(migration);
end
$$;
comment on function encrypt._refresh_sync(integer) is 'writes the statements of dual write anew, where the catalogs have changed';

-- Jobs that go on take the new statements with their next batch; a batch that met the old names is repeated.
create function encrypt._refresh_tasks(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    fraction constant double precision := coalesce((select (m.options -> 'verification' ->> 'fraction')::double precision
                                                    from encrypt.migrations m where m.migration_id = migration), 1);
begin
    update encrypt.job_tasks t
    set statement = encrypt._backfill_statement(migration, p.live, p.shadow, false),
        fallback = encrypt._backfill_statement(migration, p.live, p.shadow, true)
    from encrypt.jobs j, encrypt._leaf_pairs(migration) p
    where j.job_id = t.job_id and j.kind = 'backfill' and j.subject = migration::text and j.state not in ('finished', 'cancelled')
      and t.relation = p.live;
    update encrypt.job_tasks t
    set statement = v.statement
    from encrypt.jobs j, encrypt._verification_statements(migration, fraction) v
    where j.job_id = t.job_id and j.kind = 'verify' and j.subject = migration::text and j.state not in ('finished', 'cancelled')
      and t.relation = v.relation;
end
$$;
comment on function encrypt._refresh_tasks(integer) is 'writes the statements of a migration''s open jobs anew';

-- Columns that both tables have since a moment ago, or no longer have. What was written before is not what is written now, so what
-- was compared before does not count.
create function encrypt._refresh_pairs(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
begin
    if not exists (select from encrypt.column_pairs p where p.migration_id = migration)
       or not exists (select from (select * from encrypt.column_pairs p where p.migration_id = migration) o
                      full join encrypt._column_pairs(migration) n on n.plain = o.plain and n.encrypted = o.encrypted
                      where n.plain is null or o.plain is null) then
        return;
    end if;
    delete from encrypt.column_pairs p where p.migration_id = migration;
    insert into encrypt.column_pairs select * from encrypt._column_pairs(migration);
    update encrypt.migrations m
    set phase = case m.phase when 'verified' then 'backfilled' else m.phase end,
        verification = m.verification || '{"outdated": true}'
    where m.migration_id = migration;
    for job in select j.job_id from encrypt.jobs j
               where j.kind = 'verify' and j.subject = migration::text and j.state not in ('finished', 'cancelled') loop
        perform encrypt._set_job_state(job, 'cancelled', '{running,paused,failed}');
    end loop;
end
$$;
comment on function encrypt._refresh_pairs(integer) is 'notes which columns both tables of a migration have';

-- DDL of our own fires event triggers, too, while half of a change is done, and many times in one step.
create function encrypt._own_ddl(statement text) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
begin
    execute statement;
end
$$;
comment on function encrypt._own_ddl(text) is 'runs a statement that the event triggers leave alone';

-- What a table's owner wrote is evaluated when the query is planned, and what DDL it does is none of ours.
create function encrypt._has_rows(relation regclass) returns boolean
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = off as
$$
begin
    return encrypt._count_as_owner(relation, format('select array[count(*)] from (select from %s limit 1) as f', relation)) <> '{0}';
end
$$;
comment on function encrypt._has_rows(regclass) is 'whether a table has a row, asked as its owner';

-- Partitions that came or went since, pair by pair. One that went from the live tree is the application's no more. One that both
-- trees have, for the same values, takes part from now on; it is empty, so there is nothing to copy.
create function encrypt._refresh_partitions(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
declare
    item record;
begin
    loop
        select p.live, p.shadow into item
        from encrypt._migration_pairs(migration) p
        where not p.root and not exists (
            select from pg_inherits i join encrypt._migration_pairs(migration) q on q.live = i.inhparent where i.inhrelid = p.live)
        limit 1;
        exit when not found;
        delete from encrypt.migration_relations r where r.migration_id = migration and r.plain in (item.live, item.shadow);
        delete from encrypt.sync_statements s where s.relation = item.live;
        delete from encrypt.job_tasks t using encrypt.jobs j
        where j.job_id = t.job_id and j.kind in ('backfill', 'verify') and j.subject = migration::text and t.relation in (item.live, item.shadow);
        perform encrypt._drop_sync_triggers(item.live), encrypt._drop_sync_triggers(item.shadow);
    end loop;
    loop
        with pairs as materialized (select * from encrypt._migration_pairs(migration)),
        unknown as materialized (
            select i.inhparent as parent, i.inhrelid::regclass as relation, pg_get_expr(c.relpartbound, c.oid) as bound
            from pg_inherits i join pg_class c on c.oid = i.inhrelid and c.relispartition
            where i.inhparent in (select p.live from pairs p union all select p.shadow from pairs p)
              and i.inhrelid not in (select p.live from pairs p union all select p.shadow from pairs p)
        )
        select l.relation as live, s.relation as shadow,
               exists (select from encrypt.migration_relations r where r.migration_id = migration and r.plain = p.live) as forward
        into item
        from pairs p
        join unknown l on l.parent = p.live
        join unknown s on s.parent = p.shadow and s.bound = l.bound
        order by l.relation::oid
        limit 1;
        exit when not found;
        if encrypt._has_rows(item.live) or encrypt._has_rows(item.shadow) then
            raise exception using errcode = 'object_not_in_prerequisite_state',
                message = format('partition %s of a migrating table and its counterpart %s must be empty', item.live, item.shadow),
                hint = 'Attach an empty one, and insert the rows through the table.';
        end if;
        insert into encrypt.migration_relations (migration_id, plain, encrypted)
        select migration, case when item.forward then item.live else item.shadow end,
               case when item.forward then item.shadow else item.live end;
        perform encrypt._make_metadata_trigger(migration, r.plain, r.encrypted)
        from encrypt.migration_relations r where r.migration_id = migration and r.plain in (item.live, item.shadow);
        perform encrypt._set_sync_triggers(item.shadow, item.live, false), encrypt._set_sync_triggers(item.live, item.live, true);
    end loop;
end
$$;
comment on function encrypt._refresh_partitions(integer) is 'lets partitions that came take part in a migration, and those that went not';

-- Before what relies on dual write: what a dump does not carry (that triggers of the shadow's constraints are disabled), and
-- what the event triggers were kept from doing.
create function encrypt._take_over(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    if not exists (select from encrypt.sync_statements s where s.migration_id = migration) or not encrypt._is_whole(migration) then
        return;
    end if;
    perform encrypt._switch_constraints(migration);
    if encrypt._is_at_home(migration) then
        perform encrypt._refresh_partitions(migration);
    end if;
    perform encrypt._set_shadow_triggers(migration);
    perform encrypt._refresh_sync(migration);
    update encrypt.migrations m set home = encrypt._home(m.live)
    where m.migration_id = migration and m.home is distinct from encrypt._home(m.live);
end
$$;
comment on function encrypt._take_over(integer) is 'makes a migration that was restored from a dump one of this database';

-- Which columns of the other table a column was made of, or is made of: by number, as its name is new.
create function encrypt._carry_column(relation regclass, number int2) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
declare
    item record;
    renamed constant name := (select a.attname from pg_attribute a where a.attrelid = relation and a.attnum = number);
begin
    for item in
        select m.migration_id, m.live, m.shadow, m.exposed, m.tombstones, r.encrypted = _carry_column.relation as is_encrypted,
               encrypt._exposure(m.migration_id) as exposure, o.attname as other, c.column_name, c.value_column, c.index_column
        from encrypt.column_pairs p
        join encrypt.migrations m on m.migration_id = p.migration_id
        join encrypt.migration_relations r on r.migration_id = p.migration_id and _carry_column.relation in (r.plain, r.encrypted)
        join pg_attribute o on o.attrelid = case when r.plain = _carry_column.relation then r.encrypted else r.plain end
             and o.attnum = encrypt._number_of(case when r.plain = _carry_column.relation then p.encrypted else p.plain end)
        left join encrypt.migration_columns c on c.migration_id = m.migration_id
             and o.attname in (c.column_name, c.value_column, c.index_column)
        where encrypt._column(_carry_column.relation, number) in (p.plain, p.encrypted)
    loop
        continue when item.other = renamed;
        if item.column_name is not null and item.exposure <> 'type' then
            -- The plain column and those of its values and tokens have names of their own.
            update encrypt.migration_columns c
            set column_name = case when item.is_encrypted then c.column_name else renamed end,
                -- Which of the two it was: that which is there no more.
                value_column = case when item.is_encrypted and encrypt._column_numbers(relation, array[c.value_column]) = '{}'
                                    then renamed else c.value_column end,
                index_column = case when item.is_encrypted and encrypt._column_numbers(relation, array[c.index_column]) = '{}'
                                    then renamed else c.index_column end
            where c.migration_id = item.migration_id and c.column_name = item.column_name;
            continue;
        end if;
        -- Both tables have it under one name, that of the application. Who renames the other table's has not locked the
        -- application's, and could wait for writers who wait for this transaction.
        if relation <> item.live then
            raise exception using errcode = 'object_not_in_prerequisite_state',
                message = format('column %I of table %s can''t be renamed: it follows that of table %s', item.other, relation, item.live),
                hint = format('Run: alter table %s rename column %I to %I;', item.live, item.other, renamed);
        end if;
        update encrypt.migrations m set key_columns = array_replace(m.key_columns, item.other, renamed)
        where m.migration_id = item.migration_id and item.other = any (m.key_columns);
        update encrypt.migration_columns c set column_name = renamed, value_column = renamed
        where c.migration_id = item.migration_id and c.column_name = item.other;
        if item.tombstones is not null then
            perform encrypt._own_ddl(format('alter table %s rename column %I to %I', item.tombstones, a.attname, renamed))
            from pg_attribute a
            where a.attrelid = item.tombstones and a.attname = item.other and a.attnum > 0 and not a.attisdropped;
        end if;
        perform encrypt._own_ddl(format('alter table %s rename column %I to %I', item.shadow, item.other, renamed));
    end loop;
end
$$;
comment on function encrypt._carry_column(regclass, int2) is 'gives a column''s new name to its counterpart';

-- why: parts of the event triggers and of the steps, which check their caller
revoke all on function
    encrypt._writers_are_out(regclass[]),
    encrypt._home(regclass),
    encrypt._is_at_home(integer),
    encrypt._is_whole(integer),
    encrypt._refresh_sync(integer),
    encrypt._refresh_tasks(integer),
    encrypt._refresh_pairs(integer),
    encrypt._own_ddl(text),
    encrypt._has_rows(regclass),
    encrypt._refresh_partitions(integer),
    encrypt._take_over(integer),
    encrypt._carry_column(regclass, int2)
from public;
