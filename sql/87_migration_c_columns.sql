-- Migration, planning: the columns to encrypt. What stands against it, and the types that they get.

-- Mistakes in the call, in contrast to what the table is like: the first one is an error of its own.
create function encrypt._check_columns(target regclass, columns name[], search name[], options jsonb) returns void
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    wrong text;
    named text;
begin
    if coalesce(cardinality(columns), 0) = 0 or array_position(columns, null) is not null then
        raise exception using errcode = 'invalid_parameter_value', message = 'no columns to encrypt',
            hint = format('Run: select encrypt.start_migration(%L, ''{COLUMN, ...}'');', target);
    end if;
    select c into wrong from unnest(columns) as c group by c having count(*) > 1 limit 1;
    if wrong is not null then
        raise exception using errcode = 'duplicate_column', message = format('column "%s" is given twice', wrong);
    end if;
    select c into wrong from unnest(columns) as c
    where not exists (select from pg_attribute a
                      where a.attrelid = target and a.attname = c and a.attnum > 0 and not a.attisdropped)
    limit 1;
    if wrong is not null then
        raise exception using errcode = 'undefined_column',
            message = format('column "%s" of table %s does not exist', wrong, target);
    end if;
    select c into wrong from unnest(search) as c where c <> all (columns) or c is null limit 1;
    if found then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('column "%s" is to be searched but is none of the columns to encrypt', wrong);
    end if;
    select o, c into named, wrong
    from unnest('{types,contexts,normalizers}'::text[]) as o
    cross join lateral jsonb_object_keys(coalesce(options -> o, '{}')) as c
    where c <> all (columns)
    limit 1;
    if found then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('option "%s" names column "%s", which is none of the columns to encrypt', named, wrong);
    end if;
end
$$;
comment on function encrypt._check_columns(regclass, name[], name[], jsonb) is
    'the columns given exist, once, and those that are to be searched or have options are among them';

-- Types that columns have now, and keys, partitioning, publications and statistics that use them.
create function encrypt._column_refusals(target regclass, columns name[], search name[]) returns table (reason text, remedy text)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    with tree as (
        select t.relation, encrypt._column_numbers(t.relation, columns) as numbers from encrypt._tree(target) t
    ), used as (
        select a.attrelid, a.attname, a.attidentity, a.attgenerated, t.oid as type, t.typtype, t.typbasetype, t.typtypmod,
               l.collname, l.collisdeterministic
        from pg_attribute a
        join pg_type t on t.oid = a.atttypid
        left join pg_collation l on l.oid = a.attcollation
        where a.attrelid = target and a.attnum = any (encrypt._column_numbers(target, columns))
    )
    select format('column %I is encrypted already, as %s', u.attname, u.type::regtype), null
    from used u
    where u.type = 'encrypt.ciphertext'::regtype or exists (select from encrypt.types t where t.type_oid = u.type)
    union all
    select format('column %I is of domain %s, whose constraints could not see its values', u.attname, u.type::regtype),
           format('alter table %s alter %I type %s;', target, u.attname, format_type(u.typbasetype, u.typtypmod))
    from used u where u.typtype = 'd'
    union all
    select format('column %I is an identity column', u.attname), format('alter table %s alter %I drop identity;', target, u.attname)
    from used u where u.attidentity <> ''
    union all
    select format('column %I is generated', u.attname), null
    from used u where u.attgenerated <> ''
    union all
    select format('column %I has collation %I, under which different texts are equal, and can''t be searched by token', u.attname, u.collname),
           format('alter table %s alter %I type text collate "default";', target, u.attname)
    from used u where not u.collisdeterministic and u.attname = any (search)
    union all
    select format('generated column %I of %s is computed from a column to encrypt', g.attname, g.attrelid::regclass),
           format('alter table %s drop column %I;', g.attrelid::regclass, g.attname)
    from tree r
    join pg_attrdef f on f.adrelid = r.relation
    join pg_attribute g on g.attrelid = f.adrelid and g.attnum = f.adnum and g.attgenerated <> ''
    where not g.attname = any (columns) and encrypt._expression_uses(f.adbin, r.numbers)
    union all
    select format('%s is partitioned by a column to encrypt', r.relation), null
    from tree r join pg_partitioned_table p on p.partrelid = r.relation
    where p.partattrs::int2[] && r.numbers
       or encrypt._expression_uses(p.partexprs, r.numbers)
    union all
    select format('statistics %s.%I of %s use a column to encrypt', s.stxnamespace::regnamespace, s.stxname, r.relation),
           format('drop statistics %s.%I;', s.stxnamespace::regnamespace, s.stxname)
    from tree r join pg_statistic_ext s on s.stxrelid = r.relation
    where s.stxkeys::int2[] && r.numbers or encrypt._expression_uses(s.stxexprs, r.numbers)
    union all
    select format('publication %I publishes %s with a %s that concerns a column to encrypt', p.pubname, r.relation,
                  case when q.prattrs::int2[] && r.numbers then 'column list' else 'row filter' end),
           format('alter publication %I drop table %s;', p.pubname, r.relation)
    from tree r
    join pg_publication_rel q on q.prrelid = r.relation
    join pg_publication p on p.oid = q.prpubid
    where q.prattrs::int2[] && r.numbers
       or encrypt._expression_uses(q.prqual, r.numbers)
$$;
comment on function encrypt._column_refusals(regclass, name[], name[]) is 'why columns can''t be encrypted';

-- The type modifier as create_type takes it: what is in the parentheses.
create function encrypt._modifier_of(type oid, typmod integer) returns text
    language sql stable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select case when typmod >= 0 then substring(format_type(type, typmod) from '\(([^)]*)\)') end
$$;
comment on function encrypt._modifier_of(oid, integer) is 'type modifier of a column as text';

-- A type per column, so that columns have nothing in common that an observer could compare. Returns what stands against
-- it: create_type alone knows which bases it takes, and raises for each of the others.
create function encrypt._make_types(migration integer, target regclass, columns name[], key text, search name[], options jsonb)
    returns table (reason text, remedy text)
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    col record;
    cipher regtype;
    own boolean;
    help text;
begin
    for col in
        select a.attname, a.atttypid, a.atttypmod, c.relname, c.relnamespace, c.relowner,
               options -> 'types' ->> a.attname::text as given, a.attname = any (search) as searchable
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid
        join pg_type t on t.oid = a.atttypid
        where a.attrelid = target and a.attnum = any (encrypt._column_numbers(target, columns))
          -- Those for which there is a better reason.
          and a.attgenerated = '' and a.attidentity = '' and t.typtype <> 'd' and t.oid <> 'encrypt.ciphertext'::regtype
          and not exists (select from encrypt.types e where e.type_oid = t.oid)
        order by a.attnum
    loop
        own := col.given is null;
        begin
            if own then
                cipher := encrypt.create_type(
                    format('%s.%I', col.relnamespace::regnamespace,
                           encrypt._free_name(col.relname || '_' || col.attname, '_enc', col.relnamespace, 40)),
                    col.atttypid::regtype, key, col.searchable,
                    accept_leakage => coalesce((options ->> 'accept_leakage')::boolean, false),
                    modifier => encrypt._modifier_of(col.atttypid, col.atttypmod));
                -- The owner of the table can then drop both, and use the type whatever default privileges say.
                execute format('alter type %s owner to %s', cipher, col.relowner::regrole);
            else
                cipher := encrypt._given_type(col.given, col.atttypid, col.atttypmod, key, col.searchable);
            end if;
            insert into encrypt.migration_columns (migration_id, column_name, plain_type, cipher_type, searchable, own_type,
                                                   value_column)
            values (migration, col.attname, format_type(col.atttypid, col.atttypmod), cipher, col.searchable, own, col.attname);
        exception when feature_not_supported or invalid_parameter_value or undefined_object or wrong_object_type
                    or insufficient_privilege then
            get stacked diagnostics help = pg_exception_hint;
            reason := format('column %I: %s', col.attname, sqlerrm);
            remedy := case
                when col.atttypid = 'character'::regtype and own then
                    format('alter table %s alter %I type varchar(%s);', target, col.attname, col.atttypmod - 4)
                when help like '%accept_leakage%' then
                    format('select encrypt.start_migration(%L, ..., options => ''{"accept_leakage": true}'');', target)
                else nullif(help, '') end;
            return next;
        end;
    end loop;
end
$$;
comment on function encrypt._make_types(integer, regclass, name[], text, name[], jsonb) is
    'makes the encrypted types of a migration, and returns why one could not be made';

-- A type that is to be shared, so that columns of several tables can be compared.
create function encrypt._given_type(name text, type oid, typmod integer, key text, searchable boolean) returns regtype
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    given encrypt.types;
begin
    select t.* into given from encrypt.types t where t.type_oid = to_regtype(name);
    if given.type_oid is null then
        raise exception using errcode = 'undefined_object', message = format('"%s" is not an encrypted type', name);
    elsif given.key_name <> key then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('type %s is under key "%s", not "%s"', given.type_oid, given.key_name, key);
    elsif searchable and given.index_key_id is null then
        raise exception using errcode = 'invalid_parameter_value', message = format('type %s is not searchable', given.type_oid);
    elsif format_type(given.base, given.base_modifier) <> format_type(type, typmod) then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('type %s is over %s, not %s', given.type_oid, format_type(given.base, given.base_modifier),
                             format_type(type, typmod));
    end if;
    return given.type_oid;
end
$$;
comment on function encrypt._given_type(text, oid, integer, text, boolean) is 'checks that an existing encrypted type fits a column';

-- why: parts of start_migration
revoke all on function encrypt._check_columns(regclass, name[], name[], jsonb) from public;
revoke all on function encrypt._column_refusals(regclass, name[], name[]) from public;
revoke all on function encrypt._modifier_of(oid, integer) from public;
revoke all on function encrypt._make_types(integer, regclass, name[], text, name[], jsonb) from public;
revoke all on function encrypt._given_type(text, oid, integer, text, boolean) from public;
