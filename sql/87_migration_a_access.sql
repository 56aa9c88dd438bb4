-- Migrations: one of them, locked for whoever may change it; what comes next for it; its tables, two by two.
--
-- Cutover and rollback after cutover are the same act: the table that is live and the one kept in step with it change
-- places. So whoever works on both asks for live and shadow. Which of them is encrypted, migration_relations says.

-- The row is the lock between steps: of two sessions that change one migration, the second waits, then sees the new phase.
create function encrypt._own_migration(migration integer) returns encrypt.migrations
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    owner oid;
    owned regclass;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration for update;
    if m.migration_id is null then
        raise exception using errcode = 'undefined_object', message = format('migration %s does not exist', migration),
            hint = 'Run: select migration_id, live, phase from encrypt.migrations;';
    end if;
    -- Either table may have been dropped. Of an ended migration whose table was dropped nothing is left to own.
    select c.relowner, c.oid into owner, owned from pg_class c where c.oid in (m.live, m.shadow)
    order by c.oid = m.live desc limit 1;
    if owner is not null and not pg_has_role(encrypt._outer_user(), owner, 'usage') then
        raise exception using errcode = 'insufficient_privilege', message = format('must be owner of table %s', owned);
    end if;
    -- Restored from a dump since.
    if m.ended_at is null and not encrypt._is_at_home(migration) then
        perform encrypt._take_over(migration);
    end if;
    return m;
end
$$;
comment on function encrypt._own_migration(integer) is 'locks a migration for the owner of its table';

create function encrypt._migration_for(migration integer, variadic phases text[]) returns encrypt.migrations
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations := encrypt._own_migration(migration);
begin
    if m.phase <> all (phases) then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s is %s, not %s', migration, m.phase, array_to_string(phases, ' or ')),
            hint = 'Run: ' || encrypt._next_step(migration, m.phase);
    end if;
    return m;
end
$$;
comment on function encrypt._migration_for(integer, text[]) is
    'a migration, locked, if the caller owns its table and it is in one of the phases';

create function encrypt._next_step(migration integer, phase text) returns text
    language sql immutable set search_path = pg_catalog, pg_temp as
$$
    select case
        when phase in ('dual_writing', 'backfilling') then format('call encrypt.backfill(%s);', migration)
        when phase = 'backfilled' then format('call encrypt.verify(%s);', migration)
        when phase = 'verified' then format('call encrypt.cutover(%s);', migration)
        when phase = 'cut_over' then format('call encrypt.finalize_migration(%s);', migration)
        else 'call encrypt.migrate(...);'
    end
$$;
comment on function encrypt._next_step(integer, text) is 'statement that takes a migration on from a phase';

create function encrypt._migration_pairs(migration integer, out live regclass, out shadow regclass, out root boolean)
    returns setof record
    language plpgsql stable rows 10 security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select case when d.forward then r.plain else r.encrypted end,
           case when d.forward then r.encrypted else r.plain end,
           m.live in (r.plain, r.encrypted)
    from encrypt.migrations m
    join encrypt.migration_relations r using (migration_id)
    cross join lateral (select exists (select from encrypt.migration_relations f
                                       where f.migration_id = m.migration_id and f.plain = m.live)) as d (forward)
    where m.migration_id = migration
    order by 3 desc, r.plain::oid;
end
$$;
comment on function encrypt._migration_pairs(integer) is
    'tables of a migration, each with its counterpart, the root of a partition tree first';

-- Without partitions of which one was dropped.
create function encrypt._present_pairs(migration integer, out live regclass, out shadow regclass, out root boolean)
    returns setof record
    language plpgsql stable rows 10 security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select p.live, p.shadow, p.root from encrypt._migration_pairs(migration) p
    where exists (select from pg_class c where c.oid = p.live) and exists (select from pg_class c where c.oid = p.shadow);
end
$$;
comment on function encrypt._present_pairs(integer) is 'tables of a migration that are there, each with its counterpart';

-- Pairs of tables that hold rows. forward: the live one is the plaintext one.
create function encrypt._leaf_pairs(migration integer)
    returns table (live regclass, shadow regclass, plain regclass, encrypted regclass, forward boolean)
    language sql stable rows 10 set search_path = pg_catalog, pg_temp
begin atomic
    select p.live, p.shadow, r.plain, r.encrypted, p.live = r.plain
    from encrypt._migration_pairs(migration) p
    join encrypt.migration_relations r on r.migration_id = migration and r.plain in (p.live, p.shadow)
    join pg_class c on c.oid = r.plain and c.relkind = 'r'
    order by r.plain::oid;
end;
comment on function encrypt._leaf_pairs(integer) is 'tables of a migration that hold rows, with their counterparts';

-- why: helpers of functions that check their caller; what comes next is said in a view that everybody may read
revoke all on function
    encrypt._own_migration(integer),
    encrypt._migration_for(integer, text[]),
    encrypt._migration_pairs(integer),
    encrypt._present_pairs(integer),
    encrypt._leaf_pairs(integer)
from public;
