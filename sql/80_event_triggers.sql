-- What keeps the order of plaintexts off the disk, and the registry in step with the catalog.
--
-- They run after every DDL statement, so they never compile their few lookups: jit = off.

-- The default btree class of an encrypted type sorts by decrypting. An index on it, or range partitioning by it, would
-- store that order, which tells much of the values; so would a hash of a value that has no token.
create function encrypt._refuse_plaintext_order() returns event_trigger
    language plpgsql set search_path = pg_catalog, pg_temp set jit = off as
$$
declare
    found record;
begin
    select c.oid::regclass as index, t.type_oid, t.index_key_id is not null as searchable, m.amname
    into found
    from pg_event_trigger_ddl_commands() d
    join pg_index i on d.classid = 'pg_class'::regclass and d.objid in (i.indexrelid, i.indrelid)
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam
    cross join unnest(i.indclass::oid[]) as used (class)
    join pg_opclass o on o.oid = used.class and o.opcdefault
    join encrypt.types t on t.type_oid = o.opcintype
    where m.amname <> 'hash' or t.index_key_id is null
    limit 1;
    if found.index is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('index "%s" would store the order of plaintexts of type %s', found.index, found.type_oid),
            hint = case when found.searchable
                then format('Use the operator class %s_ops: create unique index ... (column %s_ops).',
                            found.type_oid, found.type_oid)
                else 'Make the type searchable: encrypt.create_type(..., searchable => true).' end;
    end if;

    select c.oid::regclass as partitioned, t.type_oid
    into found
    from pg_event_trigger_ddl_commands() d
    join pg_partitioned_table p on d.classid = 'pg_class'::regclass and d.objid = p.partrelid
    join pg_class c on c.oid = p.partrelid
    cross join unnest(p.partclass::oid[]) as used (class)
    join pg_opclass o on o.oid = used.class
    join encrypt.types t on t.type_oid = o.opcintype
    limit 1;
    if found.partitioned is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('table "%s" can''t be partitioned by a column of type %s',
                             found.partitioned, found.type_oid),
            hint = 'Partition by another column.';
    end if;

    -- Most common values of several columns are stored sorted, by the default class.
    select x.oid::regclass as relation, t.type_oid
    into found
    from pg_event_trigger_ddl_commands() d
    join pg_statistic_ext e on d.classid = 'pg_statistic_ext'::regclass and d.objid = e.oid
    join pg_class x on x.oid = e.stxrelid
    join pg_attribute a on a.attrelid = e.stxrelid and a.attnum = any (e.stxkeys::int2[])
    join encrypt.types t on t.type_oid = a.atttypid
    limit 1;
    if found.relation is not null then
        raise exception using
            errcode = 'feature_not_supported',
            message = format('extended statistics on table "%s" would store the order of plaintexts of type %s',
                             found.relation, found.type_oid),
            hint = 'Leave the encrypted column out.';
    end if;
end
$$;
comment on function encrypt._refuse_plaintext_order() is
    'refuses indexes and partitioning that would store the order of plaintexts';

create function encrypt._forget_dropped_types() returns event_trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off as
$$
begin
    delete from encrypt.types t
    using pg_event_trigger_dropped_objects() d
    where d.classid = 'pg_type'::regclass and t.type_oid = d.objid;
end
$$;
comment on function encrypt._forget_dropped_types() is 'removes dropped types from the registry';

-- In C, because plpgsql does not see which objects a statement is about, nor CASCADE; and before the statement, because
-- after it this function is gone.
create function encrypt._guard_drop() returns event_trigger
    language c set search_path = pg_catalog, pg_temp as 'MODULE_PATHNAME', 'guard_drop';
comment on function encrypt._guard_drop() is
    'refuses to drop the extension together with encrypted data, unless pg_encrypt.allow_drop is on';

-- why: event trigger functions are called by event triggers only
revoke all on function encrypt._refuse_plaintext_order() from public;
revoke all on function encrypt._forget_dropped_types() from public;
revoke all on function encrypt._guard_drop() from public;

create event trigger pg_encrypt_plaintext_order on ddl_command_end
    execute function encrypt._refuse_plaintext_order();
create event trigger pg_encrypt_dropped_types on sql_drop
    execute function encrypt._forget_dropped_types();
create event trigger pg_encrypt_drop on ddl_command_start when tag in ('DROP EXTENSION', 'DROP OWNED')
    execute function encrypt._guard_drop();
alter event trigger pg_encrypt_plaintext_order enable always;
alter event trigger pg_encrypt_dropped_types enable always;
alter event trigger pg_encrypt_drop enable always;

comment on event trigger pg_encrypt_plaintext_order is 'no index in the order of plaintexts';
comment on event trigger pg_encrypt_dropped_types is 'keeps encrypt.types in step with DROP TYPE';
comment on event trigger pg_encrypt_drop is 'no DROP EXTENSION ... CASCADE with encrypted data';
