-- Whether live tables and shadows still correspond: what would be lost, and is refused, and what is made equal.

-- What was changed on the live table since its shadow was made, and would be lost. No rows: nothing.
create function encrypt._shadow_differences(migration integer) returns setof text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with pairs as materialized (select * from encrypt._migration_pairs(migration)),
    -- By the names on the plaintext table; tokens and metadata have no counterpart.
    known as materialized (select * from encrypt._counterparts(migration)),
    migrated as materialized (
        select c.column_name, c.plain_type, c.cipher_type from encrypt.migration_columns c where c.migration_id = migration
    ),
    facts as materialized (
        select a.attrelid, k.counterpart as attname, m.column_name is not null as migrated,
               case when m.column_name is null then format_type(a.atttypid, a.atttypmod)
                    when a.atttypid = m.cipher_type or format_type(a.atttypid, a.atttypmod) = m.plain_type then ''
                    else 'changed' end as type,
               -- From 18 on NOT NULL may wait to be validated. Its name is no difference: the same statement gives each table
               -- another one.
               case when a.attnotnull then coalesce(n.convalidated, true) end as filled,
               a.attidentity, a.attgenerated,
               -- A default of an encrypted column is the same value, sealed.
               -- That of a column that is exposed otherwise was sealed, or went to the view, when the shadow was made.
               case when m.column_name is null then pg_get_expr(d.adbin, d.adrelid)
                    when m.cipher_type <> 'encrypt.ciphertext'::regtype then (d.oid is not null)::text end as preset,
               case when m.column_name is null then a.attcollation end as collation
        from pg_attribute a
        join known k on k.relation = a.attrelid and k.number = a.attnum and k.part is distinct from 'token'
             and k.part is distinct from 'metadata'
        left join migrated m on m.column_name = k.counterpart
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        left join pg_constraint n on n.conrelid = a.attrelid and n.contype = 'n' and n.conkey = array[a.attnum]
        where a.attnum > 0 and not a.attisdropped
          and (a.attrelid in (select p.live from pairs p) or a.attrelid in (select p.shadow from pairs p))
    )
    select format('column %I of table %s', d.name, d.live)
    from (
        select coalesce(l.attname, s.attname) as name, coalesce(l.live, s.live) as live,
               (l.type, l.filled, l.attidentity, l.attgenerated, l.preset, l.collation)
                   is distinct from (s.type, s.filled, s.attidentity, s.attgenerated, s.preset, s.collation) as differs
        from (select p.live, f.* from pairs p join facts f on f.attrelid = p.live) l
        full join (select p.live, f.* from pairs p join facts f on f.attrelid = p.shadow) s
             on s.live = l.live and s.attname = l.attname
    ) as d
    where d.differs
    union all
    -- An index on an encrypted column may have been given up at the start; one on the encrypted table has none.
    select format('index %s of table %s', i.live, i.relation)
    from encrypt._index_pairs(migration) i
    join pg_index x on x.indexrelid = i.live
    where i.shadow is null
      and not exists (select from known n
                      where n.relation = x.indrelid and n.number = any (x.indkey::int2[]) and n.part is not null)
    union all
    select format('constraint %I of table %s', coalesce(l.conname, s.conname), coalesce(l.live, s.live))
    from (
        select p.live, o.conname, o.conkey, o.conrelid, pg_get_constraintdef(o.oid) as definition
        from pairs p join pg_constraint o on o.conrelid = p.live and o.contype = 'c'
    ) l
    full join (
        select p.live, o.conname, o.conkey, o.conrelid, pg_get_constraintdef(o.oid) as definition
        from pairs p join pg_constraint o on o.conrelid = p.shadow and o.contype = 'c'
    ) s on s.live = l.live and s.conname = l.conname
    -- A check of an encrypted column is written otherwise there, or was given up at the start.
    where l.definition is distinct from s.definition
      and not exists (select from known n
                      where n.relation = coalesce(l.conrelid, s.conrelid) and n.number = any (coalesce(l.conkey, s.conkey))
                        and n.part is not null)
    union all
    select format('statistics %I of table %s', o.stxname, o.stxrelid::regclass)
    from encrypt._statistics_pairs(migration) x
    join pg_statistic_ext o on o.oid = x.live
    where x.shadow is null
    union all
    select format('foreign key %I of table %s', o.conname, o.conrelid::regclass)
    from encrypt._key_pairs(migration) k
    join pg_constraint o on o.oid = k.live
    left join pg_constraint s on s.oid = k.shadow
    where s.oid is null or (o.convalidated and not s.convalidated)
    union all
    select format('partition %s of table %s', i.inhrelid::regclass, i.inhparent::regclass)
    from pg_inherits i
    where (i.inhparent in (select p.live from pairs p) or i.inhparent in (select p.shadow from pairs p))
      and i.inhrelid not in (select p.live from pairs p) and i.inhrelid not in (select p.shadow from pairs p)
    union all
    select format('partition %s, which was detached', p.live)
    from pairs p
    where not p.root and (not exists (select from pg_inherits i where i.inhrelid = p.live)
                          or not exists (select from pg_inherits i where i.inhrelid = p.shadow))
    union all
    select format('sequence %s', q.live)
    from encrypt._identity_pairs(migration) q
    join pg_sequence l on l.seqrelid = q.live
    join pg_sequence s on s.seqrelid = q.shadow
    where (l.seqtypid, l.seqincrement, l.seqmin, l.seqmax, l.seqcycle)
          <> (s.seqtypid, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle);
end
$$;
comment on function encrypt._shadow_differences(integer) is
    'what of the live tables has no equal on their shadows';

create function encrypt._refuse_differences(migration integer) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    differences text[] := array(select d from encrypt._shadow_differences(migration) d);
begin
    if differences <> '{}' then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('migration %s: the table was altered since the migration was started', migration),
            detail = 'Not the same on both tables: ' || array_to_string(differences, '; '),
            -- What is refused after cutover is the rollback.
            hint = format('Make the same change on the other table, or call encrypt.%s_migration(%s);',
                          case when exists (select from encrypt.migrations m
                                            where m.migration_id = migration and m.phase = 'cut_over')
                               then 'finalize' else 'rollback' end, migration);
    end if;
end
$$;
comment on function encrypt._refuse_differences(integer) is 'raises if something of the live tables has no equal on their shadows';

-- Settings that correspond one to one and were changed on the live table meanwhile: made equal, nothing to refuse.
create function encrypt._settings_statements(migration integer) returns setof text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with pairs as materialized (
        select p.live, p.shadow, l as l, s as s
        from encrypt._migration_pairs(migration) p
        join pg_class l on l.oid = p.live
        join pg_class s on s.oid = p.shadow
    ),
    known as materialized (select * from encrypt._counterparts(migration)),
    columns as materialized (
        -- Statistics are about tokens where there are any.
        select p.live, p.shadow, a as l, b as s, x.part is not null as migrated, coalesce(q.attname, b.attname) as counted,
               coalesce(case when o.attname is null then a.attstattarget else o.attstattarget end, -1) as wanted,
               coalesce(case when q.attname is null then b.attstattarget else q.attstattarget end, -1) as found
        from pairs p
        join known x on x.relation = p.live and x.part is distinct from 'token'
        join known y on y.relation = p.shadow and y.part is distinct from 'token' and y.counterpart = x.counterpart
        join pg_attribute a on a.attrelid = p.live and a.attnum = x.number
        join pg_attribute b on b.attrelid = p.shadow and b.attnum = y.number
        left join known v on v.relation = p.live and v.part = 'token' and v.counterpart = x.counterpart
        left join pg_attribute o on o.attrelid = p.live and o.attnum = v.number
        left join known w on w.relation = p.shadow and w.part = 'token' and w.counterpart = x.counterpart
        left join pg_attribute q on q.attrelid = p.shadow and q.attnum = w.number
    )
    select format('alter table %s owner to %I', p.shadow, pg_get_userbyid((p.l).relowner))
    from pairs p where (p.l).relowner <> (p.s).relowner
    union all
    select format('alter table %s %s row level security', p.shadow,
                  case when (p.l).relrowsecurity then 'enable' else 'disable' end)
    from pairs p where (p.l).relrowsecurity <> (p.s).relrowsecurity
    union all
    select format('alter table %s %s row level security', p.shadow,
                  case when (p.l).relforcerowsecurity then 'force' else 'no force' end)
    from pairs p where (p.l).relforcerowsecurity <> (p.s).relforcerowsecurity
    union all
    select format('alter table %s replica identity %s', p.shadow,
                  case (p.l).relreplident when 'f' then 'full' when 'n' then 'nothing' else 'default' end)
    from pairs p where (p.l).relreplident <> (p.s).relreplident and (p.l).relreplident <> 'i'
    union all
    select format('alter table %s replica identity using index %I', i.relation_shadow, c.relname)
    from (select x.*, p.shadow as relation_shadow from encrypt._index_pairs(migration) x
          join pairs p on p.live = x.relation) i
    join pg_index l on l.indexrelid = i.live and l.indisreplident
    join pg_index s on s.indexrelid = i.shadow and not s.indisreplident
    join pg_class c on c.oid = i.shadow
    union all
    select format('alter table %s cluster on %I', l.indrelid::regclass, c.relname)
    from encrypt._index_pairs(migration) i
    join pg_index o on o.indexrelid = i.live and o.indisclustered
    join pg_index l on l.indexrelid = i.shadow and not l.indisclustered
    join pg_class c on c.oid = i.shadow
    union all
    select format('alter table %s reset (%s)', p.shadow,
                  (select string_agg(quote_ident(o.option_name), ', ') from pg_options_to_table((p.s).reloptions) o))
    from pairs p where (p.s).reloptions is not null and (p.l).reloptions is distinct from (p.s).reloptions
    union all
    select format('alter table %s set (%s)', p.shadow,
                  (select string_agg(format('%I = %L', o.option_name, o.option_value), ', ')
                   from pg_options_to_table((p.l).reloptions) o))
    from pairs p where (p.l).reloptions is not null and (p.l).reloptions is distinct from (p.s).reloptions
    union all
    select format('alter table %s alter column %I set statistics %s', c.shadow, c.counted, c.wanted)
    from columns c where c.wanted <> c.found
    union all
    select format('alter table %s alter column %I set storage %s', c.shadow, (c.l).attname,
                  case (c.l).attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main'
                                        else 'extended' end)
    from columns c where not c.migrated and (c.l).attstorage <> (c.s).attstorage
    union all
    select format('alter table %s alter column %I set compression %s', c.shadow, (c.l).attname,
                  case (c.l).attcompression when 'p' then 'pglz' when 'l' then 'lz4' else 'default' end)
    from columns c where not c.migrated and (c.l).attcompression <> (c.s).attcompression
    union all
    select format('comment on table %s is %L', p.shadow, obj_description(p.live, 'pg_class'))
    from pairs p
    where obj_description(p.live, 'pg_class') is distinct from obj_description(p.shadow, 'pg_class')
    union all
    select format('comment on column %s.%I is %L', c.shadow, (c.s).attname, col_description(c.live, (c.l).attnum))
    from columns c
    where col_description(c.live, (c.l).attnum) is distinct from col_description(c.shadow, (c.s).attnum)
    union all
    select format('comment on index %s is %L', i.shadow, obj_description(i.live, 'pg_class'))
    from encrypt._index_pairs(migration) i
    where obj_description(i.live, 'pg_class') is distinct from obj_description(i.shadow, 'pg_class')
    union all
    select format('comment on constraint %I on %s is %L', s.conname, s.conrelid::regclass,
                  obj_description(l.oid, 'pg_constraint'))
    from (select k.live, k.shadow from encrypt._key_pairs(migration) k
          union all
          select o.oid, t.oid from pairs p
          join pg_constraint o on o.conrelid = p.live and o.contype in ('c', 'n')
          join pg_constraint t on t.conrelid = p.shadow and t.contype = o.contype and t.conname = o.conname
          union all
          select o.oid, t.oid from encrypt._index_pairs(migration) i
          join pg_constraint o on o.conindid = i.live and o.contype in ('p', 'u', 'x')
          join pg_constraint t on t.conindid = i.shadow and t.contype in ('p', 'u', 'x')) as k
    join pg_constraint l on l.oid = k.live
    join pg_constraint s on s.oid = k.shadow
    where obj_description(l.oid, 'pg_constraint') is distinct from obj_description(s.oid, 'pg_constraint')
    union all
    select format('select encrypt._set_privileges(%L, %L, %L)', p.shadow::text,
                  coalesce((p.l).relacl, acldefault('r', (p.l).relowner)),
                  encrypt._expected_privileges(migration, p.live, p.shadow))
    from pairs p
    where encrypt._sorted_acl(coalesce((p.l).relacl, acldefault('r', (p.l).relowner)))
          <> encrypt._sorted_acl(coalesce((p.s).relacl, acldefault('r', (p.s).relowner)))
       or (select jsonb_object_agg(c.key, encrypt._sorted_acl(c.value::aclitem[]))
           from jsonb_each_text(encrypt._expected_privileges(migration, p.live, p.shadow)) c)
          is distinct from
          (select jsonb_object_agg(c.key, encrypt._sorted_acl(c.value::aclitem[]))
           from jsonb_each_text(encrypt._column_privileges(p.shadow)) c)
    union all
    select format('select encrypt._set_privileges(%L, %L, ''{}'')', q.shadow, coalesce(l.relacl, acldefault('s', l.relowner)))
    from encrypt._identity_pairs(migration) q
    join pg_class l on l.oid = q.live
    join pg_class s on s.oid = q.shadow
    where encrypt._sorted_acl(coalesce(l.relacl, acldefault('s', l.relowner)))
          <> encrypt._sorted_acl(coalesce(s.relacl, acldefault('s', s.relowner)));
end
$$;
comment on function encrypt._settings_statements(integer) is
    'statements that give the shadows what was changed on the live tables meanwhile';

-- Which versions of which rows of the catalogs say what the tables are: where two answers are equal, nothing was changed between
-- them. Locks on the tables do not say so much: GRANT, for one, waits for none.
create function encrypt._definition(migration integer) returns text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    return (
    with tables as materialized (
        select x.oid::oid as oid from encrypt._migration_pairs(migration) p cross join lateral unnest(array[p.live, p.shadow]) as x (oid)
    ),
    relations as materialized (
        select t.oid from tables t
        union all
        select i.indexrelid from pg_index i where i.indrelid in (select t.oid from tables t)
        union all
        select d.objid from pg_depend d
        where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid in (select t.oid from tables t)
          and d.refobjsubid > 0 and d.deptype in ('a', 'i')
        union all
        select m.exposed::oid from encrypt.migrations m where m.migration_id = migration and m.exposed is not null
    ),
    objects (class, object, part, version) as materialized (
        select 'pg_class'::regclass, c.oid, 0, c.xmin from pg_class c where c.oid in (select r.oid from relations r)
        union all
        select 'pg_namespace', n.oid, 0, n.xmin from pg_namespace n
        where n.oid in (select c.relnamespace from pg_class c where c.oid in (select t.oid from tables t))
        union all
        select 'pg_index', i.indexrelid, 0, i.xmin from pg_index i where i.indrelid in (select t.oid from tables t)
        union all
        select 'pg_sequence', s.seqrelid, 0, s.xmin from pg_sequence s where s.seqrelid in (select r.oid from relations r)
        union all
        select 'pg_attribute', a.attrelid, a.attnum, a.xmin from pg_attribute a where a.attrelid in (select t.oid from tables t)
        union all
        select 'pg_attrdef', d.oid, 0, d.xmin from pg_attrdef d where d.adrelid in (select t.oid from tables t)
        union all
        select 'pg_constraint', o.oid, 0, o.xmin from pg_constraint o
        where o.conrelid in (select t.oid from tables t) or o.confrelid in (select t.oid from tables t)
        union all
        select 'pg_statistic_ext', s.oid, 0, s.xmin from pg_statistic_ext s where s.stxrelid in (select t.oid from tables t)
        union all
        select 'pg_inherits', i.inhrelid, i.inhseqno, i.xmin from pg_inherits i
        where i.inhparent in (select t.oid from tables t) or i.inhrelid in (select t.oid from tables t)
        union all
        select 'pg_trigger', g.oid, 0, g.xmin from pg_trigger g where g.tgrelid in (select t.oid from tables t)
    )
    select string_agg(f.fact, ' ' order by f.fact collate "C")
    from (
        select concat_ws(':', o.class::oid, o.object, o.part, o.version) as fact from objects o
        union all
        select concat_ws(':', 'comment', d.classoid, d.objoid, d.objsubid, d.xmin) from pg_description d
        where (d.classoid, d.objoid) in (select o.class::oid, o.object from objects o)
        union all
        select concat_ws(':', 'statements', s.relation::oid, s.event, s.level, s.xmin) from encrypt.sync_statements s
        where s.migration_id = migration
    ) as f);
end
$$;
comment on function encrypt._definition(integer) is 'a text that is another one when the definition of a migration''s tables has changed';

-- Who may use a column may use what it consists of in the other table.
create function encrypt._expected_privileges(migration integer, live regclass, shadow regclass) returns jsonb
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return (
        select coalesce(jsonb_object_agg(s.name, a.attacl::text), '{}')
        from encrypt._counterparts(migration, array[shadow]) s
        join encrypt._counterparts(migration, array[live]) l on l.counterpart = s.counterpart and l.part is distinct from 'token'
        join pg_attribute a on a.attrelid = live and a.attnum = l.number
        where a.attacl is not null);
end
$$;
comment on function encrypt._expected_privileges(integer, regclass, regclass) is
    'access lists that the columns of a shadow should have, by their names';

create function encrypt._sorted_acl(acl aclitem[]) returns text[]
    language sql immutable set search_path = pg_catalog, pg_temp as
$$
    -- Without the grantor, who becomes the owner where privileges are given anew.
    select array_agg(concat_ws(' ', x.grantee, x.privilege_type, x.is_grantable) order by x.grantee, x.privilege_type, x.is_grantable)
    from aclexplode(acl) x
$$;
comment on function encrypt._sorted_acl(aclitem[]) is 'an access list to compare with another';

-- why: helpers of the steps, with the rights of the extension's owner
revoke all on function
    encrypt._shadow_differences(integer),
    encrypt._refuse_differences(integer),
    encrypt._settings_statements(integer),
    encrypt._definition(integer),
    encrypt._expected_privileges(integer, regclass, regclass),
    encrypt._sorted_acl(aclitem[])
from public;
