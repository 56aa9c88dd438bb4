-- Migration, planning: who may do what with the encrypted table, and what is said about it.

-- Grants with their grantors, who hold the option because somebody granted it to them before: first the owner's, then
-- those of grantees, and so on. What default privileges added is taken away first.
create function encrypt._copy_acl(plain regclass, made regclass, kind text, object text, acl aclitem[], made_acl aclitem[], default_acl aclitem[])
    returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    g record;
    owner constant oid := (select c.relowner from pg_class c where c.oid = plain);
begin
    if coalesce(made_acl, default_acl) is not distinct from coalesce(acl, default_acl) then
        return;
    end if;
    for g in
        select distinct a.grantee from aclexplode(coalesce(made_acl, default_acl)) a
    loop
        perform encrypt._execute_as(owner::regrole, format('revoke all %s on %s from %s', kind, object, encrypt._grantee(g.grantee)));
    end loop;
    for g in
        with recursive given as (
            select a.*, 0 as depth from aclexplode(coalesce(acl, default_acl)) a where a.grantor = owner
            union
            select a.*, given.depth + 1
            from given
            join aclexplode(coalesce(acl, default_acl)) a
              on a.grantor = given.grantee and a.privilege_type = given.privilege_type and given.is_grantable
            -- Chains can't be longer than there are roles in them.
            where a.grantor <> owner and given.depth < cardinality(acl)
        )
        select grantor, grantee, privilege_type, bool_or(is_grantable) as is_grantable, min(depth) as depth
        from given group by 1, 2, 3 order by 5, 1, 2, 3
    loop
        perform encrypt._execute_as(g.grantor::regrole, format('grant %s %s on %s to %s%s', g.privilege_type, kind, object,
            encrypt._grantee(g.grantee), case when g.is_grantable and g.grantee <> owner then ' with grant option' else '' end));
    end loop;
end
$$;
comment on function encrypt._copy_acl(regclass, regclass, text, text, aclitem[], aclitem[], aclitem[]) is
    'gives the same privileges, by the same grantors';

create function encrypt._grantee(role oid) returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end
$$;
comment on function encrypt._grantee(oid) is 'a role as in GRANT ... TO';

create function encrypt._copy_privileges(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    r record;
    a record;
begin
    for r in
        select t.plain, t.encrypted, c.relacl as acl, d.relacl as made_acl, acldefault('r', c.relowner) as default_acl
        from encrypt.migration_relations t
        join pg_class c on c.oid = t.plain
        join pg_class d on d.oid = t.encrypted
        where t.migration_id = migration
    loop
        perform encrypt._copy_acl(r.plain, r.encrypted, '', 'table ' || r.encrypted, r.acl, r.made_acl, r.default_acl);
        for a in
            select b.attname, p.attacl, b.attacl as made_acl
            from encrypt._counterparts(migration, array[r.encrypted]) c
            join pg_attribute b on b.attrelid = c.relation and b.attnum = c.number
            join pg_attribute p on p.attrelid = r.plain and p.attname = c.counterpart
            where p.attacl is not null
        loop
            perform encrypt._copy_acl(r.plain, r.encrypted, format('(%I)', a.attname), 'table ' || r.encrypted, a.attacl, a.made_acl,
                acldefault('c', (select c.relowner from pg_class c where c.oid = r.plain)));
        end loop;
    end loop;
    for r in
        select x.plain, x.encrypted, x.relacl as acl, x.made_acl, acldefault('s', x.relowner) as default_acl
        from (select o.plain::regclass, o.encrypted::regclass, c.relacl, c.relowner, d.relacl as made_acl
              from encrypt.migration_objects o
              join pg_class c on c.oid = o.plain
              join pg_class d on d.oid = o.encrypted
              where o.migration_id = migration and o.kind = 'sequence') as x
    loop
        perform encrypt._copy_acl(r.plain, r.encrypted, '', 'sequence ' || r.encrypted, r.acl, r.made_acl, r.default_acl);
    end loop;
end
$$;
comment on function encrypt._copy_privileges(integer) is
    'gives the encrypted tables, their columns and sequences the privileges of their counterparts';

-- Policies keep their names, which belong to the table.
create function encrypt._policy_definition(policy oid, relation text) returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select concat_ws(' ',
        format('create policy %I on %s as %s for %s to %s', p.polname, relation,
               case when p.polpermissive then 'permissive' else 'restrictive' end,
               case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                             when 'd' then 'delete' else 'all' end,
               (select string_agg(encrypt._grantee(role), ', ') from unnest(p.polroles) as role)),
        'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
        'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    from pg_policy p where p.oid = policy
$$;
comment on function encrypt._policy_definition(oid, text) is 'CREATE POLICY for a policy, on another table';

create function encrypt._make_policies(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    p record;
begin
    for p in
        select r.plain, r.encrypted, x.polname,
               encrypt._policy_definition(x.oid, r.encrypted::text) as statement,
               encrypt._depends_on_columns('pg_policy', x.oid, r.plain, encrypt._migrated(migration)) as decrypts
        from encrypt.migration_relations r join pg_policy x on x.polrelid = r.plain
        where r.migration_id = migration
        order by r.plain, x.polname
    loop
        begin
            perform encrypt._execute_as_owner(p.plain, p.statement);
        exception when syntax_error_or_access_rule_violation or feature_not_supported then
            perform encrypt._refuse_migration(p.plain,
                array[format('policy %I of %s can''t be made on encrypted columns: %s', p.polname, p.plain, sqlerrm)],
                array[format('drop policy %I on %s;', p.polname, p.plain)]);
        end;
        if p.decrypts then
            raise notice 'policy "%" of % uses an encrypted column: roles to which it applies may need decrypt', p.polname, p.plain;
        end if;
    end loop;
    for p in
        select r.plain, r.encrypted
        from encrypt.migration_relations r join pg_class c on c.oid = r.plain
        where r.migration_id = migration and c.relrowsecurity
    loop
        perform encrypt._execute_as_owner(p.plain, format('alter table only %s enable row level security', p.encrypted));
    end loop;
end
$$;
comment on function encrypt._make_policies(integer) is 'row-level security of the encrypted tables';

create function encrypt._depends_on_columns(class regclass, object oid, relation regclass, columns name[]) returns boolean
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select exists (select from pg_depend d
                   where d.classid = class and d.objid = object
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = relation
                     and d.refobjsubid = any (encrypt._column_numbers(relation, columns)))
$$;
comment on function encrypt._depends_on_columns(regclass, oid, regclass, name[]) is
    'whether a policy or trigger uses one of the columns';

-- Comments and security labels of tables, columns and all that was made for them.
create function encrypt._copy_comments(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    s record;
begin
    for s in
        with described as (
            select 'pg_class'::regclass as class, r.plain::oid as object, a.attnum as sub, r.plain,
                   case when a.attnum = 0 then 'table ' || r.encrypted else format('column %s.%I', r.encrypted, a.attname) end as target
            from encrypt.migration_relations r
            cross join lateral (select 0 as attnum, ''::name as attname
                                union all
                                select p.attnum, coalesce(m.value_column, p.attname)
                                from pg_attribute p
                                left join encrypt.migration_columns m on m.migration_id = migration and m.column_name = p.attname
                                where p.attrelid = r.plain and p.attnum > 0 and not p.attisdropped) as a
            where r.migration_id = migration
            union all
            select 'pg_class', o.plain, 0, r.plain, o.kind || ' ' || o.encrypted::regclass
            from encrypt.migration_objects o
            join encrypt.migration_relations r on r.migration_id = migration and r.plain = coalesce(
                (select x.indrelid from pg_index x where x.indexrelid = o.plain),
                (select d.refobjid from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = o.plain
                  and d.refclassid = 'pg_class'::regclass and d.deptype = 'i' limit 1))
            where o.migration_id = migration and o.kind in ('index', 'sequence')
            union all
            select 'pg_statistic_ext', o.plain, 0, x.stxrelid, format('statistics %s.%I', y.stxnamespace::regnamespace, y.stxname)
            from encrypt.migration_objects o
            join pg_statistic_ext x on x.oid = o.plain
            join pg_statistic_ext y on y.oid = o.encrypted
            where o.migration_id = migration and o.kind = 'statistics'
            union all
            select 'pg_constraint', k.oid, 0, r.plain, format('constraint %I on %s', n.conname, r.encrypted)
            from encrypt.migration_relations r
            join pg_constraint k on k.conrelid = r.plain
            left join encrypt.migration_objects o on o.migration_id = migration and o.kind = 'index' and o.plain = k.conindid
            join pg_constraint n on n.conrelid = r.encrypted and n.contype = k.contype
             and (n.conindid = o.encrypted or (k.contype in ('c', 'n') and n.conname = k.conname))
            where r.migration_id = migration and k.contype <> 'f'
            union all
            -- A unique constraint whose place an index takes.
            select 'pg_constraint', k.oid, 0, r.plain, 'index ' || o.encrypted::regclass
            from encrypt.migration_relations r
            join pg_constraint k on k.conrelid = r.plain and k.contype = 'u'
            join encrypt.migration_objects o on o.migration_id = migration and o.kind = 'index' and o.plain = k.conindid
            where r.migration_id = migration and not exists (select from pg_constraint n where n.conindid = o.encrypted)
            union all
            select 'pg_policy', p.oid, 0, r.plain, format('policy %I on %s', p.polname, r.encrypted)
            from encrypt.migration_relations r join pg_policy p on p.polrelid = r.plain
            where r.migration_id = migration
        )
        select d.plain, format('comment on %s is %L', d.target, c.description) as statement
        from described d
        join pg_description c on c.classoid = d.class and c.objoid = d.object and c.objsubid = d.sub
        union all
        select d.plain, format('security label for %I on %s is %L', l.provider, d.target, l.label)
        from described d
        join pg_seclabel l on l.classoid = d.class and l.objoid = d.object and l.objsubid = d.sub
    loop
        perform encrypt._execute_as_owner(s.plain, s.statement);
    end loop;
end
$$;
comment on function encrypt._copy_comments(integer) is 'comments and security labels of the encrypted tables and their parts';

-- why: parts of start_migration
revoke all on function encrypt._copy_acl(regclass, regclass, text, text, aclitem[], aclitem[], aclitem[]) from public;
revoke all on function encrypt._grantee(oid) from public;
revoke all on function encrypt._copy_privileges(integer) from public;
revoke all on function encrypt._policy_definition(oid, text) from public;
revoke all on function encrypt._make_policies(integer) from public;
revoke all on function encrypt._depends_on_columns(regclass, oid, regclass, name[]) from public;
revoke all on function encrypt._copy_comments(integer) from public;
