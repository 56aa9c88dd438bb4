-- Migration, planning: keys, unique and exclusion constraints, indexes and extended statistics of the encrypted table.
--
-- For partitioned tables as pg_dump does it: each table its own, ONLY, then partitions' indexes are attached. So each
-- keeps its name and settings.

-- What follows the table's name in CREATE INDEX. As PostgreSQL writes it where no encrypted column is involved; else
-- element by element, with the class of the encrypted type that orders by token, which is none's default.
create function encrypt._index_body(migration integer, index regclass) returns text
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    i record;
    definition constant text := pg_get_indexdef(index);
    head text;
begin
    select x.indexrelid, x.indisunique, x.indkey::int2[] as keys, x.indnkeyatts, x.indclass::oid[] as classes,
           x.indcollation::oid[] as collations, x.indoption::int2[] as flags, x.indrelid::regclass as relation,
           pg_get_expr(x.indpred, x.indrelid) as predicate,
           coalesce((to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false) as nulls_not_distinct,
           c.relname, c.relkind, c.relnamespace, c.reloptions, m.amname, r.relname as table_name, r.relnamespace as table_schema
    into i
    from pg_index x
    join pg_class c on c.oid = x.indexrelid
    join pg_am m on m.oid = c.relam
    join pg_class r on r.oid = x.indrelid
    where x.indexrelid = index;
    if not encrypt._column_numbers(i.relation, encrypt._migrated(migration)) && i.keys then
        head := format('CREATE %sINDEX %I ON %s%I.%I ', case when i.indisunique then 'UNIQUE ' else '' end, i.relname,
                       case when i.relkind = 'I' then 'ONLY ' else '' end,
                       (select n.nspname from pg_namespace n where n.oid = i.table_schema), i.table_name);
        if not starts_with(definition, head) then
            raise exception using errcode = 'internal_error', message = format('definition of index %s is not understood', index);
        end if;
        return substr(definition, length(head) + 1);
    end if;
    return (
        select concat_ws(' ',
            format('using %I (%s)', i.amname, string_agg(e.element, ', ' order by e.position) filter (where e.position <= i.indnkeyatts)),
            'include (' || string_agg(e.element, ', ' order by e.position) filter (where e.position > i.indnkeyatts) || ')',
            case when i.nulls_not_distinct then 'nulls not distinct' end,
            'with (' || encrypt._options_text(i.reloptions) || ')',
            'where ' || i.predicate)
        from (
            select n.position,
                   concat_ws(' ',
                       coalesce(quote_ident(case when n.position <= i.indnkeyatts then m.index_column else m.value_column end),
                                pg_get_indexdef(index, n.position::integer, false)),
                       case when n.position <= i.indnkeyatts then concat_ws(' ',
                           'collate ' || case when m.index_column is null
                                              then nullif(i.collations[n.position - 1], 0)::regcollation::text end,
                           case when m.cipher_type is null then format('%s.%I', o.opcnamespace::regnamespace, o.opcname)
                                when i.amname = 'btree' and m.index_column is null then encrypt._token_class(m.cipher_type) end,
                           '(' || (select encrypt._options_text(a.attoptions) from pg_attribute a
                                   where a.attrelid = index and a.attnum = n.position and m.cipher_type is null) || ')',
                           case when i.amname = 'btree' and i.flags[n.position - 1] & 1 = 1 then 'desc' end,
                           case when i.amname = 'btree' and i.flags[n.position - 1] & 3 = 2 then 'nulls first'
                                when i.amname = 'btree' and i.flags[n.position - 1] & 3 = 1 then 'nulls last' end) end) as element
            from (select k.attnum, k.position::integer as position
                  from unnest(i.keys) with ordinality as k (attnum, position)) as n
            left join pg_opclass o on o.oid = i.classes[n.position - 1]
            left join pg_attribute a on a.attrelid = i.relation and a.attnum = n.attnum
            left join encrypt.migration_columns m on m.migration_id = migration and m.column_name = a.attname
        ) as e);
end
$$;
comment on function encrypt._index_body(integer, regclass) is 'CREATE INDEX from USING on, for the encrypted table';

-- The class that sorts by token. Encrypted types have two btree classes; the other, the default one, sorts by plaintext.
create function encrypt._token_class(type regtype) returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select format('%s.%I', o.opcnamespace::regnamespace, o.opcname)
    from pg_opclass o join pg_am m on m.oid = o.opcmethod and m.amname = 'btree'
    where o.opcintype = type and not o.opcdefault
$$;
comment on function encrypt._token_class(regtype) is 'btree operator class of an encrypted type that sorts by token';

create function encrypt._make_indexes(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    i record;
    columns constant name[] := encrypt._migrated(migration);
    search constant name[] := array(select m.column_name from encrypt.migration_columns m
                                    where m.migration_id = migration and m.searchable);
    made_name name;
    made regclass;
    as_constraint boolean;
begin
    for i in
        select r.plain, r.encrypted, x.indexrelid::regclass as index, x.indisunique, x.indisclustered, c.relname, c.relnamespace,
               c.reloptions, s.spcname, k.conname, k.contype, pg_get_constraintdef(k.oid) as definition,
               x.indkey::int2[] && encrypt._column_numbers(r.plain, columns) as on_encrypted,
               (x.indkey::int2[])[0:x.indnkeyatts - 1] && encrypt._column_numbers(r.plain, columns) as orders_encrypted,
               exists (select from pg_inherits h where h.inhrelid = x.indexrelid) as attached,
               encrypt._index_obstacle(x.indexrelid, columns, search) as obstacle,
               case when d.relkind = 'p' then 'only ' else '' end as only
        from encrypt.migration_relations r
        join pg_class d on d.oid = r.plain
        join pg_index x on x.indrelid = r.plain
        join pg_class c on c.oid = x.indexrelid
        left join pg_tablespace s on s.oid = c.reltablespace
        left join pg_constraint k on k.conindid = x.indexrelid and k.conrelid = x.indrelid and k.contype in ('p', 'u', 'x')
        where r.migration_id = migration
        -- Constraints first: a primary key says which columns are not null.
        order by k.contype is null, k.contype = 'p' desc, r.plain, c.relname
    loop
        if i.obstacle is not null then
            if not i.attached then
                raise notice 'index % is left out: it %', i.index, i.obstacle;
            end if;
            continue;
        end if;
        made_name := encrypt._free_name(i.relname, '_encrypted', i.relnamespace);
        as_constraint := i.contype is not null and not i.on_encrypted;
        if as_constraint then
            perform encrypt._execute_as_owner(i.plain,
                format('alter table only %s add constraint %I %s', i.encrypted, made_name, i.definition));
        else
            perform encrypt._execute_as_owner(i.plain,
                format('create %s index %I on %s%s %s', case when i.indisunique then 'unique' end, made_name, i.only, i.encrypted,
                       encrypt._index_body(migration, i.index)));
        end if;
        made := to_regclass(format('%s.%I', i.relnamespace::regnamespace, made_name));
        insert into encrypt.migration_objects (migration_id, kind, plain, encrypted, name)
        values (migration, 'index', i.index, made, i.relname);
        if as_constraint and i.reloptions is not null then
            perform encrypt._execute_as_owner(i.plain, format('alter index %s set (%s)', made, encrypt._options_text(i.reloptions)));
        end if;
        if i.spcname is not null then
            perform encrypt._execute_as_owner(i.plain, format('alter index %s set tablespace %I', made, i.spcname));
        end if;
        if i.indisclustered then
            perform encrypt._execute_as_owner(i.plain, format('alter table %s cluster on %I', i.encrypted, made_name));
        end if;
        if i.orders_encrypted and not i.attached then
            raise notice 'index % will find equal values only, by their tokens%', i.index,
                case when i.contype is not null then format(', and is no constraint: on conflict on constraint %I ends', i.conname)
                     else '' end;
        end if;
    end loop;
    perform encrypt._attach_indexes(migration);
    perform encrypt._set_index_columns(migration);
end
$$;
comment on function encrypt._make_indexes(integer) is 'makes indexes and the constraints that are indexes on the encrypted tables';

create function encrypt._attach_indexes(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    i record;
begin
    for i in
        select p.encrypted::regclass as parent, c.encrypted::regclass as child, x.indrelid::regclass as plain
        from encrypt.migration_objects c
        join pg_inherits h on h.inhrelid = c.plain
        join encrypt.migration_objects p on p.migration_id = migration and p.kind = 'index' and p.plain = h.inhparent
        join pg_index x on x.indexrelid = c.plain
        where c.migration_id = migration and c.kind = 'index'
        order by c.plain
    loop
        perform encrypt._execute_as_owner(i.plain, format('alter index %s attach partition %s', i.parent, i.child));
    end loop;
end
$$;
comment on function encrypt._attach_indexes(integer) is 'attaches indexes of partitions to those of their parents';

-- Statistics targets of index expressions.
create function encrypt._set_index_columns(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    i record;
begin
    for i in
        select x.indrelid::regclass as plain, o.encrypted::regclass as index, a.attnum, a.attstattarget
        from encrypt.migration_objects o
        join pg_index x on x.indexrelid = o.plain
        join pg_attribute a on a.attrelid = o.plain and a.attstattarget >= 0
        where o.migration_id = migration and o.kind = 'index'
    loop
        perform encrypt._execute_as_owner(i.plain,
            format('alter index %s alter column %s set statistics %s', i.index, i.attnum, i.attstattarget));
    end loop;
end
$$;
comment on function encrypt._set_index_columns(integer) is 'statistics targets of index expressions';

create function encrypt._make_statistics(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    s record;
    made_name name;
    made oid;
begin
    for s in
        select r.plain, r.encrypted, x.oid, x.stxname, x.stxnamespace, x.stxstattarget, x.stxowner::regrole as owner,
               pg_get_statisticsobjdef_columns(x.oid) as columns,
               -- A single expression has no kinds.
               case when not (cardinality(x.stxkeys::int2[]) = 0 and x.stxkind::text = '{e}') then
                   (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' when 'm' then 'mcv' end, ', ')
                    from unnest(x.stxkind) as k where k <> 'e') end as kinds
        from encrypt.migration_relations r join pg_statistic_ext x on x.stxrelid = r.plain
        where r.migration_id = migration
        order by x.oid
    loop
        made_name := encrypt._free_name(s.stxname, '_encrypted', s.stxnamespace);
        perform encrypt._execute_as_owner(s.plain,
            format('create statistics %s.%I%s on %s from %s', s.stxnamespace::regnamespace, made_name, ' (' || s.kinds || ')',
                   s.columns, s.encrypted));
        select x.oid into made from pg_statistic_ext x where x.stxname = made_name and x.stxnamespace = s.stxnamespace;
        if s.stxstattarget >= 0 then
            perform encrypt._execute_as_owner(s.plain, format('alter statistics %s.%I set statistics %s',
                s.stxnamespace::regnamespace, made_name, s.stxstattarget));
        end if;
        execute format('alter statistics %s.%I owner to %s', s.stxnamespace::regnamespace, made_name, s.owner);
        insert into encrypt.migration_objects (migration_id, kind, plain, encrypted, name)
        values (migration, 'statistics', s.oid, made, s.stxname);
    end loop;
end
$$;
comment on function encrypt._make_statistics(integer) is 'makes extended statistics on the encrypted tables';

create function encrypt._set_replica_identity(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    r record;
begin
    for r in
        select t.plain, t.encrypted,
               case c.relreplident when 'f' then 'full' when 'n' then 'nothing' when 'i' then 'using index ' || quote_ident(n.relname) end
                   as wanted
        from encrypt.migration_relations t
        join pg_class c on c.oid = t.plain
        left join pg_index x on x.indrelid = t.plain and x.indisreplident
        left join encrypt.migration_objects o on o.migration_id = migration and o.kind = 'index' and o.plain = x.indexrelid
        left join pg_class n on n.oid = o.encrypted
        where t.migration_id = migration and c.relreplident <> 'd'
    loop
        perform encrypt._execute_as_owner(r.plain, format('alter table only %s replica identity %s', r.encrypted, r.wanted));
    end loop;
end
$$;
comment on function encrypt._set_replica_identity(integer) is 'gives the encrypted tables the replica identity of their counterparts';

-- why: parts of start_migration
revoke all on function encrypt._index_body(integer, regclass) from public;
revoke all on function encrypt._token_class(regtype) from public;
revoke all on function encrypt._make_indexes(integer) from public;
revoke all on function encrypt._attach_indexes(integer) from public;
revoke all on function encrypt._set_index_columns(integer) from public;
revoke all on function encrypt._make_statistics(integer) from public;
revoke all on function encrypt._set_replica_identity(integer) from public;
