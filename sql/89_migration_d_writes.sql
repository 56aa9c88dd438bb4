-- Writing through the view that stands in for an encrypted table (expose view). One trigger function for all such views.
--
-- It runs with the rights of whoever writes, and only runs what the functions below write down from the catalogs, once per
-- session, view and role (src/migrate/writes.rs). They qualify every operator: the search path is the writer's.

-- The columns of such a view and what becomes of each in the table below it.
create function encrypt._write_columns(
    target regclass, role name,
    out ordinal integer, out name name, out relation regclass, out key_columns name[],
    -- Names in the table; null where the view computes something of its own.
    out columns name[],
    -- Their values made of a row n, the view's value of a row b of the table, and its type.
    out made text[], out seen text,
    -- The view's value after the new row $2 was written: what was encrypted a moment ago is not decrypted again, since who
    -- writes may not be allowed to.
    out returned text,
    out is_identity boolean, out is_fixed boolean,
    out may_insert boolean, out may_update boolean
) returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select v.attnum::integer, v.attname, m.live, m.key_columns, w.columns,
           case when c.column_name is null then array[format('n.%I', v.attname)]
                else array[encrypt._sealed_value(format('n.%I', v.attname), v.atttypid, m.key_name, c.context)]
                     || case when c.index_column is null then '{}' else array[format('encrypt.blind_index((n.%I)::text, %L, %L, %L)',
                                                                          v.attname, m.key_name, c.context, c.normalizer)] end end,
           case when c.column_name is null then format('b.%I', a.attname)
                else encrypt._opened_value(format('b.%I', c.value_column), v.atttypid, c.context) end,
           format('(%s)::%s', case when c.column_name is null and has_column_privilege(role, m.live, a.attnum, 'select')
                                   then format('b.%I', a.attname) else format('($2).%I', v.attname) end,
                  format_type(v.atttypid, v.atttypmod)),
           coalesce(a.attidentity <> '', false),
           coalesce(a.attgenerated <> '' or a.attidentity = 'a', false),
           -- Encrypted columns have their default here only.
           has_column_privilege(role, m.live, a.attnum, 'insert') or c.column_name is not null and v.atthasdef,
           has_column_privilege(role, m.live, a.attnum, 'update')
    from encrypt.migrations m
    join pg_attribute v on v.attrelid = m.exposed and v.attnum > 0 and not v.attisdropped
    left join encrypt.migration_columns c on c.migration_id = m.migration_id and c.column_name = v.attname
    left join pg_attribute a on a.attrelid = m.live and a.attname = coalesce(c.value_column, v.attname) and a.attnum > 0
         and not a.attisdropped
    cross join lateral (
        select case when a.attname is not null then array_remove(array[a.attname, c.index_column], null) end) as w (columns)
    where m.exposed = target and m.phase in ('cut_over', 'finalized')
    order by v.attnum;
    if not found then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('%s is no view of a migrated table', target);
    end if;
end
$$;
comment on function encrypt._write_columns(regclass, name) is 'columns of a decrypting view, and what they are in its table';

-- The statements for a row, $1 being the old one, $2 the new one:
--
-- | event | statements |
-- |---|---|
-- | INSERT | without and with a number for the identity column |
-- | UPDATE | what comes before and after the assignments; one that changes nothing; one for each column |
-- | DELETE | the statement |
-- | CONFLICT | whether somebody else has changed the row that a statement did not find as it saw it |
create function encrypt._write_statements(
    target regclass, role name, event text,
    -- The table, and the numbers of the view's columns that are identity, and that take no value at all.
    out below regclass, out statements text[], out identity integer[], out fixed integer[]
)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
declare
    key name[];
    row_is text;
    shown text;
    unchanged text;
begin
    select w.relation, w.key_columns, string_agg(w.returned, ', ' order by w.ordinal),
           format('row(%s)::record operator(pg_catalog.*=) row(%s)::record',
                  string_agg(w.seen, ', ' order by w.ordinal) filter (where w.columns is not null),
                  string_agg(format('o.%I', w.name), ', ' order by w.ordinal) filter (where w.columns is not null)),
           coalesce(array_agg(w.ordinal) filter (where w.is_identity), '{}'),
           coalesce(array_agg(w.ordinal) filter (where w.is_fixed and not w.is_identity), '{}')
    into below, key, shown, unchanged, identity, fixed
    from encrypt._write_columns(target, role) w group by 1, 2;
    if event = 'INSERT' then
        select array[format('insert into %s as b %s returning %s', below, coalesce(w.without, 'default values'), shown),
                     format('insert into %s as b %s returning %s', below, coalesce(w.given, 'default values'), shown)]
        into statements
        -- Who may insert into no column hears that from the table.
        from (select '(' || string_agg(p.names, ', ' order by w.ordinal) filter (where not w.is_identity) || ') select '
                     || string_agg(p.made, ', ' order by w.ordinal) filter (where not w.is_identity) || ' from (select ($2).*) n' as without,
                     '(' || string_agg(p.names, ', ' order by w.ordinal) || ') select '
                     || string_agg(p.made, ', ' order by w.ordinal) || ' from (select ($2).*) n' as given
              from encrypt._write_columns(target, role) w
              left join lateral (
                  select string_agg(quote_ident(c.name), ', ' order by c.n) as names, string_agg(c.value, ', ' order by c.n) as made
                  from unnest(w.columns, w.made) with ordinality as c (name, value, n)
                  where w.may_insert and (w.is_identity or not w.is_fixed)) p on true) as w;
        return;
    end if;
    select string_agg(format('b.%1$I %2$s o.%1$I', c.name, encrypt._index_equality(i.oid, c.n::integer)), ' and ' order by c.n)
    into row_is
    from (select encrypt._key_index(below, key) as oid) i
    cross join unnest(encrypt._index_columns(i.oid)) with ordinality as c (name, n);
    if event = 'UPDATE' then
        select array[format('update %s b set ', below),
                     format(' from (select ($1).*) o, (select ($2).*) n where %s and %s returning %s', row_is, unchanged, shown),
                     -- A statement that changes nothing fires the table's triggers nevertheless. Who may update no column
                     -- hears that from the table.
                     (array_agg(format('%1$I = b.%1$I', w.columns[1])
                                order by not w.may_update, w.is_fixed, w.name = any (key), w.ordinal)
                      filter (where w.columns is not null))[1]]
               || array_agg(p.assigned order by w.ordinal)
        into statements
        from encrypt._write_columns(target, role) w
        cross join lateral (select string_agg(format('%I = %s', c.name, c.value), ', ') as assigned
                            from unnest(w.columns, w.made) as c (name, value)) p;
        return;
    end if;
    statements := array[case event
        when 'DELETE' then format('delete from %s b using (select ($1).*) o where %s and %s', below, row_is, unchanged)
        else format('select not (%s) and not encrypt._is_of_this_transaction(b.xmin) from %s b, (select ($1).*) o where %s',
                    unchanged, below, row_is) end];
end
$$;
comment on function encrypt._write_statements(regclass, name, text) is
    'statements that a row written to a decrypting view comes to in its table';

-- A subtransaction's number counts, too: what runs and can be seen is our own.
create function encrypt._is_of_this_transaction(number xid) returns boolean
    language sql volatile set search_path = pg_catalog, pg_temp as
$$
    -- The nearest number with these 32 bits.
    select coalesce(pg_xact_status((c.now + (((number::text::bigint - c.now) % 4294967296 + 6442450944) % 4294967296 - 2147483648)
                                    )::text::xid8) = 'in progress', false)
    from (select pg_current_xact_id()::text::bigint) as c (now)
$$;
comment on function encrypt._is_of_this_transaction(xid) is 'whether a row version was written by the transaction that looks at it';

create function encrypt.write_encrypted_row() returns trigger
    language c as 'MODULE_PATHNAME', 'write_encrypted_row';
comment on function encrypt.write_encrypted_row() is 'writes a row of a decrypting view to its table, encrypted';
-- why: these stay with PUBLIC. The trigger calls them with the rights of whoever writes; they tell what the catalogs tell
