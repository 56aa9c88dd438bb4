-- Installing, checking and removing the triggers of dual write.

-- `T_encrypt_insert`, shortened in T if that is too long.
create function encrypt._sync_trigger_name(relation regclass, suffix text) returns name
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select (left(c.relname::text, n) || '_encrypt_' || suffix)::name
    from pg_class c, generate_series(length(c.relname::text), 1, -1) as n
    where c.oid = relation and octet_length(left(c.relname::text, n) || '_encrypt_' || suffix) <= 63
    order by n desc
    limit 1;
end;
comment on function encrypt._sync_trigger_name(regclass, text) is 'name of a trigger of dual write';

-- Which triggers a live table has to have. Statement triggers fire for the application; the row trigger where those don't:
-- in apply workers of logical replication and under session_replication_role = replica. So it is one of the two, always.
create function encrypt._sync_triggers(relation regclass)
    returns table (name name, type integer, enabled "char", function regprocedure, old_table name, new_table name,
                   definition text)
    language sql stable set search_path = pg_catalog, pg_temp
begin atomic
    select encrypt._sync_trigger_name(relation, w.suffix), w.type, w.enabled, w.function, w.old_table, w.new_table,
           format('create trigger %I after %s on %s %s for each %s execute function %s',
                  encrypt._sync_trigger_name(relation, w.suffix), w.events, relation, w.referencing,
                  case w.type & 1 when 1 then 'row' else 'statement' end, w.function)
    from (values
        ('insert', 4, 'O'::"char", 'encrypt.encrypt_and_sync_row()'::regprocedure, null::name, 'encrypt_new'::name,
            'insert', 'referencing new table as encrypt_new'),
        ('update', 16, 'O', 'encrypt.encrypt_and_sync_row()', 'encrypt_old', 'encrypt_new',
            'update', 'referencing old table as encrypt_old new table as encrypt_new'),
        ('delete', 8, 'O', 'encrypt.delete_encrypted_row()', 'encrypt_old', null,
            'delete', 'referencing old table as encrypt_old'),
        ('truncate', 32, 'A', 'encrypt.delete_encrypted_row()', null, null, 'truncate', ''),
        ('apply', 29, 'R', 'encrypt.encrypt_and_sync_row()', null, null, 'insert or update or delete', '')
    ) w (suffix, type, enabled, function, old_table, new_table, events, referencing)
    -- A row trigger of a partitioned table would be copied to its partitions, which have their own.
    where w.suffix <> 'apply' or exists (select from pg_class c where c.oid = relation and c.relkind = 'r');
end;
comment on function encrypt._sync_triggers(regclass) is 'triggers that a live table has to have';

create function encrypt._make_sync_triggers(relation regclass) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    wanted record;
begin
    for wanted in select * from encrypt._sync_triggers(relation) loop
        perform encrypt._execute_as_owner(relation, wanted.definition);
        if wanted.enabled <> 'O' then
            perform encrypt._execute_as_owner(relation, format('alter table only %s enable %s trigger %I', relation,
                case wanted.enabled when 'A' then 'always' else 'replica' end, wanted.name));
        end if;
    end loop;
end
$$;
comment on function encrypt._make_sync_triggers(regclass) is 'makes the triggers of dual write on one table';

create function encrypt._drop_sync_triggers(relation regclass) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found record;
begin
    for found in
        select t.tgname from pg_trigger t
        where t.tgrelid = relation and not t.tgisinternal
            and t.tgfoid in ('encrypt.encrypt_and_sync_row()'::regprocedure, 'encrypt.delete_encrypted_row()'::regprocedure)
    loop
        perform encrypt._execute_as_owner(relation, format('drop trigger %I on %s', found.tgname, relation));
    end loop;
end
$$;
comment on function encrypt._drop_sync_triggers(regclass) is 'drops the triggers of dual write from one table';

-- On both sides, so that it serves cutover and rollback too. The caller holds a lock on the live table that no statement
-- of dual write is under (SHARE ROW EXCLUSIVE): whoever still has older statements in mind runs them before or learns of
-- the newer ones when it gets its own lock.
create function encrypt._remove_sync(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    found record;
begin
    -- First: the event triggers take a migration that has statements for one whose triggers are there (89_migration_j_guard.sql).
    delete from encrypt.sync_statements s where s.migration_id = migration;
    delete from encrypt.column_pairs p where p.migration_id = migration;
    for found in
        select x.relation
        from encrypt.migration_relations r cross join lateral unnest(array[r.plain, r.encrypted]) as x (relation)
        where r.migration_id = migration
    loop
        perform encrypt._drop_sync_triggers(found.relation);
    end loop;
    -- Only now: older statements write to it.
    select m.tombstones as relation into found from encrypt.migrations m
    join pg_class c on c.oid = m.tombstones where m.migration_id = migration;
    if found.relation is not null then
        perform encrypt._execute_as_owner(found.relation, format('drop table %s', found.relation));
    end if;
    update encrypt.migrations m set tombstones = null where m.migration_id = migration and m.tombstones is not null;
end
$$;
comment on function encrypt._remove_sync(integer) is 'ends dual write';

-- Keys that were deleted while rows are copied. No index and nothing unique: it is written by every deleter, and read once.
create function encrypt._make_tombstones(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    made text;
    columns text;
begin
    select * into m from encrypt.migrations r where r.migration_id = migration;
    select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))
                      || case when a.attcollation <> t.typcollation
                              then format(' collate %s', a.attcollation::regcollation) else '' end, ', ' order by k.n)
    into columns
    from unnest(m.key_columns) with ordinality as k (name, n)
    join pg_attribute a on a.attrelid = m.live and a.attname = k.name
    join pg_type t on t.oid = a.atttypid;
    select format('%I.%I', m.table_schema, encrypt._free_name(m.table_name, '_encrypted_deleted', c.relnamespace)) into made
    from pg_class c where c.oid = m.live;
    perform encrypt._execute_as_owner(m.live, format('create table %s (%s)', made, columns));
    perform encrypt._execute_as_owner(m.live, format('comment on table %s is %L', made,
        format('keys deleted from %s while its rows are copied to its encrypted counterpart', m.live)));
    update encrypt.migrations r set tombstones = made::regclass where r.migration_id = migration;
end
$$;
comment on function encrypt._make_tombstones(integer) is 'makes the table of deleted keys';

-- Of the tables themselves: partitions count columns in their own way, and follow their parents.
create function encrypt._column_pairs(migration integer) returns setof encrypt.column_pairs
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return query
    select m.migration_id, encrypt._column(r.plain, p.number), encrypt._column(r.encrypted, e.number)
    from encrypt.migrations m
    join encrypt.migration_relations r on r.migration_id = m.migration_id and m.live in (r.plain, r.encrypted)
    join encrypt._counterparts(migration) p on p.relation = r.plain
    join encrypt._counterparts(migration) e on e.relation = r.encrypted and e.counterpart = p.counterpart
    where m.migration_id = migration;
end
$$;
comment on function encrypt._column_pairs(integer) is 'columns that the tables of a migration have in common, by name';

-- Begins dual write from migrations.live to migrations.shadow, whichever of them is encrypted.
create function encrypt._install_sync(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    relation regclass;
begin
    perform encrypt._remove_sync(migration);
    if exists (select from encrypt.migrations m where m.migration_id = migration and m.phase = 'dual_writing') then
        perform encrypt._make_tombstones(migration);
    end if;
    for relation in select p.live from encrypt._migration_pairs(migration) p loop
        perform encrypt._make_sync_triggers(relation);
    end loop;
    insert into encrypt.column_pairs select * from encrypt._column_pairs(migration);
    update encrypt.migrations m set home = encrypt._home(m.live) where m.migration_id = migration;
    insert into encrypt.sync_statements select * from encrypt._sync_statements(migration);
end
$$;
comment on function encrypt._install_sync(integer) is 'begins dual write in the direction that the migration has now';

create function encrypt._lost_triggers(migration integer) returns table (relation regclass, name name)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select r.relation, w.name
    from (select p.live as relation from encrypt._migration_pairs(migration) p) r
    join pg_class c on c.oid = r.relation
    cross join lateral encrypt._sync_triggers(r.relation) w
    where not exists (
        select from pg_trigger t
        where t.tgrelid = r.relation and t.tgfoid = w.function and t.tgtype = w.type and t.tgenabled = w.enabled
            and t.tgqual is null and t.tgattr = ''::int2vector
            and t.tgoldtable is not distinct from w.old_table and t.tgnewtable is not distinct from w.new_table)
    order by r.relation::oid, w.type;
end
$$;
comment on function encrypt._lost_triggers(integer) is 'triggers of dual write that are missing, disabled or changed';

-- Raises unless dual write is as it was installed. A trigger that was off for a moment lost writes, and nothing but a new
-- backfill and verification would find them.
create function encrypt._check_sync(migration integer) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    lost record;
    -- The way back would lose writes, so after cutover it is closed.
    is_cut_over boolean := exists (select from encrypt.migrations m where m.migration_id = migration and m.phase = 'cut_over');
begin
    -- The application's statements fail from then on, so the way out has to be an open one.
    select r.plain::oid, r.encrypted::oid into lost
    from encrypt.migration_relations r
    where r.migration_id = migration
      and (not exists (select from pg_class c where c.oid = r.plain) or not exists (select from pg_class c where c.oid = r.encrypted))
    limit 1;
    if found then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('a table of migration %s was dropped', migration),
            detail = 'Dual write needs both the table and its counterpart.',
            hint = format(case when is_cut_over then 'Run: call encrypt.finalize_migration(%s);'
                          else 'Run: call encrypt.rollback_migration(%s);' end, migration);
    end if;
    select w.relation, w.name into lost from encrypt._lost_triggers(migration) w limit 1;
    if lost.name is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('trigger "%s" of table %s is missing, disabled or changed', lost.name, lost.relation),
            detail = 'Writes since then may be missing from its shadow.',
            hint = format(case when is_cut_over then 'Keep the encrypted table: call encrypt.finalize_migration(%s);'
                          else 'Start anew: call encrypt.rollback_migration(%s);' end, migration);
    end if;
    select coalesce(w.relation, s.relation) as relation into lost
    from encrypt._sync_statements(migration) w
    full join (select * from encrypt.sync_statements x where x.migration_id = migration) s
        on s.relation = w.relation and s.event = w.event and s.level = w.level
    where s is distinct from w
    limit 1;
    if lost.relation is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('table %s was altered since dual write began', lost.relation),
            detail = 'Its columns, key or unique indexes are not those that its triggers were made for.',
            hint = format(case when is_cut_over then 'Undo that, or keep the encrypted table: call encrypt.finalize_migration(%s);'
                          else 'Start anew: call encrypt.rollback_migration(%s);' end, migration);
    end if;
end
$$;
comment on function encrypt._check_sync(integer) is 'raises unless the triggers of a migration are intact';

-- why: they install what runs in the sessions of all writers
revoke all on function
    encrypt._index_equality(oid, integer),
    encrypt._index_columns(oid),
    encrypt._key_index(regclass, name[]),
    encrypt._key_condition(regclass, name[], text, text),
    encrypt._sync_columns(integer, regclass, regclass),
    encrypt._sync_value(boolean, text, encrypt._sync_column),
    encrypt._plain_value(text, name, encrypt._sync_column),
    encrypt._token_of_plain(text, text, encrypt._sync_column),
    encrypt._index_comparison(text, text, encrypt._sync_column),
    encrypt._token_comparison(text, text, regtype, regtype),
    encrypt._sync_texts(encrypt.migrations, regclass, regclass, text[]),
    encrypt._stale_conditions(encrypt.migrations, regclass, regclass, boolean),
    encrypt._identity_columns(regclass, name[]),
    encrypt._sync_statements(integer),
    encrypt._drop_sync_triggers(regclass),
    encrypt._make_sync_triggers(regclass),
    encrypt._sync_trigger_name(regclass, text),
    encrypt._sync_triggers(regclass),
    encrypt._remove_sync(integer),
    encrypt._make_tombstones(integer),
    encrypt._column_pairs(integer),
    encrypt._install_sync(integer),
    encrypt._lost_triggers(integer),
    encrypt._check_sync(integer)
from public;
