-- Exchanging a table and its shadow: names.

-- Live and shadow change names, so do their sequences, and what was live gets a name of its own. The root of a table with a view is
-- another matter: the encrypted table keeps its name, and the plaintext table gives its own to the view, or gets it back.
create function encrypt._future_names(migration integer) returns setof encrypt._relation_name
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    suffix constant text := encrypt._retired_suffix(migration);
    forward constant boolean := suffix = '_plaintext';
    future encrypt._relation_name;
    taken name[] := '{}';
    item record;
begin
    select * into m from encrypt.migrations g where g.migration_id = migration;
    for item in
        select x.kind, x.live, x.shadow, l.relname as live_name, s.relname as shadow_name, l.relnamespace as namespace,
               x.root and encrypt._exposure(migration) = 'view' as is_viewed
        from (select 'table' as kind, p.live, p.shadow, p.root from encrypt._migration_pairs(migration) p
              union all
              select 'sequence', q.live, q.shadow, false from encrypt._identity_pairs(migration) q) as x
        join pg_class l on l.oid = x.live
        join pg_class s on s.oid = x.shadow
        order by x.kind desc, x.root desc, x.live::oid
    loop
        future.kind := item.kind;
        future.relation := item.live;
        future.name := case when item.is_viewed and not forward then item.live_name
                            else encrypt._free_name(item.live_name, suffix, item.namespace, taken => taken) end;
        future.qualified := format('%s.%I', item.namespace::regnamespace, future.name);
        taken := taken || future.name;
        return next future;
        future.relation := item.shadow;
        future.name := case when not item.is_viewed then item.live_name when forward then item.shadow_name else m.table_name end;
        future.qualified := format('%s.%I', item.namespace::regnamespace, future.name);
        return next future;
    end loop;
end
$$;
comment on function encrypt._future_names(integer) is 'what the tables of a migration and their sequences will be called after the exchange';

-- Those of indexes are many, and nobody but DDL waits for them (SHARE UPDATE EXCLUSIVE), so they change places before the tables are
-- locked. The live table's get names of their own. Renaming an index renames its constraint.
create function encrypt._exchange_index_names(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
declare
    -- Tables come first.
    taken constant name[] := array(select n.name from encrypt._future_names(migration) n);
    item record;
begin
    for item in
        select i.live, i.shadow, l.relname as name, l.relnamespace as namespace
        from encrypt._index_pairs(migration) i join pg_class l on l.oid = i.live
        where i.shadow is not null
    loop
        execute format('alter index %s rename to %I', item.live,
                       encrypt._free_name(item.name, encrypt._retired_suffix(migration), item.namespace, taken => taken));
        execute format('alter index %s rename to %I', item.shadow, item.name);
    end loop;
end
$$;
comment on function encrypt._exchange_index_names(integer) is 'gives the names of the live tables'' indexes to those of the shadows';

create function encrypt._exchange_names(migration integer, names encrypt._relation_name[]) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    suffix constant text := encrypt._retired_suffix(migration);
    future encrypt._relation_name;
    item record;
begin
    foreach future in array names loop
        continue when future.name = (select c.relname from pg_class c where c.oid = future.relation);
        execute format('alter %s %s rename to %I', future.kind, future.relation, future.name);
    end loop;

    for item in
        select l.stxnamespace, s.stxnamespace as shadow_namespace, l.stxname as live, s.stxname as shadow
        from encrypt._statistics_pairs(migration) x
        join pg_statistic_ext l on l.oid = x.live
        join pg_statistic_ext s on s.oid = x.shadow
    loop
        execute format('alter statistics %s.%I rename to %I', item.stxnamespace::regnamespace, item.live,
                       encrypt._free_name(item.live, suffix, item.stxnamespace));
        execute format('alter statistics %s.%I rename to %I', item.shadow_namespace::regnamespace, item.shadow, item.live);
    end loop;

    -- Keys of other tables are two on one table. Those of the tables themselves have the same name on both.
    for item in
        select o.conrelid::regclass as relation, o.connamespace, o.conname as live, s.conname as shadow
        from encrypt._key_pairs(migration) k
        join pg_constraint o on o.oid = k.live
        join pg_constraint s on s.oid = k.shadow and s.conrelid = o.conrelid
    loop
        execute format('alter table %s rename constraint %I to %I', item.relation, item.live,
                       encrypt._free_name(item.live, suffix, item.connamespace));
        execute format('alter table %s rename constraint %I to %I', item.relation, item.shadow, item.live);
    end loop;
end
$$;
comment on function encrypt._exchange_names(integer, encrypt._relation_name[]) is
    'gives the names of the live tables and their parts to the shadows';

-- why: parts of the exchange, with the rights of the extension's owner
revoke all on function
    encrypt._exchange_index_names(integer),
    encrypt._future_names(integer),
    encrypt._exchange_names(integer, encrypt._relation_name[])
from public;
