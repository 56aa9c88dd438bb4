-- Foreign keys of the table and to it. The shadow has all of them too, made and validated while nobody waits, so that
-- cutover only changes names.
--
-- While a table is the shadow, the triggers of its foreign keys are disabled. That a referenced row exists follows from
-- the live table's own keys, whose rows the shadow has. Enabled, they would do harm: a cascade would reach the
-- shadow twice, by its own key and through dual write; and a key that is checked before dual write has deleted the
-- shadow's row would refuse what the live table permits (with d as (delete from child ...) delete from parent ...).
--
-- So it is with unique and exclusion constraints that are deferrable, which triggers check, too: SET CONSTRAINTS names the live
-- table's, and the shadow's would be checked too early.

-- The keys that count: not the copies that PostgreSQL makes per partition of the referenced table, nor those between
-- the root of a tree and its leaves.
create function encrypt._key_pairs(
    migration integer,
    -- The tables whose keys are asked for; null: all.
    among oid[] default null,
    out live oid,
    out shadow oid,
    -- Where the shadow's key is or belongs, and what it references.
    out relation regclass,
    out referenced regclass,
    out partitioned boolean
) returns setof record
    language plpgsql stable rows 5 security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with pairs as materialized (select * from encrypt._migration_pairs(migration)),
    keys as materialized (
        select o.oid, o.conrelid, o.confrelid, c.relkind = 'p' as partitioned, o.conparentid, o.conname,
               json_build_array(
                   (select array_agg(a.attname order by k.n) from unnest(o.conkey) with ordinality as k (num, n)
                    join pg_attribute a on a.attrelid = o.conrelid and a.attnum = k.num),
                   (select array_agg(a.attname order by k.n) from unnest(o.confkey) with ordinality as k (num, n)
                    join pg_attribute a on a.attrelid = o.confrelid and a.attnum = k.num),
                   (select array_agg(a.attname order by k.n) from unnest(o.confdelsetcols) with ordinality as k (num, n)
                    join pg_attribute a on a.attrelid = o.conrelid and a.attnum = k.num),
                   o.confdeltype, o.confupdtype, o.confmatchtype, o.condeferrable, o.condeferred,
                   to_jsonb(o) -> 'conperiod')::text as signature
        from pg_constraint o
        join pg_class c on c.oid = o.conrelid
        left join pg_constraint above on above.oid = o.conparentid
        where o.contype = 'f' and (among is null or o.conrelid = any (among))
          and (above.oid is null or (above.conrelid <> o.conrelid and c.relkind <> 'p'))
    ),
    numbered as materialized (
        select k.*, row_number() over (partition by k.conrelid, k.confrelid, k.signature order by k.conname) as nth
        from keys k
    )
    select l.oid, s.oid, coalesce(a.shadow, l.conrelid)::regclass, coalesce(b.shadow, l.confrelid)::regclass, l.partitioned
    from numbered l
    left join pairs a on a.live = l.conrelid
    left join pairs b on b.live = l.confrelid
    left join numbered s on s.conrelid = coalesce(a.shadow, l.conrelid)
         and s.confrelid = coalesce(b.shadow, l.confrelid) and s.signature = l.signature and s.nth = l.nth
    where a.live is not null or b.live is not null
    order by l.partitioned, l.oid;
end
$$;
comment on function encrypt._key_pairs(integer, oid[]) is
    'foreign keys of and to the live tables, each with its counterpart or null';

-- A foreign key's definition with another table as the one referenced. What comes before and after that table's name is
-- as PostgreSQL prints it.
create function encrypt._key_definition(key oid, referenced regclass) returns text
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
    definition text := pg_get_constraintdef(key, false);
    columns text[];
    head text;
    before text;
    after text;
begin
    select array_agg(quote_ident(a.attname) order by k.n),
           ') REFERENCES ' || o.confrelid::regclass::text || '('
    into columns, head
    from pg_constraint o
    cross join unnest(o.conkey) with ordinality as k (num, n)
    join pg_attribute a on a.attrelid = o.conrelid and a.attnum = k.num
    where o.oid = key
    group by o.confrelid;
    foreach before in array array[
        'FOREIGN KEY (' || array_to_string(columns, ', '),
        'FOREIGN KEY (' || array_to_string(columns[:cardinality(columns) - 1] || ('PERIOD ' || columns[cardinality(columns)]), ', ')]
    loop
        if starts_with(definition, before || head) then
            after := substr(definition, length(before || head) + 1);
            return before || ') REFERENCES ' || referenced::text || '(' || after;
        end if;
    end loop;
    raise exception using errcode = 'feature_not_supported',
        message = format('foreign key "%s" can''t be made on the other table',
                         (select o.conname from pg_constraint o where o.oid = key));
end
$$;
comment on function encrypt._key_definition(oid, regclass) is 'definition of a foreign key with another table referenced';

create function encrypt._key_tree(key oid) returns setof oid
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    with recursive tree (key) as (
        select key
        union
        select o.oid from tree t join pg_constraint o on o.conparentid = t.key and o.contype = 'f'
    )
    select t.key from tree t
$$;
comment on function encrypt._key_tree(oid) is 'a foreign key and its copies on partitions';

-- Idempotent: switches those that are not as they should be. A foreign key counts where both of its tables are in use: with two
-- migrations of tables that refer to each other, a key of the table that one of them keeps in step may refer to the live
-- table of the other.
create function encrypt._switch_constraints(constraints oid[]) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    shadows oid[] := array(select p.shadow::oid from encrypt.migrations m
                           cross join lateral encrypt._migration_pairs(m.migration_id) p where m.ended_at is null);
    item record;
begin
    for item in
        with recursive wanted (key, state) as (
            select o.oid,
                   case when o.conrelid = any (shadows) or o.confrelid = any (shadows) then 'disable' else 'enable' end
            from pg_constraint o where o.oid = any (constraints)
            union
            -- A foreign key's copies on partitions.
            select o.oid, w.state from wanted w join pg_constraint o on o.conparentid = w.key and o.contype = 'f'
        )
        select t.tgrelid::regclass as relation, t.tgname, w.state
        from wanted w
        join pg_trigger t on t.tgconstraint = w.key and t.tgisinternal
        where (t.tgenabled = 'D') <> (w.state = 'disable')
        order by t.tgrelid, t.oid
    loop
        perform encrypt._own_ddl(format('alter table %s %s trigger %I', item.relation, item.state, item.tgname));
    end loop;
end
$$;
comment on function encrypt._switch_constraints(oid[]) is
    'enables the triggers of foreign keys and deferrable constraints of tables in use, and disables those of and to shadows';

create function encrypt._switch_constraints(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    perform encrypt._switch_constraints(array(
        select key from encrypt._key_pairs(migration) p cross join unnest(array[p.live, p.shadow]) as key where key is not null
        union all
        select o.oid from encrypt._migration_pairs(migration) p
        join pg_constraint o on o.conrelid in (p.live, p.shadow) and o.contype in ('p', 'u', 'x') and o.condeferrable));
end
$$;
comment on function encrypt._switch_constraints(integer) is
    'the same for all foreign keys of and to the tables of a migration, and for all deferrable constraints of them';

-- Keys of leaves first, valid before the root's is made: that then finds them and scans nothing.
create function encrypt._next_key(
    migration integer,
    among oid[] default null,
    out live oid, out conname name, out conrelid regclass, out namespace oid, out convalidated boolean,
    -- The counterpart, if it is there and not valid; and what it refers to.
    out shadow_name name, out relation regclass, out referenced regclass, out partitioned boolean
)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    select k.live, o.conname, o.conrelid, c.relnamespace, o.convalidated, s.conname, k.relation, k.referenced, k.partitioned
    into live, conname, conrelid, namespace, convalidated, shadow_name, relation, referenced, partitioned
    from encrypt._key_pairs(migration, among) k
    join pg_constraint o on o.oid = k.live
    join pg_class c on c.oid = o.conrelid
    left join pg_constraint s on s.oid = k.shadow
    where k.shadow is null or (o.convalidated and not s.convalidated)
    order by k.partitioned, k.shadow is null, k.live
    limit 1;
end
$$;
comment on function encrypt._next_key(integer, oid[]) is 'a foreign key of which the shadow has none, or none that is valid; null if there is no such';

-- One step of what can be done before the tables are locked for exchange. False: nothing is left to do.
create function encrypt._prepare_swap(migration integer, deadline timestamptz) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    next constant record := encrypt._next_key(migration);
    outside regclass;
    inside regclass;
    key_name name;
begin
    if next.live is null then
        return false;
    end if;
    if next.shadow_name is not null then
        perform encrypt._lock_relation(next.relation, 'share update exclusive', deadline);
    else
        -- The table outside the migration first: its writers go on to the live table and the shadow by cascades.
        select case when p.is_inside then next.referenced else next.relation end,
               case when p.is_inside then next.relation else next.referenced end
        into outside, inside
        from (select next.relation in (select m.shadow from encrypt._migration_pairs(migration) m)) as p (is_inside);
        perform encrypt._lock_relation(outside, 'share row exclusive', deadline);
        perform encrypt._lock_relation(inside, 'share row exclusive', deadline);
        if next.partitioned then
            perform encrypt._limit_waits(deadline);
            execute format('lock table %s in share row exclusive mode', next.relation);
        end if;
    end if;
    perform encrypt._limit_waits(deadline);
    -- Whoever held the locks until now may have made this key: another migration's step does, of tables that refer to each other. Or
    -- a partition came that has none yet: making the root's would compare its rows, under locks and with the rights of the
    -- extension's owner. Of a table without partitions only its own keys matter, as others wait.
    if encrypt._next_key(migration, case when not next.partitioned then array[next.conrelid::oid, next.relation::oid] end)
       is distinct from next then
        return true;
    end if;

    if next.shadow_name is not null then
        -- As the owner: comparing two columns may call a cast function of anybody's.
        perform encrypt._execute_as_owner(next.relation,
            format('alter table %s validate constraint %I', next.relation, next.shadow_name));
        return true;
    end if;
    -- On another table it may keep its name; two on one table can't have the same.
    key_name := case when next.relation <> next.conrelid then next.conname
        else encrypt._free_name(next.conname, '_' || encrypt._shadow_suffix(migration), next.namespace) end;
    perform encrypt._own_ddl(format('alter table %s add constraint %I %s%s', next.relation, key_name,
                                    encrypt._key_definition(next.live, next.referenced),
                                    case when next.partitioned or not next.convalidated then '' else ' not valid' end));
    perform encrypt._switch_constraints(array[next.live, o.oid])
    from pg_constraint o where o.conrelid = next.relation and o.conname = key_name;
    return true;
end
$$;
comment on function encrypt._prepare_swap(integer, timestamptz) is
    'makes or validates one foreign key that the shadow lacks; false if it lacks none';

create function encrypt._shadow_suffix(migration integer) returns text
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    select case when exists (select from encrypt.migration_relations r
                             where r.migration_id = m.migration_id and r.plain = m.live)
                then 'encrypted' else 'plaintext' end
    from encrypt.migrations m where m.migration_id = migration
$$;
comment on function encrypt._shadow_suffix(integer) is 'what the shadow''s objects have after their names';

create function encrypt._retired_suffix(migration integer) returns text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    return case encrypt._shadow_suffix(migration) when 'encrypted' then '_plaintext' else '_encrypted' end;
end
$$;
comment on function encrypt._retired_suffix(integer) is 'what the live tables'' objects will have after their names when they are the shadow''s';

-- Those on other tables; the shadow's own go with it.
create function encrypt._drop_shadow_keys(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    item record;
begin
    for item in
        select o.conrelid::regclass as relation, o.conname
        from encrypt._migration_pairs(migration) p
        join pg_constraint o on o.contype = 'f' and o.confrelid = p.shadow and o.conparentid = 0
        where o.conrelid not in (select q.shadow from encrypt._migration_pairs(migration) q)
          -- One that has no counterpart was not made here: dropping the table will say so.
          and o.oid in (select k.shadow from encrypt._key_pairs(migration) k)
        order by o.oid
    loop
        execute format('alter table %s drop constraint %I', item.relation, item.conname);
    end loop;
end
$$;
comment on function encrypt._drop_shadow_keys(integer) is 'drops other tables'' foreign keys to the shadow';

-- why: helpers of the steps, with the rights of the extension's owner
revoke all on function encrypt._key_pairs(integer, oid[]) from public;
revoke all on function encrypt._key_definition(oid, regclass) from public;
revoke all on function encrypt._key_tree(oid) from public;
revoke all on function encrypt._switch_constraints(oid[]) from public;
revoke all on function encrypt._switch_constraints(integer) from public;
revoke all on function encrypt._next_key(integer, oid[]) from public;
revoke all on function encrypt._prepare_swap(integer, timestamptz) from public;
revoke all on function encrypt._shadow_suffix(integer) from public;
revoke all on function encrypt._retired_suffix(integer) from public;
revoke all on function encrypt._drop_shadow_keys(integer) from public;
