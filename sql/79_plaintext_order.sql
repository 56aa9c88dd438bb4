-- What would store plaintexts, or their order: asked of relations and statistics after DDL, a question per kind of object, each with
-- its remedy. Nothing here looks at rows.
--
-- why: all stay with PUBLIC. The event trigger calls them as whoever runs a DDL statement; they read the catalog.

create function encrypt._encrypted_within(type oid) returns oid
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    with recursive parts (type) as (
        select type
        union
        select inner_type from parts
        join pg_type t on t.oid = parts.type
        cross join lateral (
            select t.typbasetype
            union all
            select t.typelem
            union all
            select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
            union all
            select r.rngsubtype from pg_range r where t.typtype in ('r', 'm') and t.oid in (r.rngtypid, r.rngmultitypid)
        ) as part (inner_type)
        where inner_type <> 0
    )
    select e.type_oid::oid from parts join encrypt.types e on e.type_oid = parts.type
    order by e.index_key_id is not null limit 1
$$;
comment on function encrypt._encrypted_within(oid) is
    'an encrypted type that a type is, or that its arrays, rows or ranges consist of; rather one that is not searchable';

create function encrypt._opened_types(expressions pg_node_tree) returns oid[]
    language c stable strict as 'MODULE_PATHNAME', 'opened_types';
comment on function encrypt._opened_types(pg_node_tree) is
    'types whose values stored expressions convert by functions that are not immutable, or order';

create function encrypt._equated_types(expressions pg_node_tree) returns oid[]
    language c stable strict as 'MODULE_PATHNAME', 'equated_types';
comment on function encrypt._equated_types(pg_node_tree) is
    'types whose values stored expressions compare for equality inside of arrays and rows';

create function encrypt._result_types(expressions pg_node_tree) returns oid[]
    language c stable strict as 'MODULE_PATHNAME', 'result_types';
comment on function encrypt._result_types(pg_node_tree) is 'types of the results of stored expressions';

-- Through rows: a type that gets an attribute is that of columns, or of what they consist of, which have indexes by now.
create function encrypt._consisting_of(relations oid[]) returns oid[]
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    with recursive users (classid, objid) as (
        select 'pg_type'::regclass::oid, c.reltype from pg_class c where c.oid = any (relations) and c.reltype <> 0
        union
        select found.classid, found.objid
        from users u
        cross join lateral (
            select d.classid, d.objid
            from pg_depend d
            where u.classid = 'pg_type'::regclass and d.refclassid = 'pg_type'::regclass and d.refobjid = u.objid
              and d.classid in ('pg_type'::regclass, 'pg_class'::regclass)
            union all
            select 'pg_type'::regclass, c.reltype
            from pg_class c where u.classid = 'pg_class'::regclass and c.oid = u.objid and c.reltype <> 0
        ) as found
    )
    select relations || array(select objid from users where classid = 'pg_class'::regclass and objid <> all (relations))
$$;
comment on function encrypt._consisting_of(oid[]) is 'relations, and those with columns of their rows'' types';

-- The default btree class of an encrypted type sorts by decrypting: an index on it would store that order, which tells much of the
-- values; so would a hash of a value that has no token.
create function encrypt._ordering_indexes(relations oid[]) returns table (problem text, remedy text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select format('index "%s" would store the order of plaintexts of type %s', c.oid::regclass, t.type_oid),
           case when t.index_key_id is not null
                then format('Use the operator class %1$I.%2$I: create index ... (... %1$I.%2$I);', n.nspname, y.typname || '_ops')
                else 'Make the type searchable: encrypt.create_type(..., searchable => true).' end
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam
    cross join unnest(i.indclass::oid[]) as used (class)
    join pg_opclass o on o.oid = used.class and o.opcdefault
    join encrypt.types t on t.type_oid = o.opcintype
    join pg_type y on y.oid = t.type_oid
    join pg_namespace n on n.oid = y.typnamespace
    where (i.indexrelid = any (relations) or i.indrelid = any (relations))
      and (m.amname <> 'hash' or t.index_key_id is null)
    union all
    -- The default classes of arrays, rows and ranges compare what these consist of by its own default class.
    select format('index "%s" would store the order of plaintexts of type %s', c.oid::regclass, w.type_oid::regtype),
           'Make a table with a row per value, and index its column.'
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam
    join pg_attribute a on a.attrelid = i.indexrelid and a.attnum <= i.indnkeyatts
    join pg_opclass o on o.oid = i.indclass[a.attnum - 1] and o.opcdefault
    join pg_type y on y.oid = o.opcintype and y.typtype = 'p'
    -- A hash index has the type of its hashes.
    left join pg_attribute h on h.attrelid = i.indrelid and h.attnum = nullif(i.indkey[a.attnum - 1], 0)
    cross join lateral (select encrypt._encrypted_within(coalesce(h.atttypid, a.atttypid))) as w (type_oid)
    left join encrypt.types t on t.type_oid = w.type_oid
    where (i.indexrelid = any (relations) or i.indrelid = any (relations))
      and (m.amname <> 'hash' or t.index_key_id is null) and w.type_oid is not null
    union all
    -- Of an expression, as of a column, ANALYZE sorts the results, whatever the index is.
    select format('index "%s" would store the order of plaintexts of type %s', i.indexrelid::regclass, w.type_oid::regtype),
           'Make a table with a row per value, and index its column.'
    from pg_index i
    cross join unnest(encrypt._result_types(i.indexprs)) as result (type)
    cross join lateral (select encrypt._encrypted_within(result.type)) as w (type_oid)
    where (i.indexrelid = any (relations) or i.indrelid = any (relations))
      and w.type_oid is distinct from encrypt._base_type(result.type) and w.type_oid is not null;
end
$$;
comment on function encrypt._ordering_indexes(oid[]) is 'indexes that would be in the order of plaintexts';

create function encrypt._ordering_partitions(relations oid[]) returns table (problem text, remedy text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select format('table "%s" can''t be partitioned by a column of type %s', c.oid::regclass, w.type_oid::regtype),
           'Partition by another column.'
    from pg_partitioned_table p
    join pg_class c on c.oid = p.partrelid
    cross join lateral (
        select encrypt._encrypted_within(o.opcintype)
        from unnest(p.partclass::oid[]) as used (class) join pg_opclass o on o.oid = used.class
        union all
        select encrypt._encrypted_within(a.atttypid)
        from pg_attribute a where a.attrelid = p.partrelid and a.attnum = any (p.partattrs::int2[])
        union all
        select encrypt._encrypted_within(result.type) from unnest(encrypt._result_types(p.partexprs)) as result (type)
    ) as w (type_oid)
    where p.partrelid = any (relations) and w.type_oid is not null;
end
$$;
comment on function encrypt._ordering_partitions(oid[]) is 'tables that would be partitioned by plaintexts';

-- Most common values of several columns are stored sorted, by the default class. ALTER TABLE makes a statistics object anew
-- without telling.
create function encrypt._ordering_statistics(relations oid[], statistics oid[]) returns table (problem text, remedy text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select format('extended statistics on table "%s" would store the order of plaintexts of type %s', x.oid::regclass, w.type_oid::regtype),
           'Leave the encrypted column out.'
    from pg_statistic_ext e
    join pg_class x on x.oid = e.stxrelid
    cross join lateral (
        select encrypt._encrypted_within(a.atttypid)
        from pg_attribute a where a.attrelid = e.stxrelid and a.attnum = any (e.stxkeys::int2[])
        union all
        select encrypt._encrypted_within(result.type) from unnest(encrypt._result_types(e.stxexprs)) as result (type)
    ) as w (type_oid)
    where (e.oid = any (statistics) or e.stxrelid = any (relations)) and w.type_oid is not null;
end
$$;
comment on function encrypt._ordering_statistics(oid[], oid[]) is 'extended statistics that would hold plaintexts in their order';

-- PostgreSQL stores the results of expressions with functions that are not immutable, as those that decrypt, in statistics
-- and where a generated column converts them to its type; and it does not look into comparisons of arrays and the like.
create function encrypt._telling_expressions(relations oid[], statistics oid[]) returns table (problem text, remedy text)
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select format('%s would store what an expression tells of plaintexts of type %s', e.name, w.type_oid::regtype),
           'Leave the encrypted column out.'
    from (
        select format('index "%s"', i.indexrelid::regclass), e.tree
        from pg_index i
        cross join lateral (values (i.indexprs), (i.indpred)) as e (tree)
        where i.indexrelid = any (relations) or i.indrelid = any (relations)
        union all
        select format('generated column "%s" of table "%s"', a.attname, d.adrelid::regclass), d.adbin
        from pg_attrdef d
        join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attgenerated = 's'
        where d.adrelid = any (relations)
        union all
        select format('partitioning of table "%s"', p.partrelid::regclass), p.partexprs
        from pg_partitioned_table p where p.partrelid = any (relations)
        union all
        select format('extended statistics on table "%s"', s.stxrelid::regclass), s.stxexprs
        from pg_statistic_ext s where s.oid = any (statistics) or s.stxrelid = any (relations)
    ) as e (name, tree)
    cross join lateral (
        select encrypt._encrypted_within(opened.type) from unnest(encrypt._opened_types(e.tree)) as opened (type)
        union all
        select 'encrypt.ciphertext'::regtype
        from unnest(encrypt._opened_types(e.tree)) as opened (type)
        where encrypt._base_type(opened.type) = 'encrypt.ciphertext'::regtype
        union all
        -- Values of searchable types are equal by their tokens, which the columns show anyway.
        select t.type_oid
        from unnest(encrypt._equated_types(e.tree)) as equated (type)
        join encrypt.types t on t.type_oid = encrypt._encrypted_within(equated.type) and t.index_key_id is null
    ) as w (type_oid)
    where w.type_oid is not null;
end
$$;
comment on function encrypt._telling_expressions(oid[], oid[]) is 'expressions whose results would be stored, and are made of plaintexts';
