-- Exchanging a table and its shadow.
--
-- Cutover and rollback after cutover are the same act: the table that is live and the one kept in step with it change
-- places. So nothing here asks which of the two is encrypted. encrypt.migrations.live says which one the application
-- uses, and everything is "live" and "shadow" from there.
--
-- What is asked of the catalogs while locks are held is written in PL/pgSQL, which plans a query once per session: a step
-- rehearses before it takes its locks. A function in SQL would plan it every time, which takes longer than running it.

create function encrypt._migration_for(migration integer, variadic phases text[]) returns encrypt.migrations
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found_migration encrypt.migrations;
    owner oid;
    owned regclass;
begin
    -- The row is the lock between steps: of two sessions that change one migration, the second waits, then sees the
    -- new phase.
    select * into found_migration from encrypt.migrations m where m.migration_id = migration for update;
    if found_migration.migration_id is null then
        raise exception using errcode = 'undefined_object', message = format('migration %s does not exist', migration),
            hint = 'select migration_id, live, phase from encrypt.migrations;';
    end if;
    -- Either of them may have been dropped.
    select c.relowner, c.oid into owner, owned from pg_class c where c.oid in (found_migration.live, found_migration.shadow)
    order by c.oid = found_migration.live desc limit 1;
    -- Of an ended migration whose table was dropped nothing is left to own.
    if owner is not null and not pg_has_role(encrypt._outer_user(), owner, 'USAGE') then
        raise exception using errcode = 'insufficient_privilege',
            message = format('must be owner of table %s', owned);
    end if;
    if found_migration.phase <> all (phases) then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s is %s, not %s', migration, found_migration.phase,
                             array_to_string(phases, ' or ')),
            hint = encrypt._next_step(migration, found_migration.phase);
    end if;
    return found_migration;
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
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
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

-- What an index is, apart from its name, its table and how a type compares: what counterparts have in common.
create function encrypt._index_signature(migration integer, index regclass) returns text
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select json_build_array(
        -- Columns by the names that they have on the plaintext table.
        (select array_agg(coalesce(quote_ident(m.column_name), pg_get_indexdef(i.indexrelid, k, false)) order by k)
         from generate_series(1, i.indnatts) as k
         left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = (i.indkey::int2[])[k - 1]
         left join encrypt.migration_columns m on m.migration_id = _index_signature.migration
              and a.attname in (m.value_column, m.index_column)),
        i.indnkeyatts, i.indoption::text, i.indisunique, i.indisprimary, i.indisexclusion,
        to_jsonb(i) -> 'indnullsnotdistinct', pg_get_expr(i.indpred, i.indrelid))::text
    from pg_index i where i.indexrelid = index
$$;
comment on function encrypt._index_signature(integer, regclass) is 'columns, order, predicate and kind of an index';

-- Counterparts are found by what they are, not by what was recorded when the shadow was made: that survives a dump, and
-- an index that somebody made on both tables meanwhile counts.
create function encrypt._index_pairs(migration integer, out live regclass, out shadow regclass, out relation regclass)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with pairs as materialized (select * from encrypt._migration_pairs(migration)),
    indexes as materialized (
        select i.indexrelid, i.indrelid, s.signature,
               row_number() over (partition by i.indrelid, s.signature order by m.amname, c.relname) as nth
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        join pg_am m on m.oid = c.relam
        cross join lateral (select encrypt._index_signature(migration, i.indexrelid)) as s (signature)
        where i.indisvalid
          and (i.indrelid in (select p.live from pairs p) or i.indrelid in (select p.shadow from pairs p))
    )
    select l.indexrelid::regclass, s.indexrelid::regclass, p.live
    from pairs p
    join indexes l on l.indrelid = p.live
    left join indexes s on s.indrelid = p.shadow and s.signature = l.signature and s.nth = l.nth
    order by p.root desc, p.live::oid, l.indexrelid;
end
$$;
comment on function encrypt._index_pairs(integer) is
    'indexes of the live tables, each with its counterpart on the shadow or null';

create function encrypt._identity_pairs(migration integer, out live regclass, out shadow regclass)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select l.objid::regclass, s.objid::regclass
    from encrypt._migration_pairs(migration) p
    join pg_attribute a on a.attrelid = p.live and a.attidentity <> '' and not a.attisdropped
    join pg_attribute b on b.attrelid = p.shadow and b.attname = a.attname and not b.attisdropped
    join pg_depend l on l.classid = 'pg_class'::regclass and l.refclassid = 'pg_class'::regclass and l.deptype = 'i'
         and l.refobjid = p.live and l.refobjsubid = a.attnum
    join pg_depend s on s.classid = 'pg_class'::regclass and s.refclassid = 'pg_class'::regclass and s.deptype = 'i'
         and s.refobjid = p.shadow and s.refobjsubid = b.attnum
    join pg_class c on c.oid = l.objid and c.relkind = 'S'
    join pg_class d on d.oid = s.objid and d.relkind = 'S'
    order by 1;
end
$$;
comment on function encrypt._identity_pairs(integer) is 'sequences of identity columns, each with its counterpart';

create function encrypt._statistics_pairs(migration integer, out live oid, out shadow oid)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with pairs as materialized (select * from encrypt._migration_pairs(migration)),
    objects as materialized (
        select s.oid, s.stxrelid, n.signature,
               row_number() over (partition by s.stxrelid, n.signature order by s.stxname) as nth
        from pg_statistic_ext s
        cross join lateral (
            select json_build_array(s.stxkind::text, pg_get_statisticsobjdef_columns(s.oid))::text) as n (signature)
        where s.stxrelid in (select p.live from pairs p) or s.stxrelid in (select p.shadow from pairs p)
    )
    select l.oid, s.oid
    from pairs p
    join objects l on l.stxrelid = p.live
    left join objects s on s.stxrelid = p.shadow and s.signature = l.signature and s.nth = l.nth
    order by l.oid;
end
$$;
comment on function encrypt._statistics_pairs(integer) is
    'extended statistics of the live tables, each with its counterpart or null';

-- why: helpers of the steps below, with the rights of the extension's owner
revoke all on function encrypt._migration_for(integer, text[]) from public;
revoke all on function encrypt._next_step(integer, text) from public;
revoke all on function encrypt._migration_pairs(integer) from public;
revoke all on function encrypt._index_signature(integer, regclass) from public;
revoke all on function encrypt._index_pairs(integer) from public;
revoke all on function encrypt._identity_pairs(integer) from public;
revoke all on function encrypt._statistics_pairs(integer) from public;
