-- Where values live: one list for rotation, counts and the proofs of retire_key.

-- Every column that stores encrypted values itself: of tables, leaf partitions and materialized views. Ciphertext columns
-- that nobody registered are in it, without key and context.
create function encrypt._value_columns(
    out relation regclass,
    out relkind "char",
    out "column" name,
    -- The column as PostgreSQL describes objects.
    out place text,
    out kind text,
    out key_name text,
    out context text,
    out row_id_column name,
    out index_column name,
    out normalizer text,
    out bits integer,
    -- A column that is computed from others follows them, and can't be written.
    out generated boolean
) returns setof record
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    with recursive holds (type_oid, kind, key_name) as (
        select t.oid, case when t.oid = 'encrypt.ciphertext'::regtype then 'ciphertext' else 'type' end, e.key_name
        from pg_type t
        left join encrypt.types e on e.type_oid = t.oid
        where t.oid = 'encrypt.ciphertext'::regtype
           -- Domains inherit the analyze function.
           or (t.typanalyze = 'encrypt._typanalyze'::regproc and t.typtype = 'b')
        union all
        select t.oid, holds.kind, holds.key_name from holds join pg_type t on t.typbasetype = holds.type_oid
    ), tree (uuid, root, relation, depth) as (
        select c.uuid, encrypt._table_of(c.value_column)::oid, encrypt._table_of(c.value_column)::oid, 0
        from encrypt.columns c
        union all
        select tree.uuid, tree.root, i.inhrelid, tree.depth + 1 from tree join pg_inherits i on i.inhparent = tree.relation
    ), registered as (
        -- Columns of a partition have their parent's names, not its numbers. The nearest registration counts: a table may
        -- have been attached with one of its own.
        select distinct on (tree.relation, v.attname)
               tree.relation, v.attname, c.key_name, coalesce(c.context, c.uuid::text) as context, c.normalizer, c.bits,
               r.attname as row_id_column, x.attname as index_column
        from tree
        join encrypt.columns c on c.uuid = tree.uuid
        join pg_attribute v on v.attrelid = tree.root and v.attnum = encrypt._number_of(c.value_column)
        left join pg_attribute r on r.attrelid = tree.root and r.attnum = encrypt._number_of(c.row_id_column)
        left join pg_attribute x on x.attrelid = tree.root and x.attnum = encrypt._number_of(c.index_column)
        order by tree.relation, v.attname, tree.depth
    )
    select c.oid::regclass, c.relkind, a.attname,
           pg_describe_object('pg_class'::regclass, c.oid, a.attnum), holds.kind,
           coalesce(holds.key_name, r.key_name), r.context, r.row_id_column, r.index_column, r.normalizer, r.bits,
           a.attgenerated <> ''
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join holds on holds.type_oid = a.atttypid
    left join registered r on r.relation = c.oid and r.attname = a.attname and holds.kind = 'ciphertext'
    -- Temporary tables of other sessions can't be read, and end with them.
    where c.relkind in ('r', 'm') and (c.relpersistence <> 't' or c.relnamespace = pg_my_temp_schema())
    order by c.oid, a.attnum
$$;
comment on function encrypt._value_columns() is
    'every column that stores encrypted values: key, context and tokens where they are known';

-- Columns whose values consist of others: arrays, rows and ranges of encrypted types, and domains over these. No job rewrites them.
create function encrypt._columns_of_values(out relation regclass, out "column" name, out place text)
    returns setof record
    language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off as
$$
    with used as materialized (
        -- From FirstNormalObjectId on: no type of PostgreSQL's own consists of ours.
        select c.oid, a.attname, a.attnum, a.atttypid
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypid >= 16384
        where c.relkind in ('r', 'm') and (c.relpersistence <> 't' or c.relnamespace = pg_my_temp_schema())
    ), types as materialized (
        select t.atttypid from (select distinct atttypid from used) t
        where encrypt._encrypted_within(t.atttypid) <> encrypt._base_type(t.atttypid)
    )
    select u.oid::regclass, u.attname, pg_describe_object('pg_class'::regclass, u.oid, u.attnum)
    from used u
    join types using (atttypid)
    order by u.oid, u.attnum
$$;
comment on function encrypt._columns_of_values() is
    'every column whose values consist of values of encrypted types';

create function encrypt._key_ids_within(value anyelement) returns integer[]
    language c stable strict parallel safe as 'MODULE_PATHNAME', 'key_ids_within';
comment on function encrypt._key_ids_within(anyelement) is
    'ids of the keys that values of encrypted types inside of an array, a row or a range are under, one for each';
-- why: it stays with PUBLIC, as it is called as the owners of tables, and tells what encrypt.key_id tells

create function encrypt._key_ids_of_constants(tree pg_node_tree) returns integer[]
    language c stable strict as 'MODULE_PATHNAME', 'key_ids_of_constants';
comment on function encrypt._key_ids_of_constants(pg_node_tree) is
    'ids of the keys that constants of encrypted types in a stored expression or query are under, one for each';
-- why: it stays with PUBLIC, who can read those trees

-- Literals in what the catalog stores became values when they were written: defaults and rules insert these for ever.
create function encrypt._constants(key_ids integer[], out key_id integer, out place text, out "values" bigint, out advice text)
    returns setof record
    language sql stable set search_path = pg_catalog, pg_temp set jit = off as
$$
    select k.key_id, pg_describe_object(e.classid, e.objid, 0), count(*),
           coalesce(min(e.advice), 'Define it again: its constants are then encrypted under the active version.')
    from (
        -- A constant of the base type is encrypted when it is inserted.
        select 'pg_attrdef'::regclass::oid as classid, d.oid as objid, d.adbin as tree,
               format('Run, with the value: alter table %s alter %I set default %s ''...'';', d.adrelid::regclass, a.attname, t.base) as advice
        from pg_attrdef d
        join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        left join encrypt.types t on t.type_oid = encrypt._base_type(a.atttypid)
        union all
        select 'pg_rewrite'::regclass, r.oid, e.tree, null from pg_rewrite r, lateral (values (r.ev_qual), (r.ev_action)) as e (tree)
        union all
        select 'pg_constraint'::regclass, c.oid, c.conbin, null from pg_constraint c
        union all
        select 'pg_policy'::regclass, p.oid, e.tree, null
        from pg_policy p, lateral (values (p.polqual), (p.polwithcheck)) as e (tree)
        union all
        select 'pg_trigger'::regclass, t.oid, t.tgqual, null from pg_trigger t
        union all
        select 'pg_proc'::regclass, p.oid, e.tree, null
        from pg_proc p, lateral (values (p.prosqlbody), (p.proargdefaults)) as e (tree)
        union all
        select 'pg_class'::regclass, i.indexrelid, e.tree, null
        from pg_index i, lateral (values (i.indexprs), (i.indpred)) as e (tree)
        union all
        select 'pg_type'::regclass, t.oid, t.typdefaultbin, null from pg_type t
        union all
        select 'pg_statistic_ext'::regclass, s.oid, s.stxexprs, null from pg_statistic_ext s
    ) as e
    cross join unnest(encrypt._key_ids_of_constants(e.tree)) as k (key_id)
    -- From FirstNormalObjectId on: PostgreSQL's own have none.
    where e.objid >= 16384 and k.key_id = any (key_ids)
    group by e.classid, e.objid, k.key_id
    order by 2, 1
$$;
comment on function encrypt._constants(integer[]) is
    'what the catalog stores with constants of encrypted types under some keys, counted, and how it is changed';

-- Whether encrypt.key_id(column), written like this, is served by an index.
create function encrypt._has_key_id_index(relation regclass, "column" name) returns boolean
    language sql stable strict set search_path = pg_catalog, pg_temp
return exists (
    select from pg_index i
    where i.indrelid = relation and i.indexprs is not null and i.indisvalid and i.indpred is null
      and pg_get_indexdef(i.indexrelid, 1, true) = format('encrypt.key_id(%I)', "column"));
comment on function encrypt._has_key_id_index(regclass, name) is
    'whether an index has the key ids of a column''s values';

-- Without an index _key_id_of is cheaper: it reads the first bytes of a value that is stored out of line.
create function encrypt._key_id_expression(relation regclass, "column" name) returns text
    language sql stable strict set search_path = pg_catalog, pg_temp
return format(case when encrypt._has_key_id_index(relation, "column") then 'encrypt.key_id(%I)'
                   else 'encrypt._key_id_of(%I)' end, "column");
comment on function encrypt._key_id_expression(regclass, name) is 'SQL for the key id of a column''s value';

create function encrypt._count_as(role regrole, statement text, key_ids integer[]) returns bigint[]
    language c stable parallel unsafe as 'MODULE_PATHNAME', 'count_as';
comment on function encrypt._count_as(regrole, text, integer[]) is
    'runs a statement that counts, of key ids in $1, with the rights of a role, security-restricted';

-- Any role can make a table that has values, and these functions read them all: never with the rights of the extension's
-- owner, as planning evaluates what a table's owner wrote (index predicates, expressions of statistics). No policy hides rows.
create function encrypt._count_as_owner(relation regclass, statement text, key_ids integer[] default null) returns bigint[]
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select encrypt._count_as(c.relowner::regrole, statement, key_ids) from pg_class c where c.oid = relation
$$;
comment on function encrypt._count_as_owner(regclass, text, integer[]) is
    'runs a statement that counts in a table, with the rights of its owner';

create function encrypt._count_by_key(relation regclass, "column" name, out key_id integer, out "values" bigint)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    expression text := encrypt._key_id_expression(relation, "column");
    counts bigint[];
begin
    if encrypt._has_key_id_index(relation, "column") then
        -- Through the index, one version after the other.
        counts := encrypt._count_as_owner(relation, format(
            'select array_agg(array[k, (select count(*) from only %s where %s = k)]) from unnest($1) as k',
            relation, expression), array(select k.key_id from encrypt.keys k where k.purpose = 'column'));
    else
        counts := encrypt._count_as_owner(relation, format(
            'select array_agg(array[k, n]) from (select %2$s, count(*) from only %1$s where %3$I is not null group by 1) as c (k, n)',
            relation, expression, "column"));
    end if;
    return query select counts[n][1]::integer, counts[n][2] from generate_subscripts(counts, 1) as n;
end
$$;
comment on function encrypt._count_by_key(regclass, name) is 'how many values of a column are under which key';

create function encrypt._count_within_by_key(relation regclass, "column" name, out key_id integer, out "values" bigint)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    counts bigint[] := encrypt._count_as_owner(relation, format(
        'select array_agg(array[c.key_id, c.n])
         from (select held.key_id, count(*) from only %1$s t cross join unnest(encrypt._key_ids_within(t.%2$I)) as held (key_id)
               group by 1) as c (key_id, n)',
        relation, "column"));
begin
    return query select counts[n][1]::integer, counts[n][2] from generate_subscripts(counts, 1) as n;
end
$$;
comment on function encrypt._count_within_by_key(regclass, name) is
    'how many values inside of a column''s arrays, rows or ranges are under which key';

create function encrypt._count_by_index_version(
    relation regclass, "column" name, out version_byte integer, out "values" bigint
) returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    counts bigint[] := encrypt._count_as_owner(relation, format(
        'select array_agg(array[b, n])
         from (select get_byte(%2$I, 0), count(*) from only %1$s where octet_length(%2$I) > 0 group by 1) as c (b, n)',
        relation, "column"));
begin
    return query select counts[n][1]::integer, counts[n][2] from generate_subscripts(counts, 1) as n;
end
$$;
comment on function encrypt._count_by_index_version(regclass, name) is
    'how many tokens of a column have which first byte, which is the version of their index key modulo 256';

create function encrypt._uses_of_key(
    key_id integer, out place text, out "values" bigint, out is_moved_by_job boolean, out advice text
) returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    wanted encrypt.keys;
    found record;
begin
    select * into wanted from encrypt.keys k where k.key_id = _uses_of_key.key_id;
    if wanted.purpose = 'column' then
        for found in select * from encrypt._value_columns() loop
            "values" := (encrypt._count_as_owner(found.relation,
                format('select array[count(*)] from only %s where %s = $1[1]',
                       found.relation, encrypt._key_id_expression(found.relation, found."column")), array[key_id]))[1];
            if "values" > 0 then
                place := found.place;
                is_moved_by_job := found.key_name = wanted.name and found.relkind = 'r' and not found.generated;
                advice := case
                    when wanted.state = 'retired'
                        then 'A superuser can re-encrypt them by hand, after: set pg_encrypt.allow_retired_keys = on;'
                    when is_moved_by_job then format('Run: select encrypt.start_reencryption(%L);', wanted.name)
                    else 'Re-encrypt them first: update ... set column = encrypt.reencrypt_column(column).' end;
                return next;
            end if;
        end loop;
        for found in select * from encrypt._columns_of_values() loop
            "values" := (encrypt._count_as_owner(found.relation,
                format('select array[count(*)] from only %s t cross join unnest(encrypt._key_ids_within(t.%I)) as held (key_id)
                        where held.key_id = $1[1]', found.relation, found."column"), array[key_id]))[1];
            if "values" > 0 then
                place := found.place;
                is_moved_by_job := false;
                advice := format('Run, as a role that sees plaintext: update %1$s set %2$I = %2$I::text::%3$s;',
                    found.relation, found."column",
                    (select format_type(a.atttypid, a.atttypmod) from pg_attribute a
                     where a.attrelid = found.relation and a.attname = found."column"));
                return next;
            end if;
        end loop;
        is_moved_by_job := false;
        return query
            select c.place, c."values", false, c.advice from encrypt._constants(array[_uses_of_key.key_id]) c;
    else
        advice := format('Run: select encrypt.start_reindexing(%L);', wanted.name);
        for found in
            select * from encrypt._value_columns() v where v.index_column is not null and v.key_name = wanted.name
        loop
            select c."values" into "values" from encrypt._count_by_index_version(found.relation, found.index_column) c
            where c.version_byte = wanted.version % 256;
            if "values" > 0 then
                place := format('column %s of table %s', found.index_column, found.relation);
                is_moved_by_job := true;
                return next;
            end if;
        end loop;
    end if;
end
$$;
comment on function encrypt._uses_of_key(integer) is
    'columns with values or tokens under a version of a key and constants of the catalog, counted, and how they are changed';

create function encrypt.key_usage(
    name text,
    out key_id integer,
    out purpose text,
    out version integer,
    out state text,
    out relation regclass,
    out "column" name,
    out "values" bigint,
    out taken_at timestamptz
) returns setof record
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    if not exists (select from encrypt.keys k where k.name = key_usage.name) then
        raise exception using errcode = 'undefined_object', message = format('key "%s" does not exist', name),
            hint = format('Run: select encrypt.create_key(%L);', name);
    end if;
    -- A version without values has one row, which says so.
    return query
        with counted as (
            select c.key_id, v.relation, v."column", c."values", clock_timestamp() as taken_at
            from encrypt._value_columns() v
            cross join lateral encrypt._count_by_key(v.relation, v."column") c
            where c."values" > 0
            union all
            select c.key_id, v.relation, v."column", c."values", clock_timestamp()
            from encrypt._columns_of_values() v
            cross join lateral encrypt._count_within_by_key(v.relation, v."column") c
            union all
            select k.key_id, v.relation, v.index_column, c."values", clock_timestamp()
            from encrypt._value_columns() v
            cross join lateral encrypt._count_by_index_version(v.relation, v.index_column) c
            -- Of versions that share a byte, the newest.
            join lateral (
                select i.key_id from encrypt.keys i
                where i.name = v.key_name and i.purpose = 'index' and i.version % 256 = c.version_byte
                order by i.version desc limit 1) k on true
            where v.index_column is not null and v.key_name = key_usage.name
        )
        select k.key_id, k.purpose, k.version, k.state, c.relation, c."column", coalesce(c."values", 0),
               coalesce(c.taken_at, clock_timestamp())
        from encrypt.keys k
        left join counted c on c.key_id = k.key_id
        where k.name = key_usage.name
        order by k.purpose, k.version, c.relation::text, c."column";
end
$$;
comment on function encrypt.key_usage(text) is
    'how many values and registered tokens are under each version of a key, column by column, counted now';

-- why: they read every table with encrypted values, whoever owns it
revoke all on function
    encrypt._value_columns(),
    encrypt._columns_of_values(),
    encrypt._constants(integer[]),
    encrypt._has_key_id_index(regclass, name),
    encrypt._key_id_expression(regclass, name),
    encrypt._count_as(regrole, text, integer[]),
    encrypt._count_as_owner(regclass, text, integer[]),
    encrypt._count_by_key(regclass, name),
    encrypt._count_within_by_key(regclass, name),
    encrypt._count_by_index_version(regclass, name),
    encrypt._uses_of_key(integer),
    encrypt.key_usage(text)
from public;
