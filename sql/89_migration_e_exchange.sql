-- The exchange itself, under locks: everything that has to move. All of it reads and writes the catalog only, so its time
-- does not depend on how many rows there are.

-- What is decided before anybody has to wait.
create type encrypt._exchange_plan as (
    settings text[],                            -- statements that give the shadows what was changed on the live tables
    names encrypt._relation_name[],             -- in the order in which they get free
    switches text[],                            -- statements that let dual write go in the other direction
    statements encrypt.sync_statements[]        -- which it runs from then on
);
comment on type encrypt._exchange_plan is 'what an exchange of tables will do';

-- Takes the locks of an exchange. What has to be known of the tables, and be equal on both, is asked before, while everybody goes on,
-- and is still so when everybody waits if their definition is the same then. The rest of what the exchange asks is asked here only
-- for its plans.
create function encrypt._lock_for_exchange(migration integer, lock_timeout interval) returns encrypt._exchange_plan
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    plan encrypt._exchange_plan;
    definition text;
begin
    perform encrypt._take_over(migration);
    perform encrypt._lock_out_ddl(migration, clock_timestamp() + lock_timeout);
    -- Our own change of the definition, so it comes first.
    perform encrypt._exchange_index_names(migration);
    definition := encrypt._definition(migration);
    perform encrypt._remember_name(migration);
    perform encrypt._check_sync(migration);
    perform encrypt._refuse_differences(migration);
    plan.settings := array(select s from encrypt._settings_statements(migration) s);
    plan.names := array(select n from encrypt._future_names(migration) n);
    plan.switches := array(select x.statement from encrypt._migration_pairs(migration) p
                           cross join lateral (values (encrypt._sync_switch(p.live, p.live, false)),
                                                      (encrypt._sync_switch(p.shadow, p.live, true))) as x (statement)
                           where x.statement is not null);
    plan.statements := array(select s from encrypt._sync_statements(migration, plan.names) s);
    perform from encrypt._stray_dependents(migration);

    perform encrypt._lock_migration(migration, clock_timestamp() + lock_timeout);
    if encrypt._definition(migration) is distinct from definition then
        raise exception using errcode = 'lock_not_available', message = 'the table was altered meanwhile';
    end if;
    return plan;
end
$$;
comment on function encrypt._lock_for_exchange(integer, interval) is
    'locks the tables of a migration, which correspond, and says what their exchange will do';

-- Under the locks of _lock_for_exchange, which made the plan. The event triggers leave its statements alone (own_ddl): they would
-- look at each of them, while everybody waits. Views, triggers, policies and publications are written down with the names that the
-- live table has now, and made when these names are the other one's.
create function encrypt._exchange(migration integer, plan encrypt._exchange_plan) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
declare
    again text[];
    strays text[];
    item record;
    statement text;
begin
    for item in select s.subname from pg_subscription s join pg_subscription_rel r on r.srsubid = s.oid
                where s.subenabled and r.srrelid in (select p.live from encrypt._migration_pairs(migration) p)
    loop
        -- Its apply worker holds no lock between transactions, and could have looked up the table just before.
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('subscription "%s" writes to the table', item.subname),
            hint = format('Run: alter subscription %I disable;', item.subname);
    end loop;

    foreach statement in array plan.switches || plan.settings || array(select s from encrypt._exposed_settings(migration) s) loop
        execute statement;
    end loop;
    -- The name of the table that is in use is that of its schema, too, which may have been another meanwhile.
    for item in
        select p.shadow, l.relnamespace::regnamespace as schema
        from encrypt._migration_pairs(migration) p
        join pg_class l on l.oid = p.live
        join pg_class s on s.oid = p.shadow and s.relnamespace <> l.relnamespace
    loop
        execute format('alter table %s set schema %s', item.shadow, item.schema);
    end loop;

    -- A subscription knows its tables by identity, and skips what arrives for another. REFRESH would make the other known, but
    -- only when the subscription is enabled, and what the publisher wrote since it was disabled would be skipped by then. So
    -- the counterpart takes the table's place here, with its state. No statement does that.
    update pg_subscription_rel r set srrelid = p.shadow
    from encrypt._migration_pairs(migration) p
    where r.srrelid = p.live;

    -- Written down.
    with pairs as materialized (
        select p.live, n.qualified as future,
               exists (select from pg_policy o where o.polrelid = p.live) as has_policies,
               exists (select from pg_trigger t where t.tgrelid = p.live and encrypt._is_user_trigger(t)) as has_triggers,
               exists (select from pg_publication_rel r where r.prrelid = p.live) as is_published
        from encrypt._migration_pairs(migration) p join unnest(plan.names) n on n.relation = p.shadow
    )
    select array_agg(s.statement order by s.place, s.level, s.object, s.nth) into again
    from (
        select 1 as place, v.level, v.view::oid as object, s.statement, s.nth
        from encrypt._dependent_views(migration) v
        cross join lateral encrypt._view_statements(v.view) with ordinality as s (statement, nth)
        where v.view is distinct from (select m.exposed from encrypt.migrations m where m.migration_id = migration)
        union all
        select 2, 0, p.live, s.statement, s.nth
        from pairs p
        cross join lateral encrypt._policy_statements(p.live, p.future) with ordinality as s (statement, nth)
        where p.has_policies
        union all
        -- Of all tables before any is switched: making a partitioned table's trigger makes those of its partitions.
        select 3, s.place, p.live, s.statement, s.nth
        from pairs p
        cross join lateral encrypt._trigger_statements(p.live, p.future) with ordinality as s (place, statement, nth)
        where p.has_triggers
        union all
        select 4, 0, p.live, s.statement, s.nth
        from pairs p
        cross join lateral encrypt._publication_statements(p.live, p.future) with ordinality as s (statement, nth)
        where p.is_published
    ) as s;

    -- Dropped. Triggers leave the table that becomes the shadow: there dual write would fire them once more.
    for item in
        select format('drop view %s', v.view) as statement, 1 as place, -v.level as level
        from encrypt._dependent_views(migration) v
        union all
        select format('drop policy %I on %s', o.polname, o.polrelid::regclass), 2, 0
        from encrypt._migration_pairs(migration) p join pg_policy o on o.polrelid = p.shadow
        union all
        select format('drop trigger %I on %s', t.tgname, p.live), 3, 0
        from encrypt._migration_pairs(migration) p join pg_trigger t on t.tgrelid = p.live
        where encrypt._is_user_trigger(t) and t.tgparentid = 0
        union all
        select format('alter publication %I drop table %s', b.pubname, p.live), 4, 0
        from encrypt._migration_pairs(migration) p
        join pg_publication_rel r on r.prrelid = p.live join pg_publication b on b.oid = r.prpubid
        order by 2, 3
    loop
        execute item.statement;
    end loop;

    -- A sequence that belongs to a column would be dropped with it.
    for item in
        select d.objid::regclass as sequence, p.shadow, a.attname
        from encrypt._migration_pairs(migration) p
        join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = p.live and d.deptype = 'a'
             and d.classid = 'pg_class'::regclass and d.refobjsubid > 0
        join pg_class c on c.oid = d.objid and c.relkind = 'S'
        join pg_attribute a on a.attrelid = p.live and a.attnum = d.refobjsubid
    loop
        execute format('alter sequence %s owned by %s.%I', item.sequence, item.shadow, item.attname);
    end loop;

    perform encrypt._exchange_names(migration, plan.names);
    -- Numbers go on where they are. Only now that the sequences are locked by their new names: who calls nextval takes a number without
    -- a lock on the table. This can't be undone by a rollback, and need not: the shadow's sequence is read by nobody.
    for item in select * from encrypt._identity_pairs(migration) loop
        execute format('select setval(%L, last_value, is_called) from %s', item.shadow::oid, item.live);
    end loop;
    update encrypt.migrations m set live = m.shadow, shadow = m.live where m.migration_id = migration;
    perform encrypt._switch_constraints(migration);
    perform encrypt._expose(migration);

    foreach statement in array coalesce(again, '{}') loop
        begin
            execute statement;
        -- Such as types and operators that are not those of the other table's columns.
        exception when syntax_error_or_access_rule_violation or feature_not_supported then
            raise exception using errcode = 'dependent_objects_still_exist',
                message = format('migration %s: an object can''t be made on the other table', migration),
                detail = format('%s, in: %s', sqlerrm, statement),
                hint = 'Drop it, and make it again afterwards as the columns are then.';
        end;
    end loop;

    select array_agg(d) into strays from encrypt._stray_dependents(migration) d;
    if strays is not null then
        raise exception using errcode = 'dependent_objects_still_exist',
            message = format('migration %s: objects would go on to use the old table', migration),
            detail = array_to_string(strays, '; '),
            hint = 'Drop them, and make them again after cutover.';
    end if;
    delete from encrypt.sync_statements s where s.migration_id = migration;
    insert into encrypt.sync_statements select * from unnest(plan.statements);
    perform encrypt._drop_tombstones(migration);
    update encrypt.migrations m set home = encrypt._home(m.live) where m.migration_id = migration;
end
$$;
comment on function encrypt._exchange(integer, encrypt._exchange_plan) is
    'makes the shadow of a migration the table that applications use, and the other way round';

-- why: helpers of the steps, with the rights of the extension's owner
revoke all on function
    encrypt._lock_for_exchange(integer, interval),
    encrypt._exchange(integer, encrypt._exchange_plan)
from public;
