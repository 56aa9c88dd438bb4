-- What a table takes, its counterpart must take: the application's statements write to both. What would end that is refused where
-- it is done, by the event triggers, instead of being found out by the application.
--
-- So DDL on both tables has an order. What permits more rows (no NOT NULL any more, a wider type, a partition) is done on the
-- counterpart first, what permits fewer on the live table first.

-- The counterpart's rules that its table does not have, each with a statement that helps.
create function encrypt._barriers(migration integer) returns table (problem text, remedy text)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
declare
    m encrypt.migrations;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    return query
    -- The key first: without one, nothing below can be said.
    select format('table %s has no unique index on %s', t.relation,
                  (select string_agg(quote_ident(k), ', ' order by n) from unnest(m.key_columns) with ordinality as u (k, n))), null
    from encrypt._present_pairs(migration) p cross join lateral unnest(array[p.live, p.shadow]) as t (relation)
    where encrypt._key_index(t.relation, m.key_columns) is null;
    if found then
        return;
    end if;
    return query
    with pairs as materialized (select * from encrypt._present_pairs(migration)),
    columns as materialized (
        select p.live, p.shadow, c as c, a as l, b as s,
               exists (select from encrypt.migration_relations r where r.migration_id = migration and r.plain = p.live) as forward
        from pairs p
        cross join lateral encrypt._sync_columns(migration, p.live, p.shadow) c
        join pg_attribute a on a.attrelid = p.live and a.attnum = (c).number
        join pg_attribute b on b.attrelid = p.shadow and b.attnum = (c).ordinal
    ),
    partitions as materialized (
        select i.inhparent as parent, i.inhrelid::regclass as relation, pg_get_expr(c.relpartbound, c.oid) as bound
        from pg_inherits i join pg_class c on c.oid = i.inhrelid and c.relispartition
        where not i.inhdetachpending and i.inhparent in (select p.live from pairs p union all select p.shadow from pairs p)
    )
    select format('column %I of table %s is of type %s, that of table %s of type %s', (c.l).attname, c.live,
                  format_type((c.l).atttypid, (c.l).atttypmod), c.shadow, format_type((c.s).atttypid, (c.s).atttypmod)),
           case when (c.c).cipher_type is null then format('Run first: alter table %s alter column %I type %s;', c.shadow, (c.s).attname,
                                                           format_type((c.l).atttypid, (c.l).atttypmod)) end
    from columns c
    where case
        when (c.c).cipher_type is null then not ((c.c).is_generated
            or (c.l).atttypid = (c.s).atttypid
               and ((c.s).atttypmod in (-1, (c.l).atttypmod)
                    or (c.l).atttypid = 'varchar'::regtype and (c.l).atttypmod between 0 and (c.s).atttypmod)
            or (c.s).atttypmod = -1 and exists (select from pg_cast k where k.castsource = (c.l).atttypid
                                                and k.casttarget = (c.s).atttypid and k.castcontext = 'i'))
        when (c.c).is_index then (c.s).atttypid <> 'bytea'::regtype
        when c.forward then format_type((c.l).atttypid, (c.l).atttypmod) <> (c.c).plain_type or (c.s).atttypid <> (c.c).cipher_type
        else format_type((c.s).atttypid, (c.s).atttypmod) <> (c.c).plain_type or (c.l).atttypid <> (c.c).cipher_type end
    union all
    select format('column %I of table %s may be null, that of table %s may not', (c.l).attname, c.live, c.shadow),
           format('Run first: alter table %s alter column %I drop not null;', c.shadow, (c.s).attname)
    from columns c
    where (c.s).attnotnull and not (c.l).attnotnull and not (c.c).is_generated
    union all
    select format('column %I of table %s must have a value, which table %s does not give it', a.attname, p.shadow, p.live),
           format('Run first: alter table %s alter column %I drop not null;', p.shadow, a.attname)
    from pairs p
    join pg_attribute a on a.attrelid = p.shadow and a.attnum > 0 and not a.attisdropped
    where a.attnotnull and not a.atthasdef and a.attidentity = ''
      and not exists (select from columns c where c.shadow = p.shadow and (c.s).attnum = a.attnum)
    union all
    select format('index %s of table %s is unique, and table %s has none like it', i.indexrelid::regclass, p.shadow, p.live),
           -- Also one that was made CONCURRENTLY, which is there already.
           coalesce((select format('Run first: alter table %s drop constraint %I;', p.shadow, o.conname)
                     from pg_constraint o where o.conindid = i.indexrelid and o.contype in ('u', 'x') and o.conrelid = p.shadow),
                    format('Run first: drop index %s;', i.indexrelid::regclass))
    from pairs p
    join pg_index i on i.indrelid = p.shadow and (i.indisunique or i.indisexclusion) and i.indislive
    where i.indexrelid not in (select x.shadow from encrypt._index_pairs(migration) x where x.shadow is not null)
    union all
    -- One of an encrypted column is written otherwise, or was given up at the start.
    select format('constraint %I is of table %s only', o.conname, p.shadow),
           format('To drop it, first: alter table %s drop constraint %I; to add one, first on table %s.', p.shadow, o.conname, p.live)
    from pairs p
    join pg_constraint o on o.conrelid = p.shadow and o.contype = 'c'
    where not exists (select from pg_constraint l where l.conrelid = p.live and l.contype = 'c' and l.conname = o.conname
                      and pg_get_constraintdef(l.oid) = pg_get_constraintdef(o.oid))
      and not exists (select from encrypt._counterparts(migration, array[p.shadow]) n
                      where n.number = any (o.conkey) and n.part is not null)
    union all
    select format('foreign key %I of table %s is of the counterpart only', o.conname, o.conrelid::regclass), null
    from pairs p
    join pg_constraint o on o.contype = 'f' and o.conparentid = 0 and p.shadow in (o.conrelid, o.confrelid)
    -- Of two tables that refer to each other, each in a migration, the key between their counterparts is that of one migration.
    where o.oid not in (select k.shadow from encrypt.migrations x cross join lateral encrypt._key_pairs(x.migration_id) k
                        where x.ended_at is null and k.shadow is not null)
      and exists (select from encrypt._key_tree(o.oid) tree (key)
                  join pg_trigger t on t.tgconstraint = tree.key and t.tgisinternal and t.tgenabled <> 'D')
    union all
    select format('table %s has a trigger or rule of its own, "%s"', p.shadow, o.name), null
    from pairs p
    join lateral (select t.tgname from pg_trigger t where t.tgrelid = p.shadow and encrypt._is_user_trigger(t)
                  union all select w.rulename from pg_rewrite w where w.ev_class = p.shadow) as o (name) on true
    union all
    -- By what it may hold: two partitions of one name need not be counterparts.
    select format('partition %s of table %s has no counterpart among those of table %s', l.relation, p.live, p.shadow),
           format('To make one, first: create table ... partition of %s %s; to take one away, first on table %s.', p.shadow, l.bound, p.live)
    from pairs p
    join partitions l on l.parent = p.live
    where not exists (select from partitions s where s.parent = p.shadow and s.bound = l.bound)
    union all
    -- Updates of a published table fail without one.
    select format('table %s has no replica identity', p.shadow), format('Run first: alter table %s replica identity default;', p.shadow)
    from pairs p
    join pg_class l on l.oid = p.live
    join pg_class s on s.oid = p.shadow
    where s.relreplident = 'n' and l.relreplident <> 'n'
    union all
    select format('table %s %s', c.oid::regclass, x.what), null
    from pairs p
    join pg_class c on c.oid in (p.live, p.shadow)
    cross join lateral (
        select 'is not logged' where c.relpersistence <> 'p'
        union all
        select 'forces row-level security on its owner' where c.relforcerowsecurity
        union all
        select 'takes part in inheritance' where c.relkind = 'r' and exists (
            select from pg_inherits i where i.inhparent = c.oid or i.inhrelid = c.oid and not c.relispartition)
    ) as x (what)
    union all
    -- The triggers run as the owner.
    (select format('role %I, the owner, may not write to table %s', pg_get_userbyid(l.relowner), c.oid::regclass),
           format('Run first: grant select, insert, update, delete, truncate on %s to %I;', c.oid::regclass, pg_get_userbyid(l.relowner))
    from pairs p
    join pg_class l on l.oid = p.live
    join pg_class c on c.oid in (p.shadow, m.tombstones)
    where not (select bool_and(has_table_privilege(l.relowner, c.oid, privilege))
               from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) as privilege)
    order by c.oid)
    union all
    (select format('role %I, the owner, may not use schema %s', pg_get_userbyid(l.relowner), c.relnamespace::regnamespace),
            format('The owner needs it for table %s.', c.oid::regclass)
    from pairs p
    join pg_class l on l.oid = p.live
    join pg_class c on c.oid in (p.shadow, m.tombstones)
    where not has_schema_privilege(l.relowner, c.relnamespace, 'usage')
    order by c.oid)
    union all
    select format('table %s does not have the columns of the key', m.tombstones), null
    from encrypt.sync_statements s
    where s.relation = m.live and s.tombstones is not null and s.event = 'delete' and s.level = 'row'
      and array(select row(a.attname, a.atttypid)::text from pg_attribute a
                where a.attrelid = m.tombstones and a.attnum > 0 and not a.attisdropped order by a.attnum)
          <> array(select row(a.attname, a.atttypid)::text from unnest(m.key_columns) with ordinality as k (name, n)
                   join pg_attribute a on a.attrelid = m.live and a.attname = k.name order by k.n)
    union all
    select format('column %I is missing from table %s', w.name, r.encrypted), null
    from encrypt.migration_relations r cross join unnest(encrypt._metadata_columns()) as w (name)
    where r.migration_id = migration and (m.options ->> 'metadata')::boolean
      and encrypt._column_numbers(r.encrypted, array[w.name]) = '{}'
    union all
    -- Writes would be missing without a word, and cutover would not know once it is enabled again.
    select format('trigger "%s" of table %s, which writes to the counterpart, would be missing, disabled or changed', w.name, r.relation),
           'Leave that one as it is: disable triggers by their names.'
    from encrypt._lost_triggers(migration) w
    cross join lateral (select w.relation) as r;
end
$$;
comment on function encrypt._barriers(integer) is
    'rules of the counterparts that the live tables don''t have, by which the application''s writes would fail';

create function encrypt._refuse_barriers(migration integer) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    found record;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    select b.problem, b.remedy into found from encrypt._barriers(migration) b limit 1;
    if found.problem is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('table %s migrates, and statements on it would fail or be lost', m.live),
            detail = found.problem || '.',
            hint = coalesce(found.remedy, format(case when m.phase = 'cut_over' then 'Run first: call encrypt.finalize_migration(%s);'
                                                 else 'Run first: call encrypt.rollback_migration(%s);' end, migration));
    end if;
end
$$;
comment on function encrypt._refuse_barriers(integer) is 'raises if the counterparts would refuse what the live tables take';

-- why: parts of the event triggers
revoke all on function
    encrypt._barriers(integer),
    encrypt._refuse_barriers(integer)
from public;
