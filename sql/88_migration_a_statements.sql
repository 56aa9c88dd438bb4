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
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return (
    select format('operator(%I.%s)', n.nspname, o.oprname)
    from pg_index i
    join pg_class x on x.oid = i.indexrelid
    join pg_am m on m.oid = x.relam
    join pg_opclass c on c.oid = (i.indclass::oid[])[ordinal - 1]
    join pg_amop a on a.amopfamily = c.opcfamily and a.amoplefttype = c.opcintype and a.amoprighttype = c.opcintype
        and a.amopstrategy = case m.amname when 'btree' then 3 else 1 end
    join pg_operator o on o.oid = a.amopopr
    join pg_namespace n on n.oid = o.oprnamespace
    where i.indexrelid = index);
end
$$;
comment on function encrypt._index_equality(oid, integer) is 'operator by which an index finds a column''s equals';

-- Columns of a unique index, as an array of names; null if it has expressions.
create function encrypt._index_columns(index oid) returns name[]
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return (
    select case when i.indexprs is null then array(
        select a.attname
        from generate_series(1, i.indnkeyatts::integer) as k (n)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = (i.indkey::int2[])[k.n - 1]
        order by k.n) end
    from pg_index i where i.indexrelid = index);
end
$$;
comment on function encrypt._index_columns(oid) is 'names of an index''s key columns; null if there are expressions';

-- The unique index of a table that has exactly the columns that identify a row.
create function encrypt._key_index(relation regclass, key name[]) returns oid
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return (
    select i.indexrelid
    from pg_index i
    where i.indrelid = relation and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null
        and encrypt._index_columns(i.indexrelid) @> key and encrypt._index_columns(i.indexrelid) <@ key
    order by i.indisprimary desc, i.indexrelid
    limit 1);
end
$$;
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
create type encrypt._sync_column as (
    name name,              -- in the shadow
    ordinal integer,        -- there
    source name,            -- what it is made of, in the live table
    number integer,         -- there
    is_key boolean,
    is_generated boolean,
    is_identity boolean,
    is_encrypted boolean,   -- holds an encrypted value on one side, a plain one on the other
    has_token boolean,      -- which an encrypted type searches by
    is_index boolean,       -- holds the token of source, beside its value
    plain_type text,
    cipher_type regtype,    -- null: the same on both sides
    base regtype,
    key_name text,
    context text,
    normalizer text
);
comment on type encrypt._sync_column is 'a column that is written to the other table';

-- The tokens beside values are made of the plaintext, so there is none on the way back; metadata has no counterpart at all.
create function encrypt._sync_columns(migration integer, live regclass, shadow regclass) returns setof encrypt._sync_column
    language plpgsql stable rows 10 set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select s.name, b.attnum::integer, a.attname, a.attnum::integer, a.attname = any (m.key_columns), a.attgenerated <> '' or b.attgenerated <> '',
           b.attidentity = 'a', c.column_name is not null and s.part is distinct from 'token',
           coalesce(c.searchable and c.index_column is null, false), s.part is not distinct from 'token', c.plain_type,
           c.cipher_type, coalesce(t.base, p.atttypid::regtype), m.key_name, c.context, c.normalizer
    from encrypt.migrations m
    join encrypt._counterparts(_sync_columns.migration, array[_sync_columns.shadow]) s on true
    join encrypt._counterparts(_sync_columns.migration, array[_sync_columns.live]) l
        on l.counterpart = s.counterpart and l.part is distinct from 'token'
    join pg_attribute a on a.attrelid = _sync_columns.live and a.attnum = l.number
    join pg_attribute b on b.attrelid = _sync_columns.shadow and b.attnum = s.number
    left join encrypt.migration_columns c on c.migration_id = m.migration_id and c.column_name = s.counterpart
    left join encrypt.types t on t.type_oid = c.cipher_type
    left join lateral (
        select x.atttypid from encrypt.migration_relations r join pg_attribute x on x.attrelid = r.plain
        where r.migration_id = m.migration_id and r.plain in (_sync_columns.live, _sync_columns.shadow) and x.attname = c.column_name) p on true
    where m.migration_id = _sync_columns.migration
    order by b.attnum;
end
$$;
comment on function encrypt._sync_columns(integer, regclass, regclass) is 'columns that both tables have';

-- What an encrypted value is, as the plaintext table's type.
create function encrypt._plain_value(alias text, name name, c encrypt._sync_column) returns text
    language sql stable set search_path = pg_catalog, pg_temp
return case when c.context is null then format('(%s.%I)::%s::%s', alias, name, c.base, c.plain_type)
            else encrypt._opened_value(format('%s.%I', alias, name), c.base, c.context) end;
comment on function encrypt._plain_value(text, name, encrypt._sync_column) is 'expression that decrypts a column';

create function encrypt._token_of_plain(maker text, plain text, c encrypt._sync_column) returns text
    language sql immutable set search_path = pg_catalog, pg_temp
return format('encrypt.%s((%s)::text, %L, %L, %L)', maker, plain, c.key_name, c.context, c.normalizer);
comment on function encrypt._token_of_plain(text, text, encrypt._sync_column) is
    'expression that makes the token, or all tokens, of a plain value';

-- A value on its way into the shadow.
create function encrypt._sync_value(forward boolean, alias text, c encrypt._sync_column) returns text
    language sql stable set search_path = pg_catalog, pg_temp
return case
    when c.cipher_type is null then format('%s.%I', alias, c.source)
    when c.is_index then encrypt._token_of_plain('blind_index', format('%s.%I', alias, c.source), c)
    when not forward then encrypt._plain_value(alias, c.source, c)
    when c.context is null then format('(%s.%I)::%s::%s', alias, c.source, c.base, c.cipher_type)
    else encrypt._sealed_value(format('%s.%I', alias, c.source), c.base, c.key_name, c.context)
    end;
comment on function encrypt._sync_value(boolean, text, encrypt._sync_column) is
    'expression that moves a column to the other side';

-- That a token beside a value is of a plain value, under any index key that is in use.
create function encrypt._index_comparison(token text, plain text, c encrypt._sync_column) returns text
    language sql immutable set search_path = pg_catalog, pg_temp
return format('%s operator(pg_catalog.=) any (%s)', token, encrypt._token_of_plain('blind_index_all', plain, c));
comment on function encrypt._index_comparison(text, text, encrypt._sync_column) is 'that a blind index is of a plain value';

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

-- Unique and exclusion constraints of a table and its partitions that are checked after the statement, or at the end of the
-- transaction.
create function encrypt._has_deferrable(relation regclass) returns boolean
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return exists (select from encrypt._tree(_has_deferrable.relation) t join pg_index i on i.indrelid = t.relation
                   where (i.indisunique or i.indisexclusion) and not i.indimmediate);
end
$$;
comment on function encrypt._has_deferrable(regclass) is 'whether a unique or exclusion constraint of a table is deferrable';

-- All that is run for one pair of tables under their names, for every case; `same_key` are the conditions that rows t and n, s and t,
-- s and n have one key. In a case, `source` gives the keys that were touched, `distinct_source` each of them once, those that rows
-- had before included, and `given` the rows as they are.
create function encrypt._sync_texts(m encrypt.migrations, live regclass, shadow regclass, live_name text, shadow_name text,
                                    same_key text[])
    returns table (event text, level text, statements text[], replacing text[], direct text[], bulk text[], guarded boolean,
                   tombstones regclass)
    language plpgsql stable rows 7 set search_path = pg_catalog, pg_temp as
$$
declare
    forward boolean := exists (select from encrypt.migration_relations r
                               where r.migration_id = m.migration_id and r.plain = _sync_texts.live);
    tn constant text := same_key[1];
    st constant text := same_key[2];
    sn constant text := same_key[3];
    key text;
    row_source text;
    row_given text;
    columns text;
    "values" text;
    changes text;
    stale text[];
    has_deferrable constant boolean := encrypt._has_deferrable(shadow);
    unless_there text;
    source text;
    distinct_source text;
    given text;
begin
    select string_agg(quote_ident(c.name), ', ' order by c.n),
           '(select ' || string_agg(format('$%s as %I', c.n, c.name), ', ' order by c.n) || ')'
    into key, row_source
    from unnest(m.key_columns) with ordinality as c (name, n);
    select string_agg(quote_ident(c.name), ', ' order by c.ordinal) filter (where not c.is_generated),
           string_agg(c.value, ', ' order by c.ordinal) filter (where not c.is_generated),
           string_agg(format('%I = %s', c.name,
                        case when c.is_encrypted and forward then format(
                            'case when row(%s)::record operator(pg_catalog.*=) row(t.%I)::record then s.%I else %s end',
                            c.opened, c.source, c.name, c.value)
                        else c.value end),
                      ', ' order by c.ordinal) filter (where not c.is_key and not c.is_identity and not c.is_generated),
           -- Numbered as the table's columns are, whichever of them are in use; a token is made of a column that is there already.
           '(select ' || string_agg(format('$%s as %I', c.number, c.source), ', ' order by c.number)
                             filter (where not c.is_index) || ')'
    into columns, "values", changes, row_given
    from (select x.*, encrypt._sync_value(forward, 't', x) as value, encrypt._plain_value('s', x.name, x) as opened
          from encrypt._sync_columns(m.migration_id, live, shadow) x offset 0) c;
    stale := encrypt._stale_conditions(m, live, shadow, forward);
    if m.phase in ('dual_writing', 'backfilling') then
        tombstones := m.tombstones;
    end if;
    -- Naming an index as the arbiter makes every other one raise an error on what collides, such as what a batch of the backfill
    -- has not committed yet. Not naming one is an error where a constraint is deferrable. So there the key is named, and what
    -- collides otherwise is caught and replaced.
    unless_there := case when has_deferrable then format(' on conflict (%s) do nothing', key) else ' on conflict do nothing' end;
    guarded := (tombstones is not null or has_deferrable) and cardinality(stale) > 0;

    for event, level, source, distinct_source, given in
        select * from (values
            ('insert', 'statement', 'encrypt_new', format('(select distinct %s from encrypt_new)', key), 'encrypt_new'),
            ('update', 'statement', 'encrypt_new',
                format('(select %1$s from encrypt_old union select %1$s from encrypt_new)', key), 'encrypt_new'),
            ('delete', 'statement', 'encrypt_old', format('(select distinct %s from encrypt_old)', key), 'encrypt_old'),
            ('insert', 'row', row_source, row_source, row_given),
            ('update', 'row', row_source, row_source, row_given),
            ('delete', 'row', row_source, row_source, row_given)) c
    loop
        statements := case event
            when 'insert' then array[
                format('insert into %s (%s) overriding system value select %s from %s t join %s n on %s%s',
                       shadow_name, columns, "values", live_name, source, tn, unless_there)]
            when 'update' then array[
                format('update %s s set %s from %s t join %s n on %s where %s', shadow_name, changes, live_name, source, tn, st)]
            else array[
                format('delete from %s s using %s n where %s and not exists (select from %s t where %s)', shadow_name, source, sn,
                       live_name, tn)]
            end;
        -- The same with the rows that the trigger was given in the place of the table's.
        direct := case event
            when 'insert' then array[
                format('insert into %s (%s) overriding system value select %s from %s t', shadow_name, columns, "values", given)]
            when 'update' then array[format('update %s s set %s from %s t where %s', shadow_name, changes, given, st)]
            else array[format('delete from %s s using %s n where %s', shadow_name, given, sn)]
            end;
        replacing := '{}';
        if event = 'delete' then
            if tombstones is not null then
                statements := statements || format('insert into %s select n.%s from %s n', tombstones,
                                                   replace(key, ', ', ', n.'), source);
                direct := direct || format('insert into %s select n.%s from %s n', tombstones,
                                           replace(key, ', ', ', n.'), given);
            end if;
        else
            replacing := array[format('delete from %s s using %s n where %s', shadow_name, distinct_source, sn)]
                -- Makes room. What is unique in the table can still be in the shadow with the row that had it before, when
                -- that row's own trigger is yet to fire: a MERGE inserts first and deletes last. Such a row is out of date,
                -- by the table's own word, and the trigger to come brings it back if it should exist.
                || array(select format(
                       'delete from %1$s s using %2$s t join %3$s n on %4$s where %5$s and not (%6$s)'
                       ' and not exists (select from %2$s t where %6$s and %5$s)',
                       shadow_name, live_name, distinct_source, tn, u.condition, st)
                       from unnest(stale) with ordinality as u (condition, n) order by u.n);
            if tombstones is not null then
                replacing := replacing || format(
                    'insert into %s select n.%s from %s n where not exists (select from %s t where %s)', tombstones,
                    replace(key, ', ', ', n.'), distinct_source, live_name, tn);
            end if;
            -- The last one, which returns a row for each that it could not add.
            replacing := replacing || format(
                'with given (%1$s) as materialized (select %2$s from %3$s t join %4$s n on %5$s),'
                ' added as (insert into %6$s (%1$s) overriding system value select * from given%7$s returning 1)'
                ' select from given offset (select pg_catalog.count(*) from added)',
                columns, "values", live_name, distinct_source, tn, shadow_name, unless_there);
        end if;
        bulk := case level when 'statement' then direct else '{}' end;
        if event = 'insert' then
            direct := array[direct[1] || unless_there];
        end if;
        return next;
    end loop;
    event := 'truncate';
    level := 'statement';
    -- The first one, in which writers with one snapshot see the newest state, is for a shadow that can't be truncated.
    statements := array[
        format('delete from %1$s where exists (select from pg_catalog.pg_constraint c'
               ' where c.confrelid operator(pg_catalog.=) %2$L::pg_catalog.regclass and c.conrelid operator(pg_catalog.<>) c.confrelid)',
               shadow_name, shadow_name),
        format('select encrypt._truncate_shadow(%L::pg_catalog.regclass)', shadow_name)];
    replacing := '{}';
    direct := '{}';
    bulk := '{}';
    return next;
end
$$;
comment on function encrypt._sync_texts(encrypt.migrations, regclass, regclass, text, text, text[]) is
    'statements that bring a shadow up to date with some keys of its table';

-- For every unique index of the shadow but the key's: that a row s of it has there what a row t of the table has. Not of
-- deferrable constraints, which are not checked in the shadow.
create function encrypt._stale_conditions(m encrypt.migrations, live regclass, shadow regclass, forward boolean) returns text[]
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return (
    with indexes as materialized (
        select i.indexrelid, encrypt._index_columns(i.indexrelid) as columns
        from pg_index i
        where i.indrelid = shadow and i.indisunique and i.indimmediate and i.indislive and i.indexprs is null
            and i.indexrelid is distinct from encrypt._key_index(shadow, m.key_columns)
    )
    select coalesce(array_agg(x.condition order by x.indexrelid), '{}')
    from (
        select i.indexrelid,
               string_agg(
                   case when c.is_index then
                            encrypt._index_comparison(format('s.%I', c.name), format('t.%I', c.source), c)
                        when not c.is_encrypted then
                            format('s.%I %s t.%I', c.name, encrypt._index_equality(i.indexrelid, u.n::integer), c.source)
                        when c.context is not null then
                            format('s.%I %s %s', c.name, encrypt._index_equality(i.indexrelid, u.n::integer),
                                   encrypt._plain_value('t', c.source, c))
                        when forward then
                            encrypt._token_comparison(format('s.%I', c.name), format('t.%I', c.name), c.cipher_type, c.base)
                        else
                            encrypt._token_comparison(format('t.%I', c.name), format('s.%I', c.name), c.cipher_type, c.base)
                   end, ' and ' order by u.n) as condition
        from indexes i
        cross join unnest(i.columns) with ordinality as u (name, n)
        join encrypt._sync_columns(m.migration_id, live, shadow) c on c.name = u.name
        group by i.indexrelid
    ) x);
end
$$;
comment on function encrypt._stale_conditions(encrypt.migrations, regclass, regclass, boolean) is
    'that rows of a table and of its shadow collide, for each unique index';

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

-- A table, index or sequence, with what it will be called, without its schema and with it.
create type encrypt._relation_name as (kind text, relation regclass, name name, qualified text);
comment on type encrypt._relation_name is 'a name that a relation will have';

-- With names: those of the other direction, which will be run once the tables have these names.
create function encrypt._sync_statements(migration integer, names encrypt._relation_name[] default null) returns setof encrypt.sync_statements
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    same_key text[];
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    if names is not null then
        select r.shadow, r.live into m.live, m.shadow from encrypt.migrations r where r.migration_id = migration;
    end if;
    same_key := array[encrypt._key_condition(m.live, m.key_columns, 't', 'n'),
                      encrypt._key_condition(m.live, m.key_columns, 's', 't'),
                      encrypt._key_condition(m.live, m.key_columns, 's', 'n')];
    return query
    select p.live, t.event, t.level, migration, m.key_name, m.key_columns::text[], p.identity_columns, t.statements, t.replacing,
           t.direct, t.bulk, t.guarded, p.shadow, t.tombstones
    from (select d.live, d.shadow, d.live_name, d.shadow_name, encrypt._identity_columns(d.live, m.key_columns) as identity_columns
          from (select x.live, x.shadow, x.live::text, x.shadow::text from encrypt._present_pairs(migration) x where names is null
                union all
                select x.shadow, x.live, s.qualified, l.qualified
                from encrypt._present_pairs(migration) x
                join unnest(names) s on s.relation = x.shadow
                join unnest(names) l on l.relation = x.live) as d (live, shadow, live_name, shadow_name) offset 0) p
    cross join lateral encrypt._sync_texts(m, p.live, p.shadow, p.live_name, p.shadow_name, same_key) t;
end
$$;
comment on function encrypt._sync_statements(integer, encrypt._relation_name[]) is
    'what the triggers of a migration''s live tables have to run, or will have to';

-- A table that foreign keys refer to can't be truncated alone: its rows were deleted before. (The tables that refer to it were emptied by
-- the statement that emptied the live one, so deleting finds nothing in its way.) Asked here, in a transaction with one snapshot, the
-- catalog would not know a key that cutover has made since.
create function encrypt._truncate_shadow(shadow regclass) returns void
    language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
    execute format('truncate %s', shadow);
exception when feature_not_supported then
    null;
end
$$;
comment on function encrypt._truncate_shadow(regclass) is 'empties a table, with the caller''s own rights, unless foreign keys refer to it';
-- Anyone may execute it, since it does nothing that the caller could not do.
