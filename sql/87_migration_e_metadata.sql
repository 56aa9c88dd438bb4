-- Metadata per row, for those whose auditors want to see it in columns of the encrypted table (option metadata).
--
-- | column | says | kept by |
-- |---|---|---|
-- | encryption_key_id, encryption_algorithm | of the row's first encrypted value that is not NULL | generated: it can't be wrong, whoever writes |
-- | encrypted_at | when an encrypted value of the row was written last: start of that transaction | default, and a trigger |
-- | migration_status | pending: copied by the backfill, not compared yet; migrated: encrypted by whoever wrote it, in the same transaction, not compared; verified: decrypted, compared with the plaintext, and its encrypted values unchanged since | default, backfill, verification, and the trigger |
--
-- The trigger's condition is evaluated by the executor: an update that leaves encrypted values alone calls no function. It
-- fires for dual write, the application, and re-encryption, whose new values nobody has compared either.

-- What follows the columns of the table, with a comma; empty without the option.
create function encrypt._metadata_definitions(migration integer) returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
    select coalesce((
        select format(
            ', encryption_key_id integer generated always as (coalesce(%s)) stored'
            ', encryption_algorithm text generated always as (coalesce(%s)) stored'
            ', encrypted_at timestamptz not null default now()'
            ', migration_status text not null default ''migrated'''
            -- Named, since partitions must have their parent's.
            ' constraint migration_status_known check (migration_status in (''pending'', ''migrated'', ''verified''))',
            string_agg(format('encrypt._key_id_of(%I)', c.value_column), ', ' order by a.attnum),
            -- The first byte of an envelope is its format; values of encrypted types have but one.
            string_agg(format(
                case c.cipher_type when 'encrypt.ciphertext'::regtype
                    then 'case get_byte(substr((%1$I)::bytea, 1, 1), 0) when 225 then ''XAES-256-GCM'' when 226 then ''AES-256-SIV'' end'
                    else 'case when %1$I is not null then ''XAES-256-GCM'' end' end, c.value_column), ', ' order by a.attnum))
        from encrypt.migrations m
        join encrypt.migration_columns c using (migration_id)
        join pg_attribute a on a.attrelid = m.live and a.attname = c.column_name
        where m.migration_id = migration and (m.options ->> 'metadata')::boolean
        having count(*) > 0), '')
$$;
comment on function encrypt._metadata_definitions(integer) is 'definitions of the columns with metadata';

-- As a function: PostgreSQL prints the operator on two rows so that it is read again as one on each of their columns.
create function encrypt._image_differs(record, record) returns boolean
    language internal immutable strict parallel safe as 'record_image_ne';
comment on function encrypt._image_differs(record, record) is 'whether two rows are stored differently';

create function encrypt._stamp_row() returns trigger
    language plpgsql as
$$
begin
    new.encrypted_at := pg_catalog.now();
    new.migration_status := 'migrated';
    return new;
end
$$;
comment on function encrypt._stamp_row() is 'notes that an encrypted value of a row was written';
-- Anyone may execute it, since a dump is restored by the table's owner; it does what its caller could do.

-- On tables with rows: a partitioned one would give its trigger to partitions, which have their own. Always enabled, since
-- dual write reaches the table under session_replication_role = replica, too.
create function encrypt._make_metadata_trigger(migration integer, plain regclass, made regclass) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    name constant name := encrypt._suffixed((select c.relname from pg_class c where c.oid = made), '_stamp');
    columns text;
begin
    if not exists (select from encrypt.migrations m join pg_class c on c.oid = made and c.relkind = 'r'
                   where m.migration_id = migration and (m.options ->> 'metadata')::boolean) then
        return;
    end if;
    select string_agg(format('%%1$s.%I', replace(c.value_column, '%', '%%')), ', ' order by c.column_name) into columns
    from encrypt.migration_columns c where c.migration_id = migration;
    perform encrypt._execute_as_owner(plain, format(
        'create trigger %I before update on %s for each row when (encrypt._image_differs(row(%s), row(%s)))'
        ' execute function encrypt._stamp_row()', name, made, format(columns, 'old'), format(columns, 'new')));
    perform encrypt._execute_as_owner(plain, format('alter table %s enable always trigger %I', made, name));
end
$$;
comment on function encrypt._make_metadata_trigger(integer, regclass, regclass) is 'makes the trigger that keeps encrypted_at';

-- why: parts of start_migration
revoke all on function
    encrypt._metadata_definitions(integer),
    encrypt._make_metadata_trigger(integer, regclass, regclass)
from public;
