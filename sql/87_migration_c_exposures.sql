-- Migration, planning: exposures other than an encrypted type. Each migrated column c becomes c_encrypted, of type
-- encrypt.ciphertext, and c_index, the blind index of a searched one: what an application makes with encrypt_column and
-- blind_index. They are registered, so that rotation and re-indexing find them.

create function encrypt._exposure(migration integer) returns text
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select coalesce(m.options ->> 'expose', 'type') from encrypt.migrations m where m.migration_id = migration
$$;
comment on function encrypt._exposure(integer) is 'what the application finds after cutover: type, columns or view';

-- The columns that start_migration adds, with the reason for which each exists.
create function encrypt._metadata_columns() returns name[]
    language sql immutable set search_path = pg_catalog, pg_temp
return array['encryption_key_id', 'encryption_algorithm', 'encrypted_at', 'migration_status']::name[];
comment on function encrypt._metadata_columns() is 'columns of the option metadata';

-- What stands against columns of their own, and against the view; like _column_refusals.
create function encrypt._exposure_refusals(target regclass, columns name[], search name[], options jsonb)
    returns table (reason text, remedy text)
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
begin
    return query
    with exposure as (
        select coalesce(options ->> 'expose', 'type') as name
    ), wanted as (
        select c.name as source, encrypt._suffixed(c.name, '_encrypted') as name, false as is_index
        from unnest(columns) as c (name)
        union all
        select c.name, encrypt._suffixed(c.name, '_index'), true from unnest(search) as c (name)
    ), added as (
        select w.name from wanted w, exposure e where e.name <> 'type'
        union all
        select m from unnest(encrypt._metadata_columns()) as m where (options ->> 'metadata')::boolean
    ), tree as (
        select t.relation, encrypt._column_numbers(t.relation, columns) as numbers
        from encrypt._tree(target) t, exposure e where e.name <> 'type'
    )
    select format('column %I exists already', a.attname), format('alter table %s rename %I to ...;', target, a.attname)
    from pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attname in (select d.name from added d)
    union all
    select format('two columns would be called %I', d.name), null from added d group by d.name having count(*) > 1
    union all
    select format('column %I has type %s, whose values could not be read back', a.attname, format_type(a.atttypid, a.atttypmod)),
           case a.atttypid when 'character'::regtype then
               format('alter table %s alter %I type varchar(%s);', target, a.attname, a.atttypmod - 4) end
    from exposure e, pg_attribute a join pg_type t on t.oid = a.atttypid
    where e.name <> 'type' and a.attrelid = target and a.attname = any (columns)
      -- A type with a length that casts cut off: what is compared has none.
      and (a.atttypid in ('money'::regtype, 'character'::regtype) or t.typtype not in ('b', 'e', 'r', 'm', 'd'))
    union all
    -- A token is made of a value's text, which for other types depends on settings, or is not the same for equal values.
    select format('column %I has type %s, for which there is no blind index', a.attname, format_type(a.atttypid, a.atttypmod)),
           'Leave the column out of search.'
    from exposure e, pg_attribute a
    where e.name <> 'type' and a.attrelid = target and a.attname = any (search)
      and a.atttypid not in ('text'::regtype, 'varchar'::regtype, 'uuid'::regtype, 'smallint'::regtype, 'integer'::regtype,
                             'bigint'::regtype)
    union all
    -- The value would have a default and its token another, or a token would be there for a value that is not the default.
    select format('searched column %I has a default, of which value and token can''t be made apart', a.attname),
           format('alter table %s alter %I drop default;', target, a.attname)
    from exposure e, pg_attribute a
    where e.name = 'columns' and a.attrelid = target and a.attname = any (search) and a.atthasdef and a.attgenerated = ''
    union all
    select format('unique index %s tells values apart that normalizer "%s" makes equal', i.indexrelid::regclass,
                  options -> 'normalizers' ->> a.attname::text), null
    from tree r
    join pg_index i on i.indrelid = r.relation and i.indisunique
    join pg_attribute a on a.attrelid = r.relation and a.attnum = any (i.indkey::int2[])
    where a.attname = any (search) and options -> 'normalizers' ->> a.attname::text <> 'exact'
    union all
    select format('trigger %I of %s is for updates of a column to encrypt', g.tgname, r.relation),
           format('drop trigger %I on %s;', g.tgname, r.relation)
    from tree r join pg_trigger g on g.tgrelid = r.relation and not g.tgisinternal and g.tgattr::int2[] && r.numbers
    union all
    select distinct format('view %s reads a column to encrypt', w.ev_class::regclass), format('drop view %s;', w.ev_class::regclass)
    from exposure e, tree r
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = r.relation and d.refobjsubid = any (r.numbers)
                    and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite w on w.oid = d.objid and w.rulename = '_RETURN'
    where e.name = 'columns'
    union all
    select format('%s has the name that the decrypting view needs', x.oid::regclass), null
    from exposure e, pg_class c
    join pg_class x on x.relnamespace = c.relnamespace and x.relname = encrypt._suffixed(c.relname, '_decrypted')
    where e.name = 'columns' and c.oid = target
    union all
    -- A view reads its table's columns with the rights of whoever asks it, and so all of them.
    select distinct format('role %s may read some columns of %s only, and the view reads all', encrypt._grantee(x.grantee), target),
           format('revoke select (%I) on %s from %s;', a.attname, target, encrypt._grantee(x.grantee))
    from exposure e, pg_attribute a
    cross join aclexplode(a.attacl) x
    where e.name = 'view' and a.attrelid = target and a.attnum > 0 and not a.attisdropped and x.privilege_type = 'SELECT'
      and not case x.grantee when 0 then false else has_table_privilege(x.grantee, target, 'select') end
    union all
    -- The default is the view's then, and what is left out is written like the rest.
    select distinct format('role %s may insert some columns of %s only, and %I has a default', encrypt._grantee(x.grantee), target,
                           d.attname),
           format('grant insert (%I) on %s to %s;', d.attname, target, encrypt._grantee(x.grantee))
    from exposure e, pg_attribute a
    cross join aclexplode(a.attacl) x
    join pg_attribute d on d.attrelid = target and d.attname = any (columns) and d.atthasdef and d.attgenerated = ''
    where e.name = 'view' and a.attrelid = target and a.attnum > 0 and not a.attisdropped and x.privilege_type = 'INSERT'
      and not case x.grantee when 0 then false else has_column_privilege(x.grantee, target, d.attnum, 'insert') end;
end
$$;
comment on function encrypt._exposure_refusals(regclass, name[], name[], jsonb) is
    'why columns can''t be exposed as wanted, or metadata can''t be added';

create function encrypt._plan_value_columns(migration integer, target regclass, columns name[], search name[], options jsonb)
    returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    insert into encrypt.migration_columns (migration_id, column_name, plain_type, cipher_type, searchable, own_type, value_column,
                                           index_column, context, normalizer)
    select migration, a.attname, format_type(a.atttypid, a.atttypmod), 'encrypt.ciphertext'::regtype, a.attname = any (search), false,
           encrypt._suffixed(a.attname, '_encrypted'),
           case when a.attname = any (search) then encrypt._suffixed(a.attname, '_index') end,
           -- A constant from here on: renaming the table or the column changes nothing.
           coalesce(options -> 'contexts' ->> a.attname::text, format('%s.%s.%s', n.nspname, c.relname, a.attname)),
           coalesce(options -> 'normalizers' ->> a.attname::text, 'exact')
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    where a.attrelid = target and a.attname = any (columns) and a.attnum > 0 and not a.attisdropped;
end
$$;
comment on function encrypt._plan_value_columns(integer, regclass, name[], name[], jsonb) is
    'writes down which columns of values and tokens a migration makes';

-- Definitions of the columns that take the place of one: of its name and type, of value and token, or as it is.
create function encrypt._column_definitions(migration integer, relation regclass, "column" int2) returns text
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    a pg_attribute;
    m encrypt.migration_columns;
    exposure constant text := encrypt._exposure(migration);
    preset text;
begin
    select * into a from pg_attribute x where x.attrelid = relation and x.attnum = "column";
    select * into m from encrypt.migration_columns c where c.migration_id = migration and c.column_name = a.attname;
    if m.column_name is null or exposure = 'type' then
        return format('%I %s', a.attname, encrypt._column_definition(migration, relation, "column"));
    end if;
    -- The view has the defaults of its columns.
    if exposure = 'columns' and m.index_column is null then
        select encrypt._sealed_value(format('(%s)::%s', pg_get_expr(d.adbin, d.adrelid), m.plain_type), a.atttypid,
                                     (select k.key_name from encrypt.migrations k where k.migration_id = migration), m.context)
        into preset
        from pg_attrdef d where d.adrelid = relation and d.adnum = "column";
    end if;
    return concat_ws(', ',
        concat_ws(' ', quote_ident(m.value_column), 'encrypt.ciphertext',
                  (select format('constraint %I not null', n.conname) || case when n.connoinherit then ' no inherit' else '' end
                   from pg_constraint n where n.conrelid = relation and n.contype = 'n' and n.conkey = array["column"]),
                  case when a.attnotnull and current_setting('server_version_num')::integer < 180000 then 'not null' end,
                  'default ' || preset),
        quote_ident(m.index_column) || ' bytea' || case when a.attnotnull then ' not null' else '' end);
end
$$;
comment on function encrypt._column_definitions(integer, regclass, int2) is
    'definitions of the columns of the encrypted table that take a column''s place';

-- How an application would write it. varchar is the text that it holds; other types keep their own form.
create function encrypt._sealed_value(plain text, type oid, key text, context text) returns text
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return format('encrypt.encrypt_column((%s)%s, %L, %L)', plain, case type when 'varchar'::regtype then '::text' end, key, context);
end
$$;
comment on function encrypt._sealed_value(text, oid, text, text) is 'expression that encrypts a value for an exposed column';

-- To the type without its length: a cast with one would cut off in silence what is too long, as assignment does not.
create function encrypt._opened_value(cipher text, type oid, context text) returns text
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return format('encrypt.decrypt_as(%s, null::%s, %L)', cipher, format_type(type, -1), context);
end
$$;
comment on function encrypt._opened_value(text, oid, text) is 'expression that decrypts a value of an exposed column';

-- For whom key is: encrypt.columns finds the values by it.
create function encrypt._register_columns(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    c record;
begin
    for c in
        select m.shadow, m.key_name, x.* from encrypt.migrations m join encrypt.migration_columns x using (migration_id)
        where m.migration_id = migration and encrypt._exposure(migration) <> 'type'
    loop
        perform encrypt.register_column(c.shadow, c.value_column, c.index_column, c.key_name, c.context, c.normalizer);
    end loop;
end
$$;
comment on function encrypt._register_columns(integer) is 'registers the columns of values and tokens of an encrypted table';

-- Each attribute of a migration's tables, and what it is called on the plaintext table. Of an encrypted table: part says
-- what it is instead, a value, a token, or metadata, which has no counterpart.
create function encrypt._counterparts(migration integer, among regclass[] default null, out relation oid, out number int2,
                                      out name name, out counterpart name, out part text)
    returns setof record
    language plpgsql stable rows 10 security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select a.attrelid, a.attnum, a.attname,
           case when m.column_name is not null then m.column_name when not d.is_added then a.attname end,
           case when a.attname = m.index_column and t.is_encrypted then 'token'
                when m.column_name is not null then 'value'
                when d.is_added then 'metadata' end
    from (select r.plain as relation, false as is_encrypted from encrypt.migration_relations r where r.migration_id = migration
          union all
          select r.encrypted, true from encrypt.migration_relations r where r.migration_id = migration) as t
    join pg_attribute a on (among is null or t.relation = any (among)) and a.attrelid = t.relation and a.attnum > 0 and not a.attisdropped
    left join encrypt.migration_columns m on m.migration_id = migration
         and case when t.is_encrypted then a.attname in (m.value_column, m.index_column) else a.attname = m.column_name end
    cross join lateral (
        select t.is_encrypted and a.attname = any (encrypt._metadata_columns())
               and exists (select from encrypt.migrations g where g.migration_id = migration
                           and (g.options ->> 'metadata')::boolean)) as d (is_added);
end
$$;
comment on function encrypt._counterparts(integer, regclass[]) is
    'columns of a migration''s tables, or some of them, with their names on the plaintext tables';

-- Limits that are no reason to refuse, and that nobody should learn of at cutover.
create function encrypt._announce_exposure(target regclass, options jsonb) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    exposure constant text := coalesce(options ->> 'expose', 'type');
begin
    if (options ->> 'metadata')::boolean and exposure <> 'view' then
        raise notice 'after cutover, select * from % has four more columns: %', target,
            array_to_string(encrypt._metadata_columns(), ', ');
    end if;
    if exposure <> 'type' and exists (select from encrypt._tree(target) r join pg_trigger g on g.tgrelid = r.relation
                                      and not g.tgisinternal) then
        raise notice 'trigger functions of % will see columns of values and tokens in the place of those that are encrypted', target;
    end if;
    if exposure = 'view' then
        raise notice 'after cutover % is a view', target using detail = array_to_string(array[
            'These do not work on it: on conflict, truncate, copy to, foreign keys that refer to it, overriding system value, '
            'and merge before PostgreSQL 17.',
            'Equality with an encrypted column reads and decrypts every row: search in the table below it, by the tokens.',
            'Update and delete decrypt the row, so they take the decrypt privilege; two that meet in one row end with a '
            'serialization failure (40001) instead of waiting.',
            'Who inserts with row-level security must be allowed to see the row.',
            'What a session with session_replication_role = replica writes to it is lost: PostgreSQL fires no trigger for it.'], E'\n'),
            hint = 'Give the option {"expose": "type"}, which has none of these limits.';
    end if;
end
$$;
comment on function encrypt._announce_exposure(regclass, jsonb) is 'notices about what an exposure can''t do';

-- why: parts of start_migration and of the steps after it
revoke all on function
    encrypt._exposure(integer),
    encrypt._metadata_columns(),
    encrypt._exposure_refusals(regclass, name[], name[], jsonb),
    encrypt._plan_value_columns(integer, regclass, name[], name[], jsonb),
    encrypt._column_definitions(integer, regclass, int2),
    encrypt._sealed_value(text, oid, text, text),
    encrypt._opened_value(text, oid, text),
    encrypt._register_columns(integer),
    encrypt._counterparts(integer, regclass[]),
    encrypt._announce_exposure(regclass, jsonb)
from public;
