-- Locks of the steps that need a table for themselves: taken within one short time or not at all.

-- lock_timeout counts for each lock alone; a step that takes ten would make the application wait ten times as long.
-- So every lock gets what is left of the step's time.
create function encrypt._limit_waits(deadline timestamptz) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
    left_ms integer := ceil(extract(epoch from deadline - clock_timestamp()) * 1000);
begin
    if left_ms < 1 then
        raise exception using errcode = 'lock_not_available', message = 'no time left to wait for locks';
    end if;
    perform set_config('lock_timeout', left_ms || 'ms', true);
    -- An autovacuum that is in the way is asked to go by whoever waits for it, after deadlock_timeout: one that is longer
    -- than lock_timeout would let an autovacuum of a big table stop every attempt.
    perform set_config('deadlock_timeout', greatest(left_ms / 2, 1) || 'ms', true);
end
$$;
comment on function encrypt._limit_waits(timestamptz) is 'lets the next lock be waited for until a time';

create function encrypt._lock_relation(relation regclass, mode text, deadline timestamptz) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
    qualified text := relation::text;
    kind "char";
    owner name;
begin
    perform encrypt._limit_waits(deadline);
    select c.relkind, pg_get_userbyid(c.relowner) into kind, owner from pg_class c where c.oid = relation;
    begin
        if kind = 'v' then
            -- LOCK TABLE on a view locks every table below it, others' too. Giving it to its owner locks it alone.
            perform encrypt._own_ddl(format('alter view %s owner to %I', qualified, owner));
        elsif kind is not null then
            execute format('lock table only %s in %s mode', qualified, mode);
        end if;
    exception when undefined_table or invalid_schema_name then
        kind := null;
    end;
    -- Whoever made us wait may have dropped it, to make it anew perhaps: the next attempt sees what there is then.
    if kind is null then
        raise exception using errcode = 'lock_not_available', message = format('%s was dropped or renamed meanwhile', qualified);
    end if;
    -- Names can change before they are locked, never afterwards.
    if to_regclass(qualified) is distinct from relation then
        raise exception using errcode = 'lock_not_available', message = format('%s was renamed meanwhile', qualified);
    end if;
end
$$;
comment on function encrypt._lock_relation(regclass, text, timestamptz) is 'locks one table or view alone, until a time';

-- What the tables of a migration are locked with, in the order in which statements of applications take their locks, so
-- that under load two waits seldom cross: who inserts into a referencing table has locked that and then waits for the
-- live table; who reads a view has locked the view; who writes the live table goes on to the shadow (dual write) and to
-- the tables that it references. Where they cross nevertheless, this side gives up and tries again.
create function encrypt._migration_locks(migration integer, out relation regclass, out mode text, out place integer)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with pairs as materialized (select * from encrypt._migration_pairs(migration)),
    tree as materialized (select p.live as relation from pairs p union select p.shadow from pairs p)
    select v.view, 'access exclusive', 1 from encrypt._dependent_views(migration) v
    union all
    select distinct o.conrelid::regclass, 'access exclusive', 2
    from pg_constraint o
    where o.contype = 'f' and o.confrelid in (select t.relation from tree t)
      and o.conrelid not in (select t.relation from tree t)
    union all
    -- One that was dropped must not bar the way back; whoever needs both asks _check_sync.
    select p.live, 'access exclusive', case when p.root then 3 else 4 end
    from pairs p join pg_class c on c.oid = p.live
    union all
    select p.shadow, 'access exclusive', case when p.root then 5 else 6 end
    from pairs p join pg_class c on c.oid = p.shadow
    union all
    -- Only constraint triggers of these are switched: readers go on.
    select distinct o.confrelid::regclass, 'share row exclusive', 7
    from pg_constraint o
    where o.contype = 'f' and o.conrelid in (select t.relation from tree t)
      and o.confrelid not in (select t.relation from tree t)
    order by 3, 1;
end
$$;
comment on function encrypt._migration_locks(integer) is 'what a step locks, and in which order';

-- In a mode that keeps nobody from reading and writing: to wait for DDL or VACUUM of others makes no queue of the application's
-- statements, as waiting for a stronger lock would, and what is asked of the catalogs meanwhile stays as it is.
create function encrypt._lock_out_ddl(migration integer, deadline timestamptz) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    relation regclass;
begin
    for relation in select l.relation from encrypt._migration_locks(migration) l
                    where l.place between 3 and 6 order by l.place, l.relation::oid loop
        perform encrypt._lock_relation(relation, 'share update exclusive', deadline);
    end loop;
end
$$;
comment on function encrypt._lock_out_ddl(integer, timestamptz) is
    'locks the tables of a migration against DDL, until a time, while the application goes on';

-- After _lock_out_ddl, so that it is not DDL that it waits for with everybody behind it.
create function encrypt._lock_migration(migration integer, deadline timestamptz) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    wanted record;
begin
    for wanted in select * from encrypt._migration_locks(migration) l order by l.place, l.relation::oid loop
        perform encrypt._lock_relation(wanted.relation, wanted.mode, deadline);
    end loop;
    -- A view or key that was made before the last lock was held is not among those locked.
    if exists (select from encrypt._migration_locks(migration) l
               where l.place in (1, 2, 7)
                 and not exists (select from pg_locks h
                                 where h.pid = pg_backend_pid() and h.granted and h.locktype = 'relation'
                                   and h.relation = l.relation
                                   and h.mode in ('AccessExclusiveLock', 'ShareRowExclusiveLock'))) then
        raise exception using errcode = 'lock_not_available', message = 'what depends on the table changed meanwhile';
    end if;
end
$$;
comment on function encrypt._lock_migration(integer, timestamptz) is
    'locks the tables of a migration and what hangs on them, until a time';

-- Who is in the way: whoever holds a lock on one of the relations since before the attempt began. Sessions that queued
-- behind it have got theirs by now and are not to blame.
create function encrypt._lock_holders(migration integer, since timestamptz) returns text
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    select string_agg(h.who, '; ' order by h.who)
    from (
        select distinct case
            when x.gid is not null then format('prepared transaction %L', x.gid)
            when a.backend_type <> 'client backend' then format('%s, pid %s', a.backend_type, a.pid)
            else format('pid %s (%s, %s, in its transaction since %s)', a.pid, a.usename, a.state,
                        to_char(a.xact_start, 'HH24:MI:SS'))
        end
        from (select k.relation::oid from encrypt._migration_locks(migration) k
              union
              -- Sequences of columns, which change their names or owners.
              select d.objid from encrypt._migration_pairs(migration) p
              join pg_depend d on d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = p.live
                   and d.refobjsubid > 0 and d.deptype in ('a', 'i')) as m
        join pg_locks l on l.locktype = 'relation' and l.relation = m.relation and l.granted
             and l.database = (select d.oid from pg_database d where d.datname = current_database())
        left join pg_stat_activity a on a.pid = l.pid
        left join pg_prepared_xacts x on l.pid is null and l.virtualtransaction = '-1/' || x.transaction::text
        where l.pid is distinct from pg_backend_pid()
          and (l.pid is null or a.xact_start < since)
    ) as h (who)
$$;
comment on function encrypt._lock_holders(integer, timestamptz) is
    'sessions and prepared transactions that hold locks on what a migration needs for itself';

-- why: helpers of the steps below, with the rights of the extension's owner
revoke all on function encrypt._limit_waits(timestamptz) from public;
revoke all on function encrypt._lock_relation(regclass, text, timestamptz) from public;
revoke all on function encrypt._migration_locks(integer) from public;
revoke all on function encrypt._lock_out_ddl(integer, timestamptz) from public;
revoke all on function encrypt._lock_migration(integer, timestamptz) from public;
revoke all on function encrypt._lock_holders(integer, timestamptz) from public;
