-- Exposures other than an encrypted type: the view that shows plaintext, which cutover makes and rollback drops.
--
-- | expose | after cutover T is | and |
-- |---|---|---|
-- | type | the encrypted table | |
-- | columns | the encrypted table | T_decrypted, a view |
-- | view | a view | T_encrypted, the encrypted table: it keeps its name |

-- Names can have been changed by now: what counts is what the application uses.
create function encrypt._remember_name(migration integer) returns void
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update encrypt.migrations m set table_name = c.relname from pg_class c
    where m.migration_id = migration and c.oid = coalesce(m.exposed, m.live) and encrypt._exposure(migration) = 'view';
end;
comment on function encrypt._remember_name(integer) is 'notes the name of a table that is to become a view, or of that view';

-- Where the view belongs, in a schema that may have been renamed; null without one.
create function encrypt._exposed_name(migration integer) returns name
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    return (
        select case encrypt._exposure(migration) when 'view' then c.relname
                                                 when 'columns' then encrypt._suffixed(c.relname, '_decrypted') end
        from encrypt.migrations m join pg_class c on c.oid = m.live where m.migration_id = migration);
end
$$;
comment on function encrypt._exposed_name(integer) is 'name of the view that cutover makes, while the plaintext table is live';

create function encrypt._check_exposed_name(migration integer) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    taken regclass;
begin
    select c.oid into taken
    from encrypt.migrations m
    join pg_class l on l.oid = m.live
    join pg_class c on c.relnamespace = l.relnamespace and c.relname = encrypt._exposed_name(migration)
    where m.migration_id = migration and encrypt._exposure(migration) = 'columns';
    if taken is not null then
        raise exception using errcode = 'duplicate_table',
            message = format('%s has the name that the decrypting view needs', taken),
            hint = format('Run: alter table %s rename to ...;', taken);
    end if;
end
$$;
comment on function encrypt._check_exposed_name(integer) is 'raises if the name of the view is taken';

-- The view, after the names were exchanged. Its columns, in their order, names and types, are the plaintext table's.
create function encrypt._expose(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    exposure constant text := encrypt._exposure(migration);
    plain pg_class;
    encrypted regclass;
    view_name name;
    made text;
    part record;
begin
    select * into m from encrypt.migrations g where g.migration_id = migration;
    select c.* into plain from encrypt.migration_relations r join pg_class c on c.oid = r.plain
    where r.migration_id = migration and r.plain in (m.live, m.shadow);
    select r.encrypted into encrypted from encrypt.migration_relations r where r.migration_id = migration and r.plain = plain.oid;
    if exposure = 'type' then
        return;
    elsif plain.oid = m.live then
        -- A rollback: the view was dropped with all other views over the table.
        update encrypt.migrations g set exposed = null where g.migration_id = migration;
        return;
    end if;
    view_name := case exposure when 'view' then m.table_name
                 else encrypt._suffixed((select c.relname from pg_class c where c.oid = encrypted), '_decrypted') end;
    made := format('%s.%I', plain.relnamespace::regnamespace, view_name);
    -- With the rights of whoever asks: their grants on the table, its policies and their grants for the key count.
    perform encrypt._execute_as_owner(encrypted, (
        select format('create view %s (%s) with (security_invoker = true) as select %s from %s b', made,
                      string_agg(quote_ident(a.attname), ', ' order by a.attnum),
                      string_agg(encrypt._exposed_value(migration, a.attname, a.atttypid, a.atttypmod), ', ' order by a.attnum),
                      encrypted)
        from pg_attribute a where a.attrelid = plain.oid and a.attnum > 0 and not a.attisdropped));
    update encrypt.migrations g set exposed = made::regclass where g.migration_id = migration;
    for part in
        select s.place, s.statement from encrypt._exposed_statements(migration, plain.oid, made) as s
        where s.statement is not null order by s.place
    loop
        -- What the owner wrote is parsed with the owner's rights. Privileges are given by a helper of ours.
        if part.place < 3 then
            perform encrypt._execute_as_owner(encrypted, part.statement);
        else
            execute part.statement;
        end if;
    end loop;
    if exposure = 'view' then
        perform encrypt._execute_as_owner(encrypted, format(
            'create trigger encrypt_write instead of insert or update or delete on %s for each row'
            ' execute function encrypt.write_encrypted_row()', made));
    end if;
end
$$;
comment on function encrypt._expose(integer) is 'makes the view that decrypts, or forgets it';

create function encrypt._exposed_value(migration integer, name name, type oid, modifier integer) returns text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migration_columns;
begin
    select * into m from encrypt.migration_columns c where c.migration_id = migration and c.column_name = name;
    if m.column_name is null then
        return format('b.%I', name);
    end if;
    return format('(%s)::%s', encrypt._opened_value(format('b.%I', m.value_column), type, m.context), m.plain_type);
end
$$;
comment on function encrypt._exposed_value(integer, name, oid, integer) is 'expression of a column of the decrypting view';

-- Privileges, comments and defaults of the view: the plaintext table's, which were taken over by the encrypted one just before.
create function encrypt._exposed_statements(migration integer, plain oid, made text, out place integer, out statement text)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
declare
    is_view constant boolean := encrypt._exposure(migration) = 'view';
begin
    return query
    -- Of an identity column the view knows no default: who inserts needs no right to the sequence of one, and would for nextval.
    select 1, format('alter view %s alter column %I set default %s', made, a.attname, pg_get_expr(d.adbin, d.adrelid))
    from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    where is_view and d.adrelid = plain and a.attgenerated = ''
    union all
    select 2, encrypt._comment_statement('view', made, 'pg_class', plain)
    union all
    select 2, encrypt._comment_statement('column', format('%s.%I', made, a.attname), 'pg_class', plain, a.attnum)
    from pg_attribute a where a.attrelid = plain and a.attnum > 0 and not a.attisdropped
    union all
    select 3, format('select encrypt._set_privileges(%L, %L, %L)', made,
                     array(select makeaclitem(x.grantee, x.grantor, x.privilege_type, x.is_grantable)
                           from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) as x
                           where is_view or x.grantee = c.relowner or x.privilege_type = 'SELECT'),
                     case when is_view then encrypt._column_privileges(plain) else '{}' end)
    from pg_class c where c.oid = plain;
end
$$;
comment on function encrypt._exposed_statements(integer, oid, text) is 'statements that complete the decrypting view';

-- On the way back: what was granted on and said of the view, as it was the application's table.
create function encrypt._exposed_settings(migration integer) returns setof text
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select s.statement
    from encrypt.migrations m
    join pg_class c on c.oid = m.exposed
    cross join lateral (
        values (format('select encrypt._set_privileges(%L, %L, %L)', m.shadow::text,
                       coalesce(c.relacl, acldefault('r', c.relowner)), encrypt._column_privileges(m.exposed))),
               (format('comment on table %s is %L', m.shadow, obj_description(m.exposed, 'pg_class')))) as s (statement)
    where m.migration_id = migration and encrypt._exposure(migration) = 'view';
end
$$;
comment on function encrypt._exposed_settings(integer) is 'statements that give the plaintext table what the view has';

-- why: parts of cutover and rollback
revoke all on function
    encrypt._remember_name(integer),
    encrypt._exposed_name(integer),
    encrypt._check_exposed_name(integer),
    encrypt._expose(integer),
    encrypt._exposed_value(integer, name, oid, integer),
    encrypt._exposed_statements(integer, oid, text),
    encrypt._exposed_settings(integer)
from public;
