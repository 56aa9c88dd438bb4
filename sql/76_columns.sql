-- Registered columns: where values of type encrypt.ciphertext and their tokens are, and what they are bound to. Columns of
-- the encrypted types need no entry: the catalog knows them.

-- A column as its table's OID and its number, shown as schema.table.column: to columns what regclass is to tables.
--
-- Why a type: names don't survive a rename, numbers don't survive a restore, which leaves dropped columns out and may order
-- the others differently. A pair of both would have to be kept in step by an event trigger, which single-user mode and
-- event_triggers = off leave out, and by a trigger on loading, which pg_restore --disable-triggers leaves out. Here the
-- number is what is stored and the name is what is dumped, with nothing to keep in step. pg_upgrade, which copies the
-- stored form, keeps both numbers.

create type encrypt.regcolumn;

create function encrypt.regcolumn_in(cstring) returns encrypt.regcolumn
    language c stable strict parallel safe as 'MODULE_PATHNAME', 'regcolumn_in';
create function encrypt.regcolumn_out(encrypt.regcolumn) returns cstring
    language c stable strict parallel safe as 'MODULE_PATHNAME', 'regcolumn_out';
create function encrypt.regcolumn_recv(internal) returns encrypt.regcolumn
    language internal immutable strict parallel safe as 'int8recv';
create function encrypt.regcolumn_send(encrypt.regcolumn) returns bytea
    language internal immutable strict parallel safe as 'int8send';

create type encrypt.regcolumn (
    input = encrypt.regcolumn_in,
    output = encrypt.regcolumn_out,
    receive = encrypt.regcolumn_recv,
    send = encrypt.regcolumn_send,
    like = pg_catalog.int8
);

comment on type encrypt.regcolumn is 'a column of a table, shown as schema.table.column';
comment on function encrypt.regcolumn_in(cstring) is 'I/O';
comment on function encrypt.regcolumn_out(encrypt.regcolumn) is 'I/O';
comment on function encrypt.regcolumn_recv(internal) is 'I/O';
comment on function encrypt.regcolumn_send(encrypt.regcolumn) is 'I/O';

-- Order, equality and indexes are those of bigint, as oid's are regclass's.
create cast (encrypt.regcolumn as bigint) without function as implicit;
create cast (bigint as encrypt.regcolumn) without function;

create function encrypt._table_of("column" encrypt.regcolumn) returns regclass
    language sql immutable strict parallel safe
    return (("column"::bigint >> 16)::oid)::regclass;
comment on function encrypt._table_of(encrypt.regcolumn) is 'the table of a column';

create function encrypt._number_of("column" encrypt.regcolumn) returns smallint
    language sql immutable strict parallel safe
    return ("column"::bigint & 65535)::smallint;
comment on function encrypt._number_of(encrypt.regcolumn) is 'the number of a column in its table';

create function encrypt._column(target regclass, number smallint) returns encrypt.regcolumn
    language sql immutable strict parallel safe
    return ((target::oid::bigint << 16) | number::bigint)::encrypt.regcolumn;
comment on function encrypt._column(regclass, smallint) is 'a reference to a column';

-- why: the internals of one type
revoke all on function
    encrypt._table_of(encrypt.regcolumn),
    encrypt._number_of(encrypt.regcolumn),
    encrypt._column(regclass, smallint)
from public;

create table encrypt.columns (
    uuid          uuid not null default gen_random_uuid() constraint columns_pkey primary key,
    value_column  encrypt.regcolumn not null,
    index_column  encrypt.regcolumn,
    row_id_column encrypt.regcolumn,
    key_name      text collate "C" not null,
    context       text,
    normalizer    text collate "C" not null check (normalizer in ('exact', 'casefold', 'email', 'digits')),
    bits          integer not null check (bits between 16 and 256 and bits % 8 = 0),
    created_at    timestamptz not null default now(),
    created_by    name not null,
    constraint columns_value_column unique (value_column),
    constraint columns_index_column unique (index_column)
);

comment on table encrypt.columns is 'registered columns: values of type encrypt.ciphertext, and the tokens made of them';
comment on column encrypt.columns.uuid is 'identity of the column; its text is the context where none was given';
comment on column encrypt.columns.value_column is 'column with encrypted values; of a partitioned table, of all partitions';
comment on column encrypt.columns.index_column is 'column with their tokens; null: there is none';
comment on column encrypt.columns.row_id_column is 'column whose text is the row id of the values; null: they are bound to no row';
comment on column encrypt.columns.key_name is 'key of values and tokens';
comment on column encrypt.columns.context is 'context of values and tokens; null: the text of the uuid';
comment on column encrypt.columns.normalizer is 'what a value goes through before its token is made';
comment on column encrypt.columns.bits is 'length of the tokens';
comment on column encrypt.columns.created_at is 'when it was registered';
comment on column encrypt.columns.created_by is 'role that registered it';

-- Everyone may see what is registered; only the functions below change it.
grant select on encrypt.columns to public;

create trigger guard_table before truncate on encrypt.columns
    for each statement execute function encrypt._refuse_truncate();
alter table encrypt.columns enable always trigger guard_table;

-- A reference to a column that is gone has no name, and a restore would stop at it.
select pg_catalog.pg_extension_config_dump('encrypt.columns',
    'where exists (select from pg_catalog.pg_attribute a
                   where a.attrelid = (value_column::bigint >> 16)::oid and a.attnum = (value_column::bigint & 65535)
                     and not a.attisdropped)');

create function encrypt._column_named(target regclass, name name) returns encrypt.regcolumn
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
    number smallint;
begin
    select a.attnum into number from pg_attribute a
    where a.attrelid = target and a.attname = name and a.attnum > 0 and not a.attisdropped;
    if number is null then
        raise exception using errcode = 'undefined_column',
            message = format('column "%s" of table %s does not exist', name, target);
    end if;
    return encrypt._column(target, number);
end
$$;
comment on function encrypt._column_named(regclass, name) is 'a reference to a column by its name';

-- What a type is made of: domains don't matter for what is stored.
create function encrypt._base_type(type oid) returns oid
    language sql stable strict parallel safe set search_path = pg_catalog, pg_temp as
$$
    with recursive base (oid, typbasetype) as (
        select t.oid, t.typbasetype from pg_type t where t.oid = type
        union all
        select t.oid, t.typbasetype from base join pg_type t on t.oid = base.typbasetype
    )
    select oid from base where typbasetype = 0
$$;
comment on function encrypt._base_type(oid) is 'the type under all domains';
-- why: it stays with PUBLIC. An event trigger calls it as whoever runs a DDL statement; it reads the catalog

create function encrypt._require_owner(target regclass) returns void
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    if (select pg_has_role(encrypt._outer_user()::oid, c.relowner, 'USAGE') from pg_class c where c.oid = target) is not true then
        raise exception using errcode = 'insufficient_privilege',
            message = format('must be owner of table %s', target);
    end if;
end
$$;
comment on function encrypt._require_owner(regclass) is 'refuses unless the caller owns a table';

create function encrypt.register_column(
    target regclass,
    value_column name,
    index_column name default null,
    key text default 'default',
    context text default null,
    normalizer text default 'casefold',
    bits integer default 128,
    row_id_column name default null
) returns uuid
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    relation record;
    value_ref encrypt.regcolumn;
    index_ref encrypt.regcolumn;
    row_id_ref encrypt.regcolumn;
    related regclass;
    made uuid;
begin
    if target is null or value_column is null or key is null or normalizer is null or bits is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = 'arguments other than index_column, context and row_id_column must not be null';
    end if;
    select c.relkind, c.relpersistence into relation from pg_class c where c.oid = target;
    if not found then
        raise exception using errcode = 'undefined_table', message = format('table with OID %s does not exist', target::oid);
    end if;
    perform encrypt._require_owner(target);
    -- Jobs run in other sessions and write tables only.
    if relation.relkind not in ('r', 'p') or relation.relpersistence = 't' then
        raise exception using errcode = 'wrong_object_type',
            message = format('"%s" is not a table that a job can write', target);
    end if;
    if not exists (select from encrypt.keys k where k.name = key and k.purpose = 'column') then
        raise exception using errcode = 'undefined_object', message = format('key "%s" does not exist', key),
            hint = format('Run: select encrypt.create_key(%L);', key);
    end if;
    if normalizer not in ('exact', 'casefold', 'email', 'digits') then
        raise exception using errcode = 'invalid_parameter_value', message = format('unknown normalizer "%s"', normalizer),
            hint = 'Normalizers are exact, casefold, email and digits.';
    end if;
    if bits not between 16 and 256 or bits % 8 <> 0 then
        raise exception using errcode = 'invalid_parameter_value', message = format('blind index can''t have %s bits', bits),
            hint = 'Use a multiple of 8 from 16 to 256.';
    end if;

    value_ref := encrypt._column_named(target, value_column);
    if encrypt._type_of(value_ref) <> 'encrypt.ciphertext'::regtype then
        raise exception using errcode = 'datatype_mismatch',
            message = format('column "%s" of table %s is not of type encrypt.ciphertext', value_column, target),
            hint = case when exists (select from pg_type t where t.oid = encrypt._type_of(value_ref)
                                     and t.typanalyze = 'encrypt._typanalyze'::regproc)
                then 'Columns of encrypted types need no registration.' else '' end;
    end if;
    if index_column is not null then
        index_ref := encrypt._column_named(target, index_column);
        if encrypt._type_of(index_ref) <> 'bytea'::regtype then
            raise exception using errcode = 'datatype_mismatch',
                message = format('column "%s" of table %s is not of type bytea', index_column, target);
        end if;
    end if;
    if row_id_column is not null then
        row_id_ref := encrypt._column_named(target, row_id_column);
        -- Types whose text depends on no setting: a job must make the very text that the application made.
        if encrypt._type_of(row_id_ref) not in ('bigint'::regtype, 'integer'::regtype, 'smallint'::regtype,
                                                'uuid'::regtype, 'text'::regtype, 'varchar'::regtype) then
            raise exception using errcode = 'datatype_mismatch',
                message = format('column "%s" of table %s is of no type that a row id is made of', row_id_column, target),
                hint = 'Types are bigint, integer, smallint, uuid, text and varchar.';
        end if;
    end if;

    -- Two registrations of one column, through a table and its partition, would bind one value to two contexts.
    with recursive up (oid) as (
        select i.inhparent from pg_inherits i where i.inhrelid = target
        union select i.inhparent from up join pg_inherits i on i.inhrelid = up.oid
    ), down (oid) as (
        select i.inhrelid from pg_inherits i where i.inhparent = target
        union select i.inhrelid from down join pg_inherits i on i.inhparent = down.oid
    )
    select encrypt._table_of(c.value_column) into related
    from encrypt.columns c
    join pg_attribute a on a.attrelid = encrypt._table_of(c.value_column) and a.attnum = encrypt._number_of(c.value_column)
    where a.attname = register_column.value_column
      and a.attrelid in (select oid from up union all select oid from down)
    limit 1;
    if related is not null then
        raise exception using errcode = 'duplicate_object',
            message = format('column "%s" of table %s is registered with table %s', value_column, target, related),
            hint = format('Run: select encrypt.unregister_column(%L, %L);', related, value_column);
    end if;

    insert into encrypt.columns (value_column, index_column, row_id_column, key_name, context, normalizer, bits, created_by)
    values (value_ref, index_ref, row_id_ref, key, context, normalizer, bits, encrypt._outer_user()::text)
    on conflict do nothing
    returning uuid into made;
    if made is null then
        raise exception using errcode = 'duplicate_object',
            message = format('column "%s" of table %s is registered already',
                             case when exists (select from encrypt.columns c where c.value_column = value_ref)
                                 then value_column else index_column end, target);
    end if;
    return made;
end
$$;
comment on function encrypt.register_column(regclass, name, name, text, text, text, integer, name) is
    'tells where values of type encrypt.ciphertext and their tokens are, so that jobs find them; returns the column''s uuid';

create function encrypt._type_of("column" encrypt.regcolumn) returns oid
    language sql stable strict parallel safe set search_path = pg_catalog, pg_temp as
$$
    select encrypt._base_type(a.atttypid) from pg_attribute a
    where a.attrelid = encrypt._table_of("column") and a.attnum = encrypt._number_of("column")
$$;
comment on function encrypt._type_of(encrypt.regcolumn) is 'the type of a column, without domains';

create function encrypt.unregister_column(target regclass, value_column name) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    perform encrypt._require_owner(target);
    delete from encrypt.columns c where c.value_column = encrypt._column_named(target, unregister_column.value_column);
    if not found then
        raise exception using errcode = 'undefined_object',
            message = format('column "%s" of table %s is not registered', value_column, target);
    end if;
end
$$;
comment on function encrypt.unregister_column(regclass, name) is
    'forgets a registered column; its values stay as they are';

-- why: what is registered is re-encrypted and indexed under a key without the table's owner having a grant for it
revoke all on function
    encrypt.register_column(regclass, name, name, text, text, text, integer, name),
    encrypt.unregister_column(regclass, name),
    encrypt._column_named(regclass, name),
    encrypt._type_of(encrypt.regcolumn),
    encrypt._require_owner(regclass)
from public;

create function encrypt._forget_dropped_columns() returns event_trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off as
$$
declare
    dropped record;
    bound encrypt.columns;
begin
    for dropped in
        select d.objid, d.objsubid, d.object_identity from pg_event_trigger_dropped_objects() d
        where d.classid = 'pg_class'::regclass and d.object_type in ('table', 'table column')
    loop
        delete from encrypt.columns c
        where encrypt._table_of(c.value_column) = dropped.objid
          and dropped.objsubid in (0, encrypt._number_of(c.value_column));
        update encrypt.columns c set index_column = null
        where encrypt._table_of(c.index_column) = dropped.objid and dropped.objsubid = encrypt._number_of(c.index_column);
        select * into bound from encrypt.columns c
        where encrypt._table_of(c.row_id_column) = dropped.objid and dropped.objsubid = encrypt._number_of(c.row_id_column);
        if found then
            -- Without it the values could not be read again.
            raise exception using errcode = 'dependent_objects_still_exist',
                message = format('cannot drop column %s because values of column %s are bound to it',
                                 dropped.object_identity, bound.value_column);
        end if;
    end loop;
end
$$;
comment on function encrypt._forget_dropped_columns() is 'removes dropped columns from the registry';
-- why: event trigger functions are called by event triggers only
revoke all on function encrypt._forget_dropped_columns() from public;

create event trigger pg_encrypt_dropped_columns on sql_drop
    execute function encrypt._forget_dropped_columns();
alter event trigger pg_encrypt_dropped_columns enable always;
comment on event trigger pg_encrypt_dropped_columns is 'keeps encrypt.columns in step with DROP TABLE and DROP COLUMN';
