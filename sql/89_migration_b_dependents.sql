-- What hangs on a table by its identity and not by its name: views, user triggers, policies, publications. Each is
-- written down as statements, dropped, and made again when the names belong to the other table.

-- Views over the tables, views over those and so on, lowest first.
create function encrypt._dependent_views(migration integer, out view regclass, out level integer)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with recursive found (relation, level) as (
        select p.live::oid, 0 from encrypt._migration_pairs(migration) p
        union
        select r.ev_class, f.level + 1
        from found f
        join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = f.relation
             and d.classid = 'pg_rewrite'::regclass
        join pg_rewrite r on r.oid = d.objid and r.ev_class <> f.relation
        join pg_class c on c.oid = r.ev_class and c.relkind = 'v'
        -- Views can be made to depend on each other in a circle.
        where f.level < 100
    )
    select f.relation::regclass, max(f.level) from found f where f.level > 0 group by 1 order by 2, 1;
end
$$;
comment on function encrypt._dependent_views(integer) is 'views over the live tables, directly or not, lowest first';

create function encrypt._comment_statement(kind text, qualified text, class regclass, object oid, part integer default 0)
    returns text
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select format('comment on %s %s is %L', kind, qualified, d.description)
    from pg_description d
    where d.classoid = class and d.objoid = object and d.objsubid = part
$$;
comment on function encrypt._comment_statement(text, text, regclass, oid, integer) is
    'statement that gives an object the comment it has; null if it has none';

-- Without settings of its own, so that it becomes a part of the queries that ask it of every trigger.
create function encrypt._is_user_trigger(t pg_trigger) returns boolean
    language sql stable
return not t.tgisinternal
   and t.tgfoid not in ('encrypt.encrypt_and_sync_row()'::regprocedure,
                        'encrypt.delete_encrypted_row()'::regprocedure,
                        'encrypt._stamp_row()'::regprocedure);
comment on function encrypt._is_user_trigger(pg_trigger) is
    'whether a trigger is neither a constraint''s nor one of a migration''s own';

-- The names in the statements are those of now, qualified: pg_catalog alone is in the path. On the relation named future.
create function encrypt._trigger_statements(relation regclass, future text, out place integer, out statement text)
    returns setof record
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select s.place, s.statement
    from pg_trigger t
    cross join lateral (
        select 1, encrypt._trigger_definition(t.oid, future) where t.tgparentid = 0
        union all
        -- A partition's copy of a trigger can be switched by itself.
        select 2, format('alter table %s %s trigger %I', future,
                         case t.tgenabled when 'D' then 'disable' when 'R' then 'enable replica'
                                          when 'A' then 'enable always' else 'enable' end, t.tgname)
        where t.tgenabled <> coalesce((select above.tgenabled from pg_trigger above where above.oid = t.tgparentid), 'O')
        union all
        select 3, encrypt._comment_statement('trigger', format('%I on %s', t.tgname, future), 'pg_trigger', t.oid)
        union all
        select 3, format('alter trigger %I on %s depends on extension %I', t.tgname, future, e.extname)
        from pg_depend d join pg_extension e on d.refclassid = 'pg_extension'::regclass and e.oid = d.refobjid
        where d.classid = 'pg_trigger'::regclass and d.objid = t.oid and d.deptype = 'x' and t.tgparentid = 0
    ) as s (place, statement)
    where t.tgrelid = relation and encrypt._is_user_trigger(t) and s.statement is not null
    order by s.place, t.tgname
$$;
comment on function encrypt._trigger_statements(regclass, text) is
    'statements that make the user triggers of a table or view as they are';

create function encrypt._view_statements(view regclass) returns setof text
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select s.statement
    from pg_class c
    cross join lateral (
        -- With its columns' names: one that was renamed in the view keeps its name.
        select 1, format('create view %s (%s)%s as %s', view,
                         (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                          from pg_attribute a where a.attrelid = view and a.attnum > 0),
                         ' with (' || (select string_agg(format('%I = %L', o.option_name, o.option_value), ', ')
                                       from pg_options_to_table(c.reloptions) o) || ')',
                         pg_get_viewdef(view, false))
        union all
        select 2, format('alter view %s owner to %I', view, pg_get_userbyid(c.relowner))
        union all
        select 3, format('alter view %s alter column %I set default %s', view, a.attname,
                         pg_get_expr(d.adbin, d.adrelid))
        from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where d.adrelid = view
        union all
        select 4, pg_get_ruledef(r.oid) from pg_rewrite r where r.ev_class = view and r.rulename <> '_RETURN'
        union all
        select 4 + t.place, t.statement from encrypt._trigger_statements(view, view::text) t
        union all
        select 10, encrypt._comment_statement('view', view::text, 'pg_class', view)
        union all
        select 10, encrypt._comment_statement('column', format('%s.%I', view, a.attname), 'pg_class', view, a.attnum)
        from pg_attribute a where a.attrelid = view and a.attnum > 0
        union all
        select 10, format('security label for %I on %s %s is %L', l.provider, l.objtype, l.objname, l.label)
        from pg_seclabels l where l.classoid = 'pg_class'::regclass and l.objoid = view
        union all
        -- Last: what default privileges gave to the new view goes.
        select 11, format('select encrypt._set_privileges(%L, %L, %L)', view::text,
                          coalesce(c.relacl, acldefault('r', c.relowner)), encrypt._column_privileges(view))
    ) as s (place, statement)
    where c.oid = view and s.statement is not null
    order by s.place
$$;
comment on function encrypt._view_statements(regclass) is 'statements that make a view as it is, with all that hangs on it';

create function encrypt._column_privileges(relation regclass) returns jsonb
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select coalesce(jsonb_object_agg(a.attname, a.attacl::text), '{}')
    from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attacl is not null
$$;
comment on function encrypt._column_privileges(regclass) is 'access lists of a relation''s columns by their names';

-- Gives exactly these privileges and no others: what default privileges gave to a new object goes. The grantor is the
-- owner, whoever it was before: what each role may do is the same.
create function encrypt._set_privileges(relation text, acl aclitem[], columns jsonb) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
    target regclass := relation;
    item record;
begin
    for item in
        select distinct '' as columns, x.grantee
        from pg_class c cross join aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x
        where c.oid = target
        union
        select distinct format('(%I)', a.attname), x.grantee
        from pg_attribute a cross join aclexplode(a.attacl) x where a.attrelid = target and not a.attisdropped
    loop
        execute format('revoke all %s on %s from %s', item.columns, target, encrypt._grantee(item.grantee));
    end loop;
    for item in
        select '' as columns, x.privilege_type, x.grantee, x.is_grantable from aclexplode(acl) x
        union all
        select format('(%I)', col.key), x.privilege_type, x.grantee, x.is_grantable
        from jsonb_each_text(columns) col cross join aclexplode(col.value::aclitem[]) x
    loop
        execute format('grant %s %s on %s to %s%s', item.privilege_type, item.columns, target,
                       encrypt._grantee(item.grantee),
                       case when item.is_grantable then ' with grant option' else '' end);
    end loop;
end
$$;
comment on function encrypt._set_privileges(text, aclitem[], jsonb) is
    'makes the privileges on a relation and its columns those of access lists';

create function encrypt._policy_statements(relation regclass, future text) returns setof text
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select s.statement
    from pg_policy p
    cross join lateral (values
        (encrypt._policy_definition(p.oid, future)),
        (encrypt._comment_statement('policy', format('%I on %s', p.polname, future), 'pg_policy', p.oid))
    ) as s (statement)
    where p.polrelid = relation and s.statement is not null
$$;
comment on function encrypt._policy_statements(regclass, text) is 'statements that make the row security policies of a table as they are';

create function encrypt._publication_statements(relation regclass, future text) returns setof text
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select format('alter publication %I add table only %s%s%s', p.pubname, future,
                  ' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                           from pg_attribute a where a.attrelid = relation and a.attnum = any (r.prattrs::int2[])) || ')',
                  ' where (' || pg_get_expr(r.prqual, r.prrelid) || ')')
    from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
    where r.prrelid = relation
    order by p.pubname
$$;
comment on function encrypt._publication_statements(regclass, text) is
    'statements that add a table to the publications that name it';

-- What still reads the table that is no longer called by its name: it would go on working, on the wrong table, until that
-- is dropped. Nothing is left when everything was moved.
create function encrypt._stray_dependents(migration integer) returns setof text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    with tree as materialized (
        select p.shadow as relation, c.reltype, t.typarray
        from encrypt._migration_pairs(migration) p
        join pg_class c on c.oid = p.shadow
        join pg_type t on t.oid = c.reltype
    ),
    parts (class, object) as (
        select 'pg_class'::regclass::oid, t.relation::oid from tree t
        union all
        select 'pg_type'::regclass, t.reltype from tree t
        union all
        select 'pg_type'::regclass, t.typarray from tree t
    )
    select distinct pg_describe_object(d.classid, d.objid, 0)
    from parts p
    join pg_depend d on d.refclassid = p.class and d.refobjid = p.object
    where d.deptype in ('n', 'a')
      and case d.classid
          when 'pg_class'::regclass then
              not exists (select from pg_class c
                          where c.oid = d.objid
                            and (c.oid in (select t.relation from tree t)
                                 or c.relkind in ('i', 'I')
                                 or exists (select from pg_depend o where o.classid = 'pg_class'::regclass
                                            and o.objid = c.oid and o.deptype = 'i' and c.relkind = 'S')))
          when 'pg_constraint'::regclass then
              not exists (select from pg_constraint o
                          where o.oid = d.objid
                            and (o.contype = 'f' or o.conrelid in (select t.relation from tree t)))
          when 'pg_attrdef'::regclass then
              not exists (select from pg_attrdef o where o.oid = d.objid and o.adrelid in (select t.relation from tree t))
          when 'pg_trigger'::regclass then
              not exists (select from pg_trigger o
                          where o.oid = d.objid
                            and (o.tgisinternal or o.tgrelid in (select t.relation from tree t)))
          when 'pg_policy'::regclass then
              not exists (select from pg_policy o where o.oid = d.objid and o.polrelid in (select t.relation from tree t))
          when 'pg_statistic_ext'::regclass then
              not exists (select from pg_statistic_ext o
                          where o.oid = d.objid and o.stxrelid in (select t.relation from tree t))
          when 'pg_type'::regclass then
              d.objid not in (select t.typarray from tree t) and d.objid not in (select t.reltype from tree t)
          else true end
    order by 1;
end
$$;
comment on function encrypt._stray_dependents(integer) is
    'objects other than its own parts that depend on the shadow';

-- why: helpers of the exchange, with the rights of the extension's owner
revoke all on function encrypt._dependent_views(integer) from public;
revoke all on function encrypt._comment_statement(text, text, regclass, oid, integer) from public;
revoke all on function encrypt._trigger_statements(regclass, text) from public;
revoke all on function encrypt._is_user_trigger(pg_trigger) from public;
revoke all on function encrypt._view_statements(regclass) from public;
revoke all on function encrypt._column_privileges(regclass) from public;
revoke all on function encrypt._set_privileges(text, aclitem[], jsonb) from public;
revoke all on function encrypt._policy_statements(regclass, text) from public;
revoke all on function encrypt._publication_statements(regclass, text) from public;
revoke all on function encrypt._stray_dependents(integer) from public;
