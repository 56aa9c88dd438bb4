-- Migration, planning: the encrypted counterpart of a table. Columns, storage, partitions.
--
-- CREATE TABLE ... (LIKE) would leave out reloptions, identity sequences' settings, access methods and more, and take
-- column types along; so each part is written out. All statements run as the table's owner.

-- What comes after the column's name. An encrypted column takes what its old type took: a default is converted to that
-- first, as it was before.
create function encrypt._column_definition(migration integer, relation regclass, "column" int2) returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select concat_ws(' ',
        coalesce(m.cipher_type::text, format_type(a.atttypid, a.atttypmod)),
        case when a.attcompression <> '' and m.cipher_type is null
             then 'compression ' || case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end end,
        case when a.attcollation <> t.typcollation then format('collate %s', a.attcollation::regcollation) end,
        -- From 18 on NOT NULL is a constraint with a name, which has to be given at once: an identity column would make one
        -- of another name, and a column has but one. All are valid: others are refused at the start.
        case when n.oid is not null
                 then format('constraint %I not null', n.conname) || case when n.connoinherit then ' no inherit' else '' end
             when a.attnotnull and current_setting('server_version_num')::integer < 180000 then 'not null' end,
        case when a.attgenerated <> '' then
                 format('generated always as (%s) %s', pg_get_expr(f.adbin, f.adrelid),
                        case a.attgenerated when 's' then 'stored' when 'v' then 'virtual' end)
             when m.cipher_type is not null then 'default (' || pg_get_expr(f.adbin, f.adrelid) || ')::' || m.plain_type
             else 'default ' || pg_get_expr(f.adbin, f.adrelid) end,
        -- A partition's identity is its parent's since 17, and comes with ATTACH.
        case when a.attidentity <> '' and not (c.relispartition and current_setting('server_version_num')::integer >= 170000)
             then encrypt._identity_definition(relation, a.attnum, a.attidentity) end)
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
    left join pg_constraint n on n.conrelid = a.attrelid and n.contype = 'n' and n.conkey = array[a.attnum]
    left join encrypt.migration_columns m on m.migration_id = migration and m.column_name = a.attname
    where a.attrelid = relation and a.attnum = "column"
$$;
comment on function encrypt._column_definition(integer, regclass, int2) is 'definition of a column of the encrypted table';

create function encrypt._identity_sequence(relation regclass, "column" int2) returns regclass
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select d.objid::regclass
    from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
      and d.refobjid = relation and d.refobjsubid = "column" and d.deptype = 'i'
$$;
comment on function encrypt._identity_sequence(regclass, int2) is 'sequence of an identity column';

create function encrypt._identity_definition(relation regclass, "column" int2, kind "char") returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select format('generated %s as identity (sequence name %s.%I start %s increment %s minvalue %s maxvalue %s cache %s %s)',
                  case kind when 'a' then 'always' else 'by default' end,
                  c.relnamespace::regnamespace, encrypt._free_name(c.relname, '_encrypted', c.relnamespace),
                  s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                  case when s.seqcycle then 'cycle' else 'no cycle' end)
    from pg_sequence s join pg_class c on c.oid = s.seqrelid
    where s.seqrelid = encrypt._identity_sequence(relation, "column")
$$;
comment on function encrypt._identity_definition(regclass, int2, "char") is 'identity of a column with the settings of its sequence';

-- The table and its partitions, without what needs all columns to be there.
create function encrypt._make_tables(migration integer, target regclass) returns regclass
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    t record;
    made regclass;
    made_name name;
    root regclass;
begin
    for t in
        select r.relation, r.parent, c.relname, c.relnamespace, c.relkind,
               am.amname, s.spcname, c.reloptions, toast.reloptions as toast_options,
               pg_get_expr(c.relpartbound, c.oid) as bound,
               case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end as partition_key
        from encrypt._tree(target) r
        join pg_class c on c.oid = r.relation
        left join pg_am am on am.oid = c.relam
        left join pg_tablespace s on s.oid = c.reltablespace
        left join pg_class toast on toast.oid = c.reltoastrelid
        order by r.level, r.relation
    loop
        made_name := encrypt._free_name(t.relname, '_encrypted', t.relnamespace);
        perform encrypt._execute_as_owner(t.relation, concat_ws(' ',
            format('create table %s.%I (', t.relnamespace::regnamespace, made_name),
            (select string_agg(encrypt._column_definitions(migration, t.relation, a.attnum), ', ' order by a.attnum)
             from pg_attribute a where a.attrelid = t.relation and a.attnum > 0 and not a.attisdropped)
                || encrypt._metadata_definitions(migration),
            ')',
            'partition by ' || t.partition_key,
            'using ' || quote_ident(t.amname),
            'with (' || encrypt._options_text(t.reloptions, t.toast_options) || ')',
            'tablespace ' || quote_ident(t.spcname)));
        made := to_regclass(format('%s.%I', t.relnamespace::regnamespace, made_name));
        insert into encrypt.migration_relations (migration_id, plain, encrypted) values (migration, t.relation, made);
        insert into encrypt.migration_objects (migration_id, kind, plain, encrypted, name)
        select migration, 'sequence', s.plain, s.encrypted, c.relname
        from (select encrypt._identity_sequence(t.relation, a.attnum) as plain,
                     encrypt._identity_sequence(made, b.attnum) as encrypted
              from pg_attribute a join pg_attribute b on b.attrelid = made and b.attname = a.attname
              where a.attrelid = t.relation and a.attidentity <> '') as s
        join pg_class c on c.oid = s.plain
        where s.encrypted is not null;
        perform encrypt._set_columns(migration, t.relation, made);
        perform encrypt._make_checks(migration, t.relation, made);
        perform encrypt._make_metadata_trigger(migration, t.relation, made);
        if t.parent is null then
            root := made;
        else
            perform encrypt._execute_as_owner(t.relation, format('alter table %s attach partition %s %s',
                (select m.encrypted from encrypt.migration_relations m where m.migration_id = migration and m.plain = t.parent),
                made, t.bound));
        end if;
    end loop;
    return root;
end
$$;
comment on function encrypt._make_tables(integer, regclass) is
    'makes the encrypted counterpart of a table and of its partitions; returns the former';

create function encrypt._options_text(options text[], toast_options text[] default '{}') returns text
    language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('%s%I = %L', o.prefix, split_part(o.option, '=', 1), substring(o.option from '=(.*)$')), ', ')
    from (select '' as prefix, unnest(options) as option union all select 'toast.', unnest(toast_options)) as o
$$;
comment on function encrypt._options_text(text[], text[]) is 'storage options as in WITH (...)';

-- Of attoptions only the two that users set: some minor versions of PostgreSQL keep internal ones there.
create function encrypt._set_columns(migration integer, plain regclass, made regclass) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    change text;
begin
    for change in
        -- Of values and tokens, the tokens are what statistics are about.
        select format('alter table only %s alter column %I %s', made, coalesce(m.index_column, m.value_column, a.attname), s.setting)
        from pg_attribute a
        join pg_type t on t.oid = a.atttypid
        left join encrypt.migration_columns m on m.migration_id = migration and m.column_name = a.attname
        cross join lateral (
            select 'set statistics ' || a.attstattarget where a.attstattarget >= 0
            union all
            select 'set storage ' || case a.attstorage when 'p' then 'plain' when 'e' then 'external'
                                                       when 'm' then 'main' when 'x' then 'extended' end
            where a.attstorage <> t.typstorage and m.cipher_type is null
            union all
            select format('set (%s)', string_agg(o.option, ', '))
            from unnest(a.attoptions) as o (option) where o.option ~ '^n_distinct(_inherited)?='
            having count(*) > 0
        ) as s (setting)
        where a.attrelid = plain and a.attnum > 0 and not a.attisdropped
    loop
        perform encrypt._execute_as_owner(plain, change);
    end loop;
end
$$;
comment on function encrypt._set_columns(integer, regclass, regclass) is 'statistics targets, storage and options of columns';

-- Names of CHECK constraints belong to the table: the same name can stay.
create function encrypt._make_checks(migration integer, plain regclass, made regclass) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    k record;
    keep constant boolean := (select m.options ->> 'checks' = 'keep' from encrypt.migrations m where m.migration_id = migration);
begin
    for k in
        select c.conname, pg_get_constraintdef(c.oid) as definition,
               encrypt._expression_uses(c.conbin, encrypt._column_numbers(plain, encrypt._migrated(migration))) as decrypts
        from pg_constraint c
        where c.conrelid = plain and c.contype = 'c'
        order by c.conname
    loop
        if k.decrypts and keep is not true then
            raise notice 'check "%" of % is left out: it would have to decrypt', k.conname, plain;
            continue;
        end if;
        begin
            perform encrypt._execute_as_owner(plain,
                format('alter table only %s add constraint %I %s', made, k.conname, k.definition));
        exception when syntax_error_or_access_rule_violation or feature_not_supported then
            perform encrypt._refuse_migration(plain,
                array[format('check %I of %s can''t be made on encrypted columns: %s', k.conname, plain, sqlerrm)],
                array['Give the option {"checks": "drop"}.']);
        end;
    end loop;
end
$$;
comment on function encrypt._make_checks(integer, regclass, regclass) is 'CHECK constraints of an encrypted table';

create function encrypt._migrated(migration integer) returns name[]
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select array_agg(m.column_name order by m.column_name) from encrypt.migration_columns m where m.migration_id = migration
$$;
comment on function encrypt._migrated(integer) is 'columns that a migration encrypts';

-- why: parts of start_migration
revoke all on function encrypt._column_definition(integer, regclass, int2) from public;
revoke all on function encrypt._identity_sequence(regclass, int2) from public;
revoke all on function encrypt._identity_definition(regclass, int2, "char") from public;
revoke all on function encrypt._make_tables(integer, regclass) from public;
revoke all on function encrypt._options_text(text[], text[]) from public;
revoke all on function encrypt._set_columns(integer, regclass, regclass) from public;
revoke all on function encrypt._make_checks(integer, regclass, regclass) from public;
revoke all on function encrypt._migrated(integer) from public;
