-- Exchanging a table and its shadow: what else there is two by two. Nothing here asks which of the two is encrypted.
--
-- What is asked of the catalogs while locks are held is written in PL/pgSQL, which plans a query once per session: a step
-- rehearses before it takes its locks. A function in SQL would plan it every time, which takes longer than running it.

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
    language plpgsql stable rows 30 security definer set search_path = pg_catalog, pg_temp as
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
    language plpgsql stable rows 5 security definer set search_path = pg_catalog, pg_temp as
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
    language plpgsql stable rows 5 security definer set search_path = pg_catalog, pg_temp as
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
revoke all on function encrypt._index_signature(integer, regclass) from public;
revoke all on function encrypt._index_pairs(integer) from public;
revoke all on function encrypt._identity_pairs(integer) from public;
revoke all on function encrypt._statistics_pairs(integer) from public;
