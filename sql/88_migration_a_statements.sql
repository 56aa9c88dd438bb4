-- Dual write: the statements that keep the shadow of a migrating table in step, and the triggers that run them.
--
-- What the triggers do with the statements, and why that is right, is told in src/migrate/sync.rs. Here they are written,
-- from the catalogs, for both directions: until cutover the live table is the plaintext one, afterwards the encrypted one.

create function encrypt.encrypt_and_sync_row() returns trigger
    language c as 'MODULE_PATHNAME', 'encrypt_and_sync_row';
comment on function encrypt.encrypt_and_sync_row() is 'writes new and changed rows of a migrating table to its shadow';

create function encrypt.delete_encrypted_row() returns trigger
    language c as 'MODULE_PATHNAME', 'delete_encrypted_row';
comment on function encrypt.delete_encrypted_row() is 'deletes what a migrating table no longer has from its shadow';
-- Anyone may execute them: on a table that does not migrate they refuse, and a dump is restored by the table's owner.

-- Pieces of statements. The aliases: t a row of the live table, s of its shadow, n a key that was touched.

-- How PostgreSQL compares a column in an index: the operator of the index's own class, wherever its schema is. The `=` of
-- the search path may be another (of text, for a citext column).
create function encrypt._index_equality(index oid, ordinal integer) returns text
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select format('operator(%I.%s)', n.nspname, o.oprname)
    from pg_index i
    join pg_class x on x.oid = i.indexrelid
    join pg_am m on m.oid = x.relam
    join pg_opclass c on c.oid = (i.indclass::oid[])[ordinal - 1]
    join pg_amop a on a.amopfamily = c.opcfamily and a.amoplefttype = c.opcintype and a.amoprighttype = c.opcintype
        and a.amopstrategy = case m.amname when 'btree' then 3 else 1 end
    join pg_operator o on o.oid = a.amopopr
    join pg_namespace n on n.oid = o.oprnamespace
    where i.indexrelid = index;
end;
comment on function encrypt._index_equality(oid, integer) is 'operator by which an index finds a column''s equals';

-- Columns of a unique index, as an array of names; null if it has expressions.
create function encrypt._index_columns(index oid) returns name[]
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select case when i.indexprs is null then array(
        select a.attname
        from generate_series(1, i.indnkeyatts::integer) as k (n)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = (i.indkey::int2[])[k.n - 1]
        order by k.n) end
    from pg_index i where i.indexrelid = index;
end;
comment on function encrypt._index_columns(oid) is 'names of an index''s key columns; null if there are expressions';

-- The unique index of a table that has exactly the columns that identify a row.
create function encrypt._key_index(relation regclass, key name[]) returns oid
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select i.indexrelid
    from pg_index i
    where i.indrelid = relation and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null
        and encrypt._index_columns(i.indexrelid) @> key and encrypt._index_columns(i.indexrelid) <@ key
    order by i.indisprimary desc, i.indexrelid
    limit 1;
end;
comment on function encrypt._key_index(regclass, name[]) is 'unique index on the columns that identify a row';

-- `a.k1 = b.k1 and a.k2 = b.k2`.
create function encrypt._key_condition(relation regclass, key name[], a text, b text) returns text
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select string_agg(format('%s.%I %s %s.%I', a, c.name, encrypt._index_equality(i.oid, c.n::integer), b, c.name),
                      ' and ' order by c.n)
    from (select encrypt._key_index(relation, key) as oid) i
    cross join unnest(encrypt._index_columns(i.oid)) with ordinality as c (name, n);
end;
comment on function encrypt._key_condition(regclass, name[], text, text) is 'that two rows have the same key';

-- The columns of a migration's tables, with what they are on both sides.
create function encrypt._sync_columns(migration integer, live regclass, shadow regclass)
    returns table (name name, ordinal integer, is_key boolean, is_generated boolean, is_identity boolean,
                   is_encrypted boolean, plain_type text, cipher_type regtype, base regtype, has_token boolean)
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select a.attname, a.attnum::integer, a.attname = any (m.key_columns), a.attgenerated <> '' or b.attgenerated <> '',
           b.attidentity = 'a', c.column_name is not null, c.plain_type, c.cipher_type, t.base,
           coalesce(c.searchable, false)
    from encrypt.migrations m
    join pg_attribute a on a.attrelid = live and a.attnum > 0 and not a.attisdropped
    join pg_attribute b on b.attrelid = shadow and b.attname = a.attname and b.attnum > 0 and not b.attisdropped
    left join encrypt.migration_columns c on c.migration_id = m.migration_id and c.column_name = a.attname
    left join encrypt.types t on t.type_oid = c.cipher_type
    where m.migration_id = migration
    order by a.attnum;
end;
comment on function encrypt._sync_columns(integer, regclass, regclass) is 'columns that both tables have';

-- A value on its way into the shadow.
create function encrypt._sync_value(forward boolean, alias text, name name, plain_type text, cipher_type regtype, base regtype)
    returns text
    language sql stable set search_path = pg_catalog, pg_temp
return case when cipher_type is null then format('%s.%I', alias, name)
            else format('(%s.%I)::%s::%s', alias, name, base, case when forward then cipher_type::text else plain_type end)
       end;
comment on function encrypt._sync_value(boolean, text, name, text, regtype, regtype) is
    'expression that moves a column to the other side';

-- `e.email operator(schema.=) p.email::text`, which makes the token of the plain value anew.
create function encrypt._token_comparison(cipher text, plain text, cipher_type regtype, base regtype) returns text
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    -- Of the plain types that it is compared with: the base itself, or text for the types with a length.
    select format('%s operator(%I.%s) %s::%s', cipher, n.nspname, o.oprname, plain, o.oprright::regtype)
    from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
    where o.oprname = '=' and o.oprleft = cipher_type and o.oprright in (base, 'text'::regtype)
    order by o.oprright = base desc
    limit 1;
end;
comment on function encrypt._token_comparison(text, text, regtype, regtype) is
    'that an encrypted value has the token of a plain one';

-- All that is run for one table: `source` gives the keys that were touched, `distinct_source` each of them once, those
-- that rows had before included.
create function encrypt._sync_texts(
    migration integer, live regclass, shadow regclass, source text, distinct_source text,
    out inserting text, out updating text, out deleting text, out burying text, out replacing text[]
)
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    forward boolean;
    key text;
    columns text;
    "values" text;
    changes text;
    overwrites text;
    stale text;
    unique_index record;
    tombstones text;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    forward := exists (select from encrypt.migration_relations r where r.migration_id = migration and r.plain = live);
    select string_agg(quote_ident(c.name), ', ' order by c.n) into key
    from unnest(m.key_columns) with ordinality as c (name, n);
    select string_agg(quote_ident(c.name), ', ' order by c.ordinal),
           string_agg(encrypt._sync_value(forward, 't', c.name, c.plain_type, c.cipher_type, c.base), ', ' order by c.ordinal),
           string_agg(format('%I = %s', c.name,
                        case when c.is_encrypted and forward then format(
                            'case when row((s.%1$I)::%2$s::%3$s)::record operator(pg_catalog.*=) row(t.%1$I)::record then s.%1$I else %4$s end',
                            c.name, c.base, c.plain_type,
                            encrypt._sync_value(forward, 't', c.name, c.plain_type, c.cipher_type, c.base))
                        else encrypt._sync_value(forward, 't', c.name, c.plain_type, c.cipher_type, c.base) end),
                      ', ' order by c.ordinal) filter (where not c.is_key and not c.is_identity),
           string_agg(format('%1$I = excluded.%1$I', c.name), ', ' order by c.ordinal)
               filter (where not c.is_key and not c.is_identity)
    into columns, "values", changes, overwrites
    from encrypt._sync_columns(migration, live, shadow) c
    where not c.is_generated;

    inserting := format('insert into %s (%s) overriding system value select %s from %s t join %s n on %s on conflict do nothing',
                        shadow, columns, "values", live, source, encrypt._key_condition(m.live, m.key_columns, 't', 'n'));
    updating := format('update %s s set %s from %s t join %s n on %s where %s', shadow, changes, live, source,
                       encrypt._key_condition(m.live, m.key_columns, 't', 'n'),
                       encrypt._key_condition(m.live, m.key_columns, 's', 't'));
    deleting := format('delete from %s s using %s n where %s and not exists (select from %s t where %s)', shadow, source,
                       encrypt._key_condition(m.live, m.key_columns, 's', 'n'), live,
                       encrypt._key_condition(m.live, m.key_columns, 't', 'n'));
    if m.phase in ('dual_writing', 'backfilling') and m.tombstones is not null then
        tombstones := m.tombstones;
        burying := format('insert into %s select n.%s from %s n', tombstones, replace(key, ', ', ', n.'), source);
    end if;

    replacing := array[format('delete from %s s using %s n where %s', shadow, distinct_source,
                              encrypt._key_condition(m.live, m.key_columns, 's', 'n'))];
    -- Makes room. What is unique in the table can still be in the shadow with the row that had it before, when that row's own
    -- trigger is yet to fire: a MERGE inserts first and deletes last. Such a row is out of date, by the table's own word,
    -- and the trigger to come brings it back if it should exist.
    for unique_index in
        select encrypt._index_columns(i.indexrelid) as columns, i.indexrelid
        from pg_index i
        where i.indrelid = shadow and i.indisunique and i.indislive and i.indexprs is null
            and i.indexrelid is distinct from encrypt._key_index(shadow, m.key_columns)
        order by i.indexrelid
    loop
        select string_agg(
                   case when not c.is_encrypted then
                            format('s.%1$I %2$s t.%1$I', c.name, encrypt._index_equality(unique_index.indexrelid, u.n::integer))
                        when forward then
                            encrypt._token_comparison(format('s.%I', c.name), format('t.%I', c.name), c.cipher_type, c.base)
                        else
                            encrypt._token_comparison(format('t.%I', c.name), format('s.%I', c.name), c.cipher_type, c.base)
                   end, ' and ' order by u.n)
        into stale
        from unnest(unique_index.columns) with ordinality as u (name, n)
        join encrypt._sync_columns(migration, live, shadow) c on c.name = u.name;
        replacing := replacing || format(
            'delete from %1$s s using %2$s t join %3$s n on %4$s where %5$s and not (%6$s)'
            ' and not exists (select from %2$s t where %6$s and %5$s)',
            shadow, live, distinct_source, encrypt._key_condition(m.live, m.key_columns, 't', 'n'), stale,
            encrypt._key_condition(m.live, m.key_columns, 's', 't'));
    end loop;
    replacing := replacing || format(
        'insert into %s as s (%s) overriding system value select %s from %s t join %s n on %s on conflict (%s) do update set %s',
        shadow, columns, "values", live, distinct_source, encrypt._key_condition(m.live, m.key_columns, 't', 'n'), key,
        overwrites);
    if tombstones is not null then
        replacing := replacing || format(
            'insert into %s select n.%s from %s n where not exists (select from %s t where %s)', tombstones,
            replace(key, ', ', ', n.'), distinct_source, live, encrypt._key_condition(m.live, m.key_columns, 't', 'n'));
    end if;
end
$$;
comment on function encrypt._sync_texts(integer, regclass, regclass, text, text) is
    'statements that bring the shadow up to date with some keys of the table';

-- Columns that have to stay as they are for an update to collide with nothing: the key and whatever else is unique. All,
-- where that can't be read off an index.
create function encrypt._identity_columns(live regclass, key name[]) returns text[]
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select array(
        select a.attname::text from pg_attribute a
        where a.attrelid = live and a.attnum > 0 and not a.attisdropped
            and (a.attname = any (key) or exists (
                select from pg_index i
                where i.indrelid = live and (i.indisunique or i.indisexclusion)
                    and (i.indexprs is not null or i.indpred is not null or a.attname = any (encrypt._index_columns(i.indexrelid)))))
        order by a.attnum);
end;
comment on function encrypt._identity_columns(regclass, name[]) is 'columns of a table''s key and of all that is unique in it';

create function encrypt._sync_statements(migration integer) returns setof encrypt.sync_statements
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    pair record;
    case_of record;
    texts record;
    key text;
    row_source text;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    select string_agg(quote_ident(c.name), ', ' order by c.n),
           '(select ' || string_agg(format('$%s as %I', c.n, c.name), ', ' order by c.n) || ')'
    into key, row_source
    from unnest(m.key_columns) with ordinality as c (name, n);
    for pair in
        select case when forward then r.plain else r.encrypted end as live,
               case when forward then r.encrypted else r.plain end as shadow
        from encrypt.migration_relations r
        cross join lateral (select exists (
            select from encrypt.migration_relations o where o.migration_id = migration and o.plain = m.live)) f (forward)
        where r.migration_id = migration
    loop
        for case_of in
            select * from (values
                ('insert', 'statement', 'encrypt_new', format('(select distinct %s from encrypt_new)', key)),
                ('update', 'statement', 'encrypt_new',
                    format('(select %1$s from encrypt_old union select %1$s from encrypt_new)', key)),
                ('delete', 'statement', 'encrypt_old', format('(select distinct %s from encrypt_old)', key)),
                ('insert', 'row', row_source, row_source),
                ('update', 'row', row_source, row_source),
                ('delete', 'row', row_source, row_source)) c (event, level, source, distinct_source)
        loop
            texts := encrypt._sync_texts(migration, pair.live, pair.shadow, case_of.source, case_of.distinct_source);
            return next row(pair.live, case_of.event, case_of.level, migration, m.key_name, m.key_columns::text[],
                encrypt._identity_columns(pair.live, m.key_columns),
                case case_of.event when 'insert' then array[texts.inserting]
                                   when 'update' then array[texts.updating]
                                   else array_remove(array[texts.deleting, texts.burying], null) end,
                case case_of.event when 'delete' then '{}' else texts.replacing end);
        end loop;
        return next row(pair.live, 'truncate'::text, 'statement'::text, migration, m.key_name, m.key_columns::text[],
            encrypt._identity_columns(pair.live, m.key_columns),
            array[format('select encrypt._empty_shadow(%L::pg_catalog.regclass)', pair.shadow)], '{}'::text[]);
    end loop;
end
$$;
comment on function encrypt._sync_statements(integer) is 'what the triggers of a migration''s live tables have to run';

-- A table that foreign keys refer to can't be truncated alone. The tables that refer to it were emptied by the statement
-- that emptied the live one, so deleting finds nothing in its way.
create function encrypt._empty_shadow(shadow regclass) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
    if exists (select from pg_constraint c where c.contype = 'f' and c.confrelid = shadow and c.conrelid <> shadow) then
        execute format('delete from %s', shadow);
    else
        execute format('truncate %s', shadow);
    end if;
end
$$;
comment on function encrypt._empty_shadow(regclass) is 'empties a table with the caller''s own rights';
-- Anyone may execute it, since it does nothing that the caller could not do.
