-- Migration, planning: tables that can't be migrated, and why. All reasons are found, so that nobody has to try again for
-- the next one. A remedy is a statement to run, where one helps.

create function encrypt._table_refusals(target regclass, started integer, options jsonb) returns table (reason text, remedy text)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    with tree as (
        select t.relation, t.parent, c.relname, c.relkind, c.relpersistence, c.relispartition, c.reloftype, c.relowner,
               c.relnamespace, c.relforcerowsecurity
        from encrypt._tree(target) t join pg_class c on c.oid = t.relation
    )
    select format('%s is a partition of %s', r.relation, i.inhparent::regclass),
           format('select encrypt.start_migration(%L, ...);', i.inhparent::regclass)
    from tree r join pg_inherits i on i.inhrelid = r.relation where r.relation = target and r.relispartition
    union all
    select format('partition %s is being detached', i.inhrelid::regclass),
           format('alter table %s detach partition %s finalize;', i.inhparent::regclass, i.inhrelid::regclass)
    from tree r join pg_inherits i on i.inhrelid = r.relation and i.inhdetachpending
    union all
    select format('partition %s is a foreign table', r.relation), format('alter table %s detach partition %s;', r.parent, r.relation)
    from tree r where r.relkind = 'f' and r.parent is not null
    union all
    select format('%s inherits from %s', i.inhrelid::regclass, i.inhparent::regclass),
           format('alter table %s no inherit %s;', i.inhrelid::regclass, i.inhparent::regclass)
    from pg_inherits i join pg_class c on c.oid = i.inhrelid and not c.relispartition
    where i.inhrelid = target or i.inhparent = target
    union all
    select format('%s is an unlogged table, which is empty after a crash', r.relation), format('alter table %s set logged;', r.relation)
    from tree r where r.relpersistence = 'u'
    union all
    select format('%s is a table of type %s', r.relation, r.reloftype::regtype), format('alter table %s not of;', r.relation)
    from tree r where r.reloftype <> 0
    union all
    select format('%s belongs to extension %s', r.relation, quote_ident(e.extname)), null
    from tree r
    join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = r.relation and d.deptype = 'e'
    join pg_extension e on d.refclassid = 'pg_extension'::regclass and e.oid = d.refobjid
    union all
    -- Of a tree the root will do.
    select distinct on (m.migration_id) format('%s takes part in migration %s', r.relation, m.migration_id),
           format('call encrypt.rollback_migration(%s);', m.migration_id)
    from tree r
    join encrypt.migrations m on m.ended_at is null and m.migration_id is distinct from started
     and (r.relation in (m.live, m.shadow)
          or exists (select from encrypt.migration_relations s
                     where s.migration_id = m.migration_id and r.relation in (s.plain, s.encrypted)))
    union all
    select format('row-level security of %s is forced on its owner, as whom the copy is made', r.relation),
           format('alter table %s no force row level security;', r.relation)
    from tree r where r.relforcerowsecurity
    union all
    select distinct format('the owner of %s, %s, may not create tables in schema %s', r.relation, r.relowner::regrole,
                           r.relnamespace::regnamespace),
           format('grant create on schema %s to %s;', r.relnamespace::regnamespace, r.relowner::regrole)
    from tree r
    where not (has_schema_privilege(r.relowner, r.relnamespace, 'create')
               and has_schema_privilege(r.relowner, r.relnamespace, 'usage'))
    union all
    select format('rule %I on %s', w.rulename, r.relation), format('drop rule %I on %s;', w.rulename, r.relation)
    from tree r join pg_rewrite w on w.ev_class = r.relation
    union all
    select format('index %s is not valid', i.indexrelid::regclass), format('drop index %s;', i.indexrelid::regclass)
    from tree r join pg_index i on i.indrelid = r.relation and not (i.indisvalid and i.indisready)
    union all
    -- Rows that don't keep to it could not be copied. (A constraint that is not enforced, in 18, is never valid.)
    select format('constraint %I of %s was never validated', k.conname, r.relation),
           format('alter table %s validate constraint %I;', r.relation, k.conname)
    from tree r join pg_constraint k on k.conrelid = r.relation and not k.convalidated
    where coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
      -- Before 18, validating a key to a partitioned table does not mark its copies for the partitions.
      and not exists (select from pg_constraint above where above.oid = k.conparentid and above.conrelid = k.conrelid)
    union all
    select format('publication %I publishes new tables by itself, and its subscribers have no copy of %s', p.pubname, target),
           'Make the table there, and give the option {"publications": "accept"}.'
    from pg_publication p
    where coalesce(options ->> 'publications', '') <> 'accept'
      and (p.puballtables
           or exists (select from pg_publication_namespace n
                      where n.pnpubid = p.oid and n.pnnspid in (select r.relnamespace from tree r)))
$$;
comment on function encrypt._table_refusals(regclass, integer, jsonb) is 'why a table can''t be migrated, whatever its columns';

-- What identifies a row: the primary key, or the narrowest unique index that serves as one.
create function encrypt._row_key(target regclass, columns name[]) returns name[]
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select (select array_agg(a.attname order by k.position)
            from unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
            where k.position <= i.indnkeyatts)
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam and m.amname = 'btree'
    where i.indrelid = target and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null
      and i.indexprs is null
      and not exists (select from unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
                      left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                      where k.position <= i.indnkeyatts
                        and (a.attnotnull is not true or a.attname = any (columns)))
      -- ON CONFLICT finds unique indexes by their columns, and refuses one that is deferrable.
      and not exists (select from pg_index d
                      where d.indrelid = target and d.indisunique and not d.indimmediate
                        and (d.indkey::int2[])[:d.indnkeyatts - 1] @> (i.indkey::int2[])[:i.indnkeyatts - 1]
                        and (d.indkey::int2[])[:d.indnkeyatts - 1] <@ (i.indkey::int2[])[:i.indnkeyatts - 1])
    order by i.indisprimary desc, i.indnkeyatts, i.indexrelid
    limit 1
$$;
comment on function encrypt._row_key(regclass, name[]) is 'columns that identify a row and are not among those to encrypt';

create function encrypt._key_refusals(target regclass, columns name[]) returns table (reason text, remedy text)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select format('primary key %I contains a column to encrypt', k.conname), null
    from pg_constraint k
    where k.conrelid = target and k.contype = 'p' and k.conkey && encrypt._column_numbers(target, columns)
    union all
    select case
               when exists (select from pg_constraint k where k.conrelid = target and k.contype in ('p', 'u') and k.condeferrable)
                   then 'nothing identifies its rows: its key is deferrable, so that two rows can have the same for a while'
               else 'nothing identifies its rows: there is no primary key, nor a unique index on columns that are not null, '
                    'without predicate, expressions and columns to encrypt'
           end,
           -- A key that is there, deferrable or to be encrypted, may have the name, and leaves no room for a primary key.
           (select format('alter table %s add column %I bigint generated always as identity %s;', target, f.name,
                          case when exists (select from pg_constraint k where k.conrelid = target and k.contype = 'p')
                               then 'unique' else 'primary key' end)
            from pg_class c
            cross join lateral (
                select n.name from generate_series(0, 1600) i
                cross join lateral (
                    select case i when 0 then 'id' else 'row_id' || coalesce(nullif(i, 1)::text, '') end) as n (name)
                where not exists (select from pg_attribute a where a.attrelid = target and a.attname = n.name)
                order by i limit 1) as f
            where c.oid = target and c.relkind = 'r')
    where encrypt._row_key(target, columns) is null
$$;
comment on function encrypt._key_refusals(regclass, name[]) is 'why a table''s rows can''t be told apart';

-- Views are made again at cutover. Everything else that refers to the table by its OID would go on to use the old one.
create function encrypt._dependent_refusals(target regclass, columns name[]) returns table (reason text, remedy text)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    with recursive moved (relation, relkind) as (
        -- The tree, and every view above it.
        select t.relation::oid, 'r'::"char" from encrypt._tree(target) t
        union
        select c.oid, c.relkind
        from moved
        join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = moved.relation
                        and d.classid = 'pg_rewrite'::regclass
        join pg_rewrite w on w.oid = d.objid
        join pg_class c on c.oid = w.ev_class and c.relkind in ('v', 'm')
    ), row_types as (
        select moved.relation, t.oid as type from moved join pg_type t on t.typrelid = moved.relation
        union all
        select moved.relation, t.typarray from moved join pg_type t on t.typrelid = moved.relation
    ), users as (
        select distinct moved.relation, d.classid, d.objid, d.objsubid
        from moved
        join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = moved.relation and d.deptype in ('n', 'a')
    )
    select format('materialized view %s is made from it', m.relation::regclass), format('drop materialized view %s;', m.relation::regclass)
    from moved m where m.relkind = 'm'
    union all
    select format('function %s has it in its body', u.objid::regprocedure), format('drop function %s;', u.objid::regprocedure)
    from users u where u.classid = 'pg_proc'::regclass
    union all
    select format('policy %I on %s refers to %s', p.polname, p.polrelid::regclass, u.relation::regclass),
           format('drop policy %I on %s;', p.polname, p.polrelid::regclass)
    from users u join pg_policy p on u.classid = 'pg_policy'::regclass and p.oid = u.objid
    where p.polrelid <> u.relation
    union all
    select format('rule %I on %s refers to %s', w.rulename, w.ev_class::regclass, u.relation::regclass),
           format('drop rule %I on %s;', w.rulename, w.ev_class::regclass)
    from users u join pg_rewrite w on u.classid = 'pg_rewrite'::regclass and w.oid = u.objid
    where w.ev_class <> u.relation and w.rulename <> '_RETURN'
    union all
    select format('rule %I on view %s', w.rulename, w.ev_class::regclass), format('drop rule %I on %s;', w.rulename, w.ev_class::regclass)
    from moved m join pg_rewrite w on w.ev_class = m.relation and w.rulename <> '_RETURN' where m.relkind = 'v'
    union all
    select format('trigger %I on view %s', g.tgname, g.tgrelid::regclass), format('drop trigger %I on %s;', g.tgname, g.tgrelid::regclass)
    from moved m join pg_trigger g on g.tgrelid = m.relation and not g.tgisinternal where m.relkind = 'v'
    union all
    select format('view %s belongs to extension %s', m.relation::regclass, quote_ident(e.extname)), null
    from moved m
    join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = m.relation and d.deptype = 'e'
    join pg_extension e on e.oid = d.refobjid
    where m.relkind = 'v'
    union all
    select format('constraint trigger %I on %s refers to it', g.tgname, g.tgrelid::regclass),
           format('drop trigger %I on %s;', g.tgname, g.tgrelid::regclass)
    from moved m join pg_trigger g on g.tgconstrrelid = m.relation and not g.tgisinternal and g.tgrelid <> m.relation
    where m.relkind = 'r'
    union all
    -- Functions, columns, domains, composite types, casts, operators that have the type of its rows.
    select distinct format('%s uses the type of the rows of %s', pg_describe_object(d.classid, d.objid, d.objsubid),
                           t.relation::regclass),
           case when d.classid = 'pg_proc'::regclass then format('drop function %s;', d.objid::regprocedure) end
    from row_types t
    join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid = t.type and d.deptype in ('n', 'a')
    where not (d.classid = 'pg_class'::regclass and d.objid in (select m.relation from moved m where m.relkind = 'r'))
$$;
comment on function encrypt._dependent_refusals(regclass, name[]) is 'what depends on a table and could not follow it';

-- why: parts of start_migration
revoke all on function encrypt._table_refusals(regclass, integer, jsonb) from public;
revoke all on function encrypt._row_key(regclass, name[]) from public;
revoke all on function encrypt._key_refusals(regclass, name[]) from public;
revoke all on function encrypt._dependent_refusals(regclass, name[]) from public;
