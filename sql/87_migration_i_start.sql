-- Migration, planning: start_migration puts the parts together.

create function encrypt._check_options(options jsonb) returns void
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    o record;
    named text;
    wrong text;
    allowed constant jsonb := '{"strategy": ["shadow"], "expose": ["type", "columns", "view"], "metadata": ["true", "false"], "checks": ["keep", "drop"], "indexes": ["drop"],
                                "publications": ["accept"]}';
begin
    if jsonb_typeof(options) is distinct from 'object' then
        raise exception using errcode = 'invalid_parameter_value', message = 'options of a migration are a JSON object';
    end if;
    for o in select key, value from jsonb_each_text(options) loop
        if o.key not in ('strategy', 'expose', 'metadata', 'contexts', 'normalizers', 'checks', 'indexes', 'publications', 'types',
                         'accept_leakage', 'lock_timeout', 'attempts') then
            raise exception using errcode = 'invalid_parameter_value', message = format('unknown option "%s" of a migration', o.key),
                hint = 'Options are expose, types, contexts, normalizers, metadata, checks, indexes, publications, accept_leakage, '
                       'lock_timeout, attempts and strategy.';
        elsif allowed ? o.key and not allowed -> o.key ? o.value then
            raise exception using
                errcode = case when o.key in ('strategy', 'expose') then 'feature_not_supported' else 'invalid_parameter_value' end,
                message = format('option "%s" of a migration can''t be "%s"', o.key, o.value),
                hint = format('Pass options => %L.', jsonb_build_object(o.key, allowed -> o.key -> 0));
        end if;
    end loop;
    foreach named in array '{types,contexts,normalizers}'::text[] loop
        if jsonb_typeof(coalesce(options -> named, '{}')) <> 'object' then
            raise exception using errcode = 'invalid_parameter_value',
                message = format('option "%s" is an object of columns and %s', named, named);
        elsif options ? named and (named = 'types') <> (coalesce(options ->> 'expose', 'type') = 'type') then
            raise exception using errcode = 'invalid_parameter_value',
                message = format('option "%s" has no meaning with expose "%s"', named, coalesce(options ->> 'expose', 'type'));
        end if;
    end loop;
    select n.value into wrong from jsonb_each_text(coalesce(options -> 'normalizers', '{}')) n
    where n.value not in ('exact', 'casefold', 'email', 'digits') limit 1;
    if found then
        raise exception using errcode = 'invalid_parameter_value', message = format('unknown normalizer "%s"', wrong),
            hint = 'Normalizers are exact, casefold, email and digits.';
    end if;
    if options ->> 'expose' in ('columns', 'view') and options ->> 'checks' = 'keep' then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'a check can''t be kept on columns whose names are other ones', hint = 'Pass options => ''{"checks": "drop"}''.';
    end if;
end
$$;
comment on function encrypt._check_options(jsonb) is 'options of start_migration are known and have values that they can have';

create function encrypt._refuse_migration(target regclass, reasons text[], remedies text[]) returns void
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    detail constant text := (select string_agg(format('%s.', r), E'\n' order by r) from unnest(reasons) as r);
    -- Statements can be pasted as they are; advice comes after them.
    help constant text := (
        select concat_ws(E'\n', 'Run: ' || string_agg(distinct r, E'\n') filter (where r like '%;'),
                         string_agg(distinct r, E'\n') filter (where r not like '%;'))
        from unnest(remedies) as r);
begin
    if detail is null then
        return;
    elsif help = '' then
        raise exception using errcode = 'feature_not_supported', message = format('table %s can''t be migrated', target),
            detail = detail;
    end if;
    raise exception using errcode = 'feature_not_supported', message = format('table %s can''t be migrated', target),
        detail = detail, hint = help;
end
$$;
comment on function encrypt._refuse_migration(regclass, text[], text[]) is 'raises if there is a reason';

-- That the caller may do this at all, and that there is a table to do it with.
create function encrypt._check_call(target regclass, key text) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    caller constant regrole := encrypt._outer_user();
    class pg_class;
begin
    if target is null or key is null then
        raise exception using errcode = 'null_value_not_allowed', message = 'table and key must not be null';
    end if;
    select c.* into class from pg_class c where c.oid = target;
    if class.oid is null then
        raise exception using errcode = 'undefined_table', message = format('table with OID %s does not exist', target::oid);
    elsif class.relkind not in ('r', 'p') or class.relpersistence = 't' or class.oid < 16384
          or class.relnamespace in ('encrypt'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace) then
        raise exception using errcode = 'wrong_object_type', message = format('%s can''t be migrated', target),
            detail = 'Ordinary and partitioned tables can, but no views, foreign and temporary tables, nor those of the system.';
    elsif not pg_has_role(caller, class.relowner, 'usage') then
        raise exception using errcode = 'insufficient_privilege', message = format('must be owner of table %s', target);
    end if;
    if not exists (select from encrypt.keys k where k.name = key) then
        raise exception using errcode = 'undefined_object', message = format('key "%s" does not exist', key),
            hint = format('Run: select encrypt.create_key(%L);', key);
    end if;
    -- Dual write uses the key in the owner's name, and after cutover it decrypts what is written: no detour to a key.
    if not (encrypt.has_key_privilege(key, 'encrypt', caller) and encrypt.has_key_privilege(key, 'decrypt', caller)) then
        raise exception using errcode = 'insufficient_privilege',
            message = format('role "%s" may not encrypt and decrypt with key "%s"', caller, key),
            hint = format('Run: select encrypt.grant_key(%L, %L, ''encrypt'', ''decrypt'');', key, caller);
    end if;
    -- Under another level the catalog would be read as it was before the locks.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using errcode = 'invalid_transaction_state', message = 'a migration starts in a transaction that is READ COMMITTED',
            hint = 'Run it in: begin isolation level read committed;';
    end if;
end
$$;
comment on function encrypt._check_call(regclass, text) is 'the caller owns the table and may use the key';

-- One transaction. The counterpart is made while the table is locked against DDL only; writers wait just for the triggers.
create function encrypt.start_migration(
    target regclass,
    columns text[],
    key text default 'default',
    search text[] default '{}',
    options jsonb default '{}'
) returns integer
    language plpgsql volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp as
$$
declare
    wanted constant name[] := columns;
    searched constant name[] := coalesce(search, '{}');
    started integer;
    made regclass;
    reasons text[];
    remedies text[];
    wait interval;
    attempts integer;
    tablespace_before constant text := current_setting('default_tablespace');
    jit_before constant text := current_setting('jit');
begin
    perform encrypt._check_call(target, key);
    perform encrypt._check_options(options);
    wait := coalesce((options ->> 'lock_timeout')::interval, '500 ms');
    attempts := coalesce((options ->> 'attempts')::integer, 20);
    if wait <= interval '0' or attempts < 1 then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'lock_timeout and attempts must be greater than zero';
    end if;
    -- Conflicts with DDL and with itself, so that two can't start on one table; not with reading and writing.
    perform encrypt._lock_table(target, 'share update exclusive', wait, attempts);
    -- A default that is set for the session is not the table's. Catalog lookups that run once are not worth compiling.
    perform set_config('default_tablespace', '', true), set_config('jit', 'off', true);
    perform encrypt._check_columns(target, wanted, searched, options);

    insert into encrypt.migrations (live, table_schema, table_name, key_name, key_columns, options, created_by)
    select target, n.nspname, c.relname, key, coalesce(encrypt._row_key(target, wanted), '{}'), options, encrypt._outer_user()::text
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = target
    on conflict (live) where ended_at is null do nothing
    returning migration_id into started;
    if started is null then
        select array_agg(r.reason), array_agg(r.remedy) into reasons, remedies from encrypt._table_refusals(target, null, options) r;
        perform encrypt._refuse_migration(target, reasons, remedies);
    end if;
    select array_agg(r.reason), array_agg(r.remedy) into reasons, remedies
    from (select * from encrypt._table_refusals(target, started, options)
          union all select * from encrypt._key_refusals(target, wanted)
          union all select * from encrypt._column_refusals(target, wanted, searched)
          union all select * from encrypt._constraint_refusals(target, wanted, searched, options)
          union all select * from encrypt._index_refusals(target, wanted, searched, options)
          union all select * from encrypt._dependent_refusals(target, wanted)
          union all select * from encrypt._exposure_refusals(target, wanted, searched, options)
          union all select r.* from encrypt._make_types(started, target, wanted, key, searched, options) r
                    where coalesce(options ->> 'expose', 'type') = 'type') as r;
    perform encrypt._refuse_migration(target, reasons, remedies);
    if encrypt._exposure(started) <> 'type' then
        perform encrypt._plan_value_columns(started, target, wanted, searched, options);
    end if;

    made := encrypt._make_tables(started, target);
    update encrypt.migrations m set shadow = made where m.migration_id = started;
    perform encrypt._register_columns(started);
    perform encrypt._make_indexes(started);
    perform encrypt._switch_constraints(started);
    perform encrypt._make_statistics(started);
    perform encrypt._set_replica_identity(started);
    perform encrypt._make_policies(started);
    perform encrypt._copy_comments(started);
    perform encrypt._copy_privileges(started);
    select array_agg(r.reason), array_agg(r.remedy) into reasons, remedies from encrypt._trigger_refusals(started) as r;
    perform encrypt._refuse_migration(target, reasons, remedies);

    perform encrypt._announce_migration(target);
    perform encrypt._announce_privileges(started);
    perform encrypt._announce_exposure(target, options);
    perform encrypt._announce_functions(started);
    perform encrypt._announce_views(started);
    -- Rehearsed while writers go on: their plans and the catalogs are at hand when it is done under the lock.
    perform from encrypt._sync_statements(started);
    perform encrypt._set_shadow_triggers(started);
    perform encrypt._lock_table(target, 'share row exclusive', wait, attempts);
    perform encrypt._install_sync(started);
    perform set_config('default_tablespace', tablespace_before, true), set_config('jit', jit_before, true);
    return started;
end
$$;
comment on function encrypt.start_migration(regclass, text[], text, text[], jsonb) is
    'begins to encrypt columns of a table in use: makes its encrypted counterpart and writes to both from now on';

-- What is worth knowing before the copy begins.
create function encrypt._announce_migration(target regclass) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found record;
    size bigint;
begin
    select sum(pg_total_relation_size(t.relation)) into size from encrypt._tree(target) t;
    raise notice 'table % has %; its encrypted counterpart will need about % more until the migration is finalized',
        target, pg_size_pretty(size), pg_size_pretty((size * 1.3)::bigint);
    for found in
        select distinct p.pubname
        from encrypt._tree(target) t
        join pg_publication_rel r on r.prrelid = t.relation
        join pg_publication p on p.oid = r.prpubid
        order by 1
    loop
        raise notice 'publication "%" publishes %: plaintext until cutover, ciphertext afterwards', found.pubname, target;
    end loop;
    for found in
        select distinct s.subname
        from encrypt._tree(target) t
        join pg_subscription_rel r on r.srrelid = t.relation
        join pg_subscription s on s.oid = r.srsubid
        order by 1
    loop
        raise warning 'subscription "%" fills %: disable it for the cutover, and enable it afterwards', found.subname, target
            using hint = format('Run: alter subscription %I disable; and then: alter subscription %I enable;', found.subname, found.subname);
    end loop;
end
$$;
comment on function encrypt._announce_migration(regclass) is 'notices about disk space, publications and subscriptions';

-- Those who use the plaintext table need no privilege for the key until cutover, and notice then. A role that only reads may be
-- meant to see ciphertext: so it is a warning.
create function encrypt._announce_privileges(migration integer) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    target regclass;
    key text;
    searched boolean;
    names name[];
    found record;
begin
    -- Of the table in use, before cutover and afterwards.
    select m.live, m.key_name, bool_or(c.searchable), array_agg(c.column_name) || array_agg(c.value_column)
    into target, key, searched, names
    from encrypt.migrations m join encrypt.migration_columns c using (migration_id)
    where m.migration_id = migration group by m.migration_id;
    for found in
        select u.grantee,
               array(select p.privilege from (values ('encrypt', u.writes), ('decrypt', u.reads), ('search', u.reads and searched))
                         as p (privilege, needed)
                     where p.needed and not case when u.grantee = 0
                         then exists (select from encrypt.key_grants g
                                      where g.key_name = key and g.grantee = 0 and g.privilege = p.privilege)
                         else encrypt.has_key_privilege(key, p.privilege, u.grantee::regrole) end) as missing
        from (
            select x.grantee, bool_or(x.privilege_type in ('INSERT', 'UPDATE')) as writes, bool_or(x.privilege_type = 'SELECT') as reads
            from pg_class c
            cross join lateral (
                select * from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))
                union all
                select e.* from pg_attribute a cross join lateral aclexplode(a.attacl) as e
                where a.attrelid = c.oid and a.attname = any (names)
            ) as x
            where c.oid = target
            group by x.grantee
        ) as u
        order by u.grantee = 0, pg_get_userbyid(u.grantee)
    loop
        continue when found.missing = '{}';
        raise warning using
            message = format('%s may use table %s, but not %s with key "%s": after cutover %s',
                             case when found.grantee = 0 then 'everybody' else format('role "%s"', pg_get_userbyid(found.grantee)) end,
                             target, array_to_string(found.missing, ', '), key,
                             case when 'encrypt' = any (found.missing) then 'its statements fail'
                                  when 'decrypt' = any (found.missing) then 'it sees ciphertext'
                                  else 'some of its searches fail' end),
            hint = format('Run: select encrypt.grant_key(%L, %L, %s);', key, found.grantee::regrole,
                          (select string_agg(quote_literal(m.privilege), ', ') from unnest(found.missing) as m (privilege)));
    end loop;
end
$$;
comment on function encrypt._announce_privileges(integer) is
    'warns of roles that may use a table and not the key that it is encrypted under';

-- RETURN QUERY takes columns of the very types that the function returns, and PostgreSQL finds that out when it is called: here by
-- the words of its text, which may say more than is so.
create function encrypt._announce_functions(migration integer) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found record;
begin
    if encrypt._exposure(migration) <> 'type' then
        return;
    end if;
    for found in
        select p.oid::regprocedure as function, m.live,
               (select format('%I::%s', c.column_name, c.plain_type) from encrypt.migration_columns c
                where c.migration_id = m.migration_id order by c.column_name limit 1) as example
        from encrypt.migrations m
        cross join pg_proc p
        join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
        where m.migration_id = migration and p.proretset and p.prosrc ~* '\mreturn\s+query\M'
          and strpos(lower(p.prosrc), lower(m.table_name)) > 0
          and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
        order by p.oid
    loop
        raise notice using
            message = format('function %s has RETURN QUERY and seems to read %s: it fails after cutover where a column it returns is encrypted',
                             found.function, found.live),
            hint = format('Let it cast what it returns, as in %s. It can do so now.', found.example);
    end loop;
end
$$;
comment on function encrypt._announce_functions(integer) is 'notices about functions that may return encrypted columns as plain ones';

-- Views are parsed anew with the columns' new types, and most go on to work. Each is made and undone here, to see it, over temporary
-- tables like the counterparts, which come before the table's own schema. It is a warning: what is of other schemas is found as it is now, and
-- operators of the new types are found, which are not at cutover. While the path is another, no expression of ours may find an operator by it.
create function encrypt._announce_views(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
declare
    own_schema constant text := (select quote_ident(m.table_schema) from encrypt.migrations m where m.migration_id = migration);
    own_path constant text := own_schema || ', pg_temp';
    rehearsal_path constant text := 'pg_temp, ' || own_schema;
    path_before constant text := current_setting('search_path');
    item record;
    statement text;
    views text[] := '{}';
    failures text[] := '{}';
begin
    if encrypt._exposure(migration) <> 'type' or not exists (select from encrypt._dependent_views(migration))
       -- The session's own temporary tables would be found first.
       or exists (select from encrypt._migration_pairs(migration) p join pg_class l on l.oid = p.live
                  where to_regclass(format('pg_temp.%I', l.relname)) is not null) then
        return;
    end if;
    begin
        -- With the primary key, by which views group. No other index: the owner's functions in it would run with our rights.
        for item in
            select l.relname, p.shadow, ', ' || pg_get_constraintdef(o.oid) as key
            from encrypt._migration_pairs(migration) p
            join pg_class l on l.oid = p.live and l.relnamespace = own_schema::regnamespace
            left join pg_constraint o on o.conrelid = p.shadow and o.contype = 'p'
            where exists (select from pg_depend d where d.classid = 'pg_rewrite'::regclass
                          and d.refclassid = 'pg_class'::regclass and d.refobjid = p.live)
        loop
            execute format('create temporary table %I (like %s%s)', item.relname, item.shadow, item.key);
        end loop;
        for item in
            select v.view, c.relname, v.view::text as name,
                   (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                    from pg_attribute a where a.attrelid = v.view and a.attnum > 0) as columns
            from encrypt._dependent_views(migration) v join pg_class c on c.oid = v.view
            order by v.level, v.view
        loop
            perform set_config('search_path', own_path, true);
            statement := pg_catalog.pg_get_viewdef(item.view, false);
            perform pg_catalog.set_config('search_path', path_before, true);
            statement := format('create temporary view %I (%s) as %s', item.relname, item.columns, statement);
            begin
                perform set_config('search_path', rehearsal_path, true);
                execute statement;
                perform pg_catalog.set_config('search_path', path_before, true);
            exception
                -- A temporary view, or one of this name.
                when duplicate_table then
                    null;
                when syntax_error_or_access_rule_violation or feature_not_supported then
                    views := views || item.name;
                    failures := failures || sqlerrm;
            end;
        end loop;
        raise exception using errcode = 'query_canceled', message = 'undone';
    exception
        when query_canceled then
            -- Somebody's cancel request has the same code.
            if sqlerrm <> 'undone' then
                raise;
            end if;
    end;
    for item in select * from unnest(views, failures) as u (name, failure) loop
        raise warning using
            message = format('view %s may be in the way of cutover: %s', item.name, item.failure),
            hint = 'Drop it before cutover, and make it again afterwards, with casts of the encrypted columns to the types that they have now.';
    end loop;
end
$$;
comment on function encrypt._announce_views(integer) is 'warns of views that could not be made again over encrypted columns';

-- Undoes what start_migration made, after the triggers were removed: the encrypted tables with all that is on them, and
-- the types that were made for them. Without CASCADE: what somebody made on them since is somebody's.
create function encrypt._drop_shadow(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    made regclass;
    type regtype;
begin
    -- The root is the one that is no partition of another.
    select r.encrypted into made
    from encrypt.migration_relations r join pg_class c on c.oid = r.encrypted and not c.relispartition
    where r.migration_id = migration;
    if made is not null then
        perform encrypt._execute_as_owner(made, format('drop table %s', made));
    end if;
    for type in
        select m.cipher_type from encrypt.migration_columns m
        join pg_type t on t.oid = m.cipher_type
        where m.migration_id = migration and m.own_type
    loop
        -- The way back is never barred: what somebody made of the type meanwhile keeps it.
        begin
            perform encrypt.drop_type(type);
        exception when dependent_objects_still_exist then
            raise warning using message = sqlerrm, hint = format('Drop that, then run: select encrypt.drop_type(%L);', type);
        end;
    end loop;
    delete from encrypt.migration_objects o where o.migration_id = migration;
    delete from encrypt.migration_relations r where r.migration_id = migration;
    delete from encrypt.migration_columns c where c.migration_id = migration;
    update encrypt.migrations m set shadow = null where m.migration_id = migration;
end
$$;
comment on function encrypt._drop_shadow(integer) is 'drops the encrypted tables of a migration, and the types made for them';

-- why: it makes base types, which run C functions of the owner's: for those to whom the owner grants it
revoke all on function encrypt.start_migration(regclass, text[], text, text[], jsonb) from public;
-- why: parts of start_migration and rollback_migration
revoke all on function encrypt._check_options(jsonb) from public;
revoke all on function encrypt._refuse_migration(regclass, text[], text[]) from public;
revoke all on function encrypt._check_call(regclass, text) from public;
revoke all on function encrypt._announce_migration(regclass) from public;
revoke all on function encrypt._announce_privileges(integer) from public;
revoke all on function encrypt._announce_functions(integer) from public;
revoke all on function encrypt._announce_views(integer) from public;
revoke all on function encrypt._drop_shadow(integer) from public;
