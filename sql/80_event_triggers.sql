-- What keeps the order of plaintexts off the disk, and the registry in step with the catalog.
--
-- They run after every DDL statement, so they never compile their few lookups: jit = off.

-- Steps of a migration alter tables while everybody waits, and know what they do. Without settings, so that it becomes a part of its
-- callers.
create function encrypt._is_own_ddl() returns boolean
    language sql stable
return coalesce(current_setting('pg_encrypt.own_ddl', true), 'off') = 'on';
comment on function encrypt._is_own_ddl() is 'whether a statement is one of a migration''s steps';
-- why: it stays with PUBLIC, as it is asked as whoever runs a DDL statement

-- It runs at the end of every DDL statement: so it leaves as soon as there is nothing to look at, its questions find indexes by their
-- own indexes, and their queries are planned once per session. What a step of a migration alters gets no index and no type by that.
create function encrypt._refuse_plaintext_order() returns event_trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp set jit = off set plan_cache_mode = force_generic_plan as
$$
declare
    found record;
    relations oid[];
    statistics oid[];
begin
    if tg_tag like 'ALTER %' and encrypt._is_own_ddl() then
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

    select s.problem, s.remedy into found
    from (select * from encrypt._ordering_indexes(relations)
          union all
          select * from encrypt._ordering_partitions(relations)
          union all
          select * from encrypt._ordering_statistics(relations, statistics)
          union all
          select * from encrypt._telling_expressions(relations, statistics)) as s
    limit 1;
    if found.problem is not null then
        raise exception using errcode = 'feature_not_supported', message = found.problem, hint = found.remedy;
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
    if not exists (select from pg_event_trigger_dropped_objects() d where d.classid = 'pg_type'::regclass) then
        return;
    end if;
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
                where (a.amname, n.nspname) = (dropped.method, dropped.schema)
                  -- A type that is not searchable has a family without class: src/types/ddl/plain_rows.sql.
                  and f.opfname in (dropped.class, regexp_replace(dropped.class, '_order$', '_plain'))
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
