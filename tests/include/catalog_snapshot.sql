-- Everything that hangs on a table, one line per object, by name: to compare before and after.
--
--   snapshot.of_table(target, plainly)
--
-- plainly: as it was before columns were encrypted. Encrypted types are shown as their base types, operator classes that
-- sort by token and the suffixes of names that exist twice are left out.
create schema snapshot;

create function snapshot.acl(acl aclitem[], kind "char", owner oid) returns text language sql as $$
    select coalesce(string_agg(format('%s=%s%s/%s', case when a.grantee = 0 then 'public' else a.grantee::regrole::text end,
                                      a.privilege_type, case when a.is_grantable then '*' else '' end, a.grantor::regrole), ' '
                               order by a.grantee::regrole::text, a.privilege_type, a.grantor::regrole::text), '-')
    from aclexplode(coalesce(acl, acldefault(kind, owner))) a
$$;

create function snapshot.tree(target regclass) returns setof oid language sql as $$
    with recursive tree (relation) as (
        select target::oid union all select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.relation
    )
    select relation from tree
$$;

create function snapshot.lines(target regclass) returns setof text language sql as $$
    with tree as (select c.* from snapshot.tree(target) t join pg_class c on c.oid = t),
    views as (
        with recursive above (oid) as (
            select oid from tree
            union
            select w.ev_class from above a
            join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.oid and d.classid = 'pg_rewrite'::regclass
            join pg_rewrite w on w.oid = d.objid
        )
        select c.* from above a join pg_class c on c.oid = a.oid and c.relkind in ('v', 'm')
    )
    select format('table %s kind %s persistence %s owner %s method %s tablespace %s options %s toast %s rls %s force %s identity %s bound %s key %s acl %s comment %s',
                  c.oid::regclass, c.relkind, c.relpersistence, c.relowner::regrole, (select amname from pg_am where oid = c.relam),
                  c.reltablespace, c.reloptions, (select t.reloptions from pg_class t where t.oid = c.reltoastrelid),
                  c.relrowsecurity, c.relforcerowsecurity, c.relreplident, pg_get_expr(c.relpartbound, c.oid),
                  case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
                  snapshot.acl(c.relacl, 'r', c.relowner), obj_description(c.oid, 'pg_class'))
    from tree c
    union all
    select format('column %s.%I number %s type %s collation %s notnull %s default %s identity %s generated %s storage %s compression %s statistics %s options %s acl %s comment %s',
                  c.oid::regclass, a.attname,
                  (select count(*) from pg_attribute b where b.attrelid = c.oid and b.attnum between 1 and a.attnum and not b.attisdropped),
                  format_type(a.atttypid, a.atttypmod), nullif(a.attcollation, 0)::regcollation, a.attnotnull,
                  pg_get_expr(f.adbin, f.adrelid), a.attidentity, a.attgenerated, a.attstorage, a.attcompression,
                  nullif(a.attstattarget, -1),
                  (select array_agg(o order by o) from unnest(a.attoptions) as o where o like 'n_distinct%'), snapshot.acl(a.attacl, 'c', c.relowner), col_description(c.oid, a.attnum))
    from tree c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
    union all
    select format('constraint %s %I %s validated %s comment %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid),
                  k.convalidated, obj_description(k.oid, 'pg_constraint'))
    from tree c join pg_constraint k on k.conrelid = c.oid
    where k.contype <> 't'
    union all
    select format('referenced by %s %I %s validated %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid), k.convalidated)
    from tree c join pg_constraint k on k.confrelid = c.oid and k.contype = 'f'
    union all
    select format('index %s of %s constraint %s clustered %s identity %s valid %s tablespace %s options %s statistics %s parent %s comment %s',
                  pg_get_indexdef(i.indexrelid), i.indrelid::regclass, k.conname, i.indisclustered, i.indisreplident,
                  i.indisvalid, x.reltablespace, x.reloptions,
                  (select array_agg(nullif(a.attstattarget, -1) order by a.attnum) from pg_attribute a where a.attrelid = i.indexrelid),
                  h.inhparent::regclass, obj_description(i.indexrelid, 'pg_class'))
    from tree c
    join pg_index i on i.indrelid = c.oid
    join pg_class x on x.oid = i.indexrelid
    left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
    left join pg_inherits h on h.inhrelid = i.indexrelid
    union all
    select format('statistics %s target %s owner %s comment %s', pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1),
                  s.stxowner::regrole, obj_description(s.oid, 'pg_statistic_ext'))
    from tree c join pg_statistic_ext s on s.stxrelid = c.oid
    union all
    select format('policy %I on %s permissive %s command %s roles %s using %s check %s comment %s', p.polname, p.polrelid::regclass,
                  p.polpermissive, p.polcmd,
                  (select array_agg(case when r = 0 then 'public' else r::regrole::text end order by r) from unnest(p.polroles) r),
                  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), obj_description(p.oid, 'pg_policy'))
    from tree c join pg_policy p on p.polrelid = c.oid
    union all
    select format('trigger %s enabled %s comment %s', pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
    from tree c join pg_trigger t on t.tgrelid = c.oid and not t.tgisinternal
    union all
    select format('sequence %s of %s.%I by %s data %s owner %s acl %s comment %s', s.oid::regclass, d.refobjid::regclass, a.attname,
                  d.deptype, (select to_jsonb(q) - 'seqrelid' from pg_sequence q where q.seqrelid = s.oid), s.relowner::regrole,
                  snapshot.acl(s.relacl, 's', s.relowner), obj_description(s.oid, 'pg_class'))
    from tree c
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.classid = 'pg_class'::regclass
                    and d.deptype in ('a', 'i')
    join pg_class s on s.oid = d.objid and s.relkind = 'S'
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    union all
    select format('view %s kind %s owner %s options %s acl %s comment %s as %s', v.oid::regclass, v.relkind, v.relowner::regrole,
                  v.reloptions, snapshot.acl(v.relacl, 'r', v.relowner), obj_description(v.oid, 'pg_class'), pg_get_viewdef(v.oid))
    from views v
    union all
    select format('publication %I of %s columns %s where %s', p.pubname, r.prrelid::regclass,
                  (select array_agg(a.attname order by a.attname) from pg_attribute a
                   where a.attrelid = r.prrelid and a.attnum = any (r.prattrs)), pg_get_expr(r.prqual, r.prrelid))
    from tree c join pg_publication_rel r on r.prrelid = c.oid join pg_publication p on p.oid = r.prpubid
    union all
    select format('label %s of %s %s: %s', l.provider, l.objoid::regclass, l.objsubid, l.label)
    from tree c join pg_seclabel l on l.classoid = 'pg_class'::regclass and l.objoid = c.oid
$$;

create function snapshot.plainly(line text) returns text language plpgsql as $$
declare
    t record;
begin
    for t in select e.type_oid, format_type(e.base, e.base_modifier) as plain, e.type_oid::regtype::text as name
             from encrypt.types e join pg_type y on y.oid = e.type_oid order by length(e.type_oid::regtype::text) desc
    loop
        line := replace(replace(line, ' ' || t.name || '_ops', ''), 'type ' || t.name || ' ', 'type ' || t.plain || ' ');
    end loop;
    return regexp_replace(line, '_encrypted\M', '', 'g');
end
$$;

create function snapshot.of_table(target regclass, plainly boolean default false) returns setof text language sql as $$
    select case when plainly then snapshot.plainly(l) else l end as line from snapshot.lines(target) l order by 1
$$;

-- Every object of the database that is no temporary one, coarsely: what a step left behind, anywhere.
create function snapshot.of_database() returns table (kind text, name text) language sql as $$
    select 'relation', format('%s %s', c.relkind, c.oid::regclass) from pg_class c
    where c.relpersistence <> 't' and c.relnamespace not in ('pg_toast'::regnamespace, 'snapshot'::regnamespace)
    union all select 'type', t.oid::regtype::text from pg_type t where t.typrelid = 0 and t.typelem = 0
    union all select 'function', p.oid::regprocedure::text from pg_proc p where p.pronamespace <> 'snapshot'::regnamespace
    union all select 'operator', o.oid::regoperator::text from pg_operator o
    union all select 'class', format('%s.%I %s', o.opcnamespace::regnamespace, o.opcname, o.opcmethod) from pg_opclass o
    union all select 'family', format('%s.%I %s', o.opfnamespace::regnamespace, o.opfname, o.opfmethod) from pg_opfamily o
    union all select 'cast', format('%s %s', castsource::regtype, casttarget::regtype) from pg_cast
    union all select 'trigger', format('%I %s', tgname, tgrelid::regclass) from pg_trigger where not tgisinternal
    union all select 'statistics', format('%s.%I', stxnamespace::regnamespace, stxname) from pg_statistic_ext
    -- Autovacuum analyses the extension's own tables when it likes.
    union all select 'column statistics', format('%s %s', starelid::regclass, staattnum) from pg_statistic
                     where starelid >= 16384
                       and not exists (select from pg_class c where c.oid = starelid and c.relnamespace = 'encrypt'::regnamespace)
    union all select 'description', pg_describe_object(classoid, objoid, objsubid) from pg_description where objoid >= 16384
$$;
