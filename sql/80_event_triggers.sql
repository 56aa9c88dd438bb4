-- What keeps the order of plaintexts off the disk, and the registry in step with the catalog.
--
-- They run after every DDL statement, so they never compile their few lookups: jit = off.

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
-- why: it stays with PUBLIC. The event trigger calls it as whoever runs a DDL statement; it reads the catalog

create function encrypt._opened_types(expressions pg_node_tree) returns oid[]
    language c stable strict as 'MODULE_PATHNAME', 'opened_types';
comment on function encrypt._opened_types(pg_node_tree) is
    'types whose values stored expressions convert by functions that are not immutable, order, or compare other than by token';

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
-- why: all stay with PUBLIC, as the function above

-- The default btree class of an encrypted type sorts by decrypting. An index on it, or range partitioning by it, would
-- store that order, which tells much of the values; so would a hash of a value that has no token.
-- It runs at the end of every DDL statement: so it leaves as soon as there is nothing to look at, finds indexes by their own indexes,
-- and plans its queries once per session. What a step of a migration alters gets no index and no type by that, and is altered while
-- everybody waits.
create function encrypt._refuse_plaintext_order() returns event_trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_generic_plan as
$$
declare
    found record;
    relations oid[];
    statistics oid[];
begin
    if tg_tag like 'ALTER %' and coalesce(current_setting('pg_encrypt.own_ddl', true), 'off') = 'on' then
        return;
    end if;
    select array_agg(d.objid) filter (where d.classid = 'pg_class'::regclass),
           array_agg(d.objid) filter (where d.classid = 'pg_statistic_ext'::regclass)
    into relations, statistics
    from pg_event_trigger_ddl_commands() d;
    if relations is null and statistics is null then
        return;
    end if;
    if tg_tag like 'ALTER %' then
        relations := encrypt._consisting_of(relations);
    end if;

    select c.oid::regclass as index, t.type_oid, (select n.nspname from pg_namespace n where n.oid = y.typnamespace) as schema, y.typname as type_name,
        t.index_key_id is not null as searchable, m.amname
    into found
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam
    cross join unnest(i.indclass::oid[]) as used (class)
    join pg_opclass o on o.oid = used.class and o.opcdefault
    join encrypt.types t on t.type_oid = o.opcintype
    join pg_type y on y.oid = t.type_oid
    where (i.indexrelid = any (relations) or i.indrelid = any (relations))
      and (m.amname <> 'hash' or t.index_key_id is null)
    limit 1;
    if found.index is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('index "%s" would store the order of plaintexts of type %s', found.index, found.type_oid),
            hint = case when found.searchable
                then format('Use the operator class %1$I.%2$I: create index ... (... %1$I.%2$I);',
                            found.schema, found.type_name || '_ops')
                else 'Make the type searchable: encrypt.create_type(..., searchable => true).' end;
    end if;

    -- The default classes of arrays, rows and ranges compare what these consist of by its own default class.
    select c.oid::regclass as index, w.type_oid::regtype
    into found
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
    select i.indexrelid::regclass, w.type_oid::regtype
    from pg_index i
    cross join unnest(encrypt._result_types(i.indexprs)) as result (type)
    cross join lateral (select encrypt._encrypted_within(result.type)) as w (type_oid)
    where (i.indexrelid = any (relations) or i.indrelid = any (relations))
      and w.type_oid is distinct from encrypt._base_type(result.type) and w.type_oid is not null
    limit 1;
    if found.index is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('index "%s" would store the order of plaintexts of type %s', found.index, found.type_oid),
            hint = 'Make a table with a row per value, and index its column.';
    end if;

    select c.oid::regclass as partitioned, w.type_oid::regtype
    into found
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
    where p.partrelid = any (relations) and w.type_oid is not null
    limit 1;
    if found.partitioned is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('table "%s" can''t be partitioned by a column of type %s',
                             found.partitioned, found.type_oid),
            hint = 'Partition by another column.';
    end if;

    -- Most common values of several columns are stored sorted, by the default class. ALTER TABLE makes a statistics object anew
    -- without telling.
    select x.oid::regclass as relation, w.type_oid::regtype
    into found
    from pg_statistic_ext e
    join pg_class x on x.oid = e.stxrelid
    cross join lateral (
        select encrypt._encrypted_within(a.atttypid)
        from pg_attribute a where a.attrelid = e.stxrelid and a.attnum = any (e.stxkeys::int2[])
        union all
        select encrypt._encrypted_within(result.type) from unnest(encrypt._result_types(e.stxexprs)) as result (type)
    ) as w (type_oid)
    where (e.oid = any (statistics) or e.stxrelid = any (relations)) and w.type_oid is not null
    limit 1;
    if found.relation is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('extended statistics on table "%s" would store the order of plaintexts of type %s',
                             found.relation, found.type_oid),
            hint = 'Leave the encrypted column out.';
    end if;

    -- PostgreSQL stores the results of expressions with functions that are not immutable, as those that decrypt, in statistics
    -- and where a generated column converts them to its type; and it does not look into comparisons of arrays and the like.
    select e.name, w.type_oid::regtype
    into found
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
    cross join unnest(encrypt._opened_types(e.tree)) as opened (type)
    cross join lateral (
        select encrypt._encrypted_within(opened.type)
        union all
        select 'encrypt.ciphertext'::regtype where encrypt._base_type(opened.type) = 'encrypt.ciphertext'::regtype
    ) as w (type_oid)
    where w.type_oid is not null
    limit 1;
    if found.name is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('%s would store what an expression tells of plaintexts of type %s', found.name, found.type_oid),
            hint = 'Leave the encrypted column out.';
    end if;

    -- ANALYZE takes an encrypted type's own function for its columns and for domains. Of arrays, rows and ranges it sorts
    -- the values by plaintext and stores them so, or fails, for the whole table, where the owner may not decrypt.
    for found in
        select a.attrelid::regclass as relation, a.attname
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm', 'f')
        join pg_type y on y.oid = a.atttypid and (y.typtype in ('c', 'd', 'm', 'r') or y.typelem <> 0)
        where a.attrelid = any (relations) and a.attnum > 0 and not a.attisdropped
          and coalesce(a.attstattarget, -1) <> 0
          and encrypt._encrypted_within(a.atttypid) is distinct from encrypt._base_type(a.atttypid)
          and encrypt._encrypted_within(a.atttypid) is not null
    loop
        execute format('alter table only %s alter %I set statistics 0', found.relation, found.attname);
    end loop;
end
$$;
comment on function encrypt._refuse_plaintext_order() is
    'refuses indexes, partitioning and statistics that would store the order of plaintexts';

create function encrypt._forget_dropped_types() returns event_trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off as
$$
declare
    dropped record;
    leftover text;
begin
    -- The types that come with the extension have no row before their key is made, and go with the extension.
    delete from encrypt.types t
    using pg_event_trigger_dropped_objects() d
    where d.classid = 'pg_type'::regclass and t.type_oid = d.objid;
    if not found then
        return;
    end if;

    -- DROP TYPE ... CASCADE takes operator classes along but not their families, nor support functions that don't have
    -- the type in their signature. A class, its family and those functions are named alike, after the type's first
    -- name: types can be renamed.
    for dropped in
        select d.address_names[1] as method, d.address_names[2] as schema, d.address_names[3] as class
        from pg_event_trigger_dropped_objects() d
        where d.classid = 'pg_opclass'::regclass and d.address_names[3] ~ '_(order|hash|ops)$'
    loop
        for leftover in
            with family as (
                select f.oid, format('%I.%I using %I', n.nspname, f.opfname, a.amname) as name
                from pg_opfamily f
                join pg_namespace n on n.oid = f.opfnamespace
                join pg_am a on a.oid = f.opfmethod
                where (a.amname, n.nspname, f.opfname) = (dropped.method, dropped.schema, dropped.class)
                  and not exists (select from pg_opclass o where o.opcfamily = f.oid)
            ), support as (
                select s.amproc::oid as oid from pg_amproc s join family on family.oid = s.amprocfamily
                union
                select p.oid
                from pg_proc p
                join pg_namespace n on n.oid = p.pronamespace
                where n.nspname = dropped.schema
                  and p.proname in ('_' || regexp_replace(dropped.class, '_[a-z]+$', '') || '_sort_support',
                                    '_' || regexp_replace(dropped.class, '_[a-z]+$', '') || '_token_sort_support')
            )
            select statement
            from (
                select 1 as step, format('drop operator family %s', name) as statement from family
                union all
                select 2, format('drop function %s', p.oid::regprocedure)
                from support join pg_proc p on p.oid = support.oid
                where p.probin like '%/pg_encrypt'
            ) as statements
            order by step
        loop
            execute leftover;
        end loop;
    end loop;
end
$$;
comment on function encrypt._forget_dropped_types() is
    'removes dropped types from the registry, and what DROP TYPE leaves of them';

-- In C, because plpgsql does not see which objects a statement is about, nor CASCADE; and before the statement, because
-- after it this function is gone.
create function encrypt._guard_drop() returns event_trigger
    language c set search_path = pg_catalog, pg_temp as 'MODULE_PATHNAME', 'guard_drop';
comment on function encrypt._guard_drop() is
    'refuses to drop the extension together with encrypted data, unless pg_encrypt.allow_drop is on';

-- In C, because plpgsql does not see the statement; and before it, because CREATE INDEX CONCURRENTLY has committed an
-- index by the time it ends. It sets no search_path, since it looks the table up as the statement does.
create function encrypt._guard_concurrent_index() returns event_trigger
    language c as 'MODULE_PATHNAME', 'guard_concurrent_index';
comment on function encrypt._guard_concurrent_index() is
    'refuses CREATE INDEX CONCURRENTLY that would store the order of plaintexts';

-- why: event trigger functions are called by event triggers only
revoke all on function encrypt._refuse_plaintext_order() from public;
revoke all on function encrypt._forget_dropped_types() from public;
revoke all on function encrypt._guard_drop() from public;
revoke all on function encrypt._guard_concurrent_index() from public;

create event trigger pg_encrypt_plaintext_order on ddl_command_end
    execute function encrypt._refuse_plaintext_order();
create event trigger pg_encrypt_dropped_types on sql_drop
    execute function encrypt._forget_dropped_types();
create event trigger pg_encrypt_drop on ddl_command_start when tag in ('DROP EXTENSION', 'DROP OWNED')
    execute function encrypt._guard_drop();
create event trigger pg_encrypt_concurrent_index on ddl_command_start when tag in ('CREATE INDEX')
    execute function encrypt._guard_concurrent_index();
alter event trigger pg_encrypt_plaintext_order enable always;
alter event trigger pg_encrypt_dropped_types enable always;
alter event trigger pg_encrypt_drop enable always;
alter event trigger pg_encrypt_concurrent_index enable always;

comment on event trigger pg_encrypt_plaintext_order is 'no index in the order of plaintexts';
comment on event trigger pg_encrypt_dropped_types is 'keeps encrypt.types in step with DROP TYPE';
comment on event trigger pg_encrypt_drop is 'no DROP EXTENSION ... CASCADE with encrypted data';
