-- Installing, checking and removing the triggers of dual write.

-- The triggers of a table of a migration, as they have to be while it is the live one: `T_encrypt_insert` and so on, on both tables.
-- Statement triggers fire for the application; the row trigger where those don't: in apply workers of logical replication and under
-- session_replication_role = replica. So it is one of the two, always. Those of the shadow are disabled: an exchange, for which
-- everybody waits, has to switch them only.
create function encrypt._sync_triggers(relation regclass, live regclass)
    returns table (name name, enabled "char", found "char", definition text)
    language plpgsql stable rows 5 set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select coalesce(t.tgname, n.name), w.enabled, t.tgenabled,
           format('create trigger %I after %s on %s %s for each %s execute function %s', n.name, w.events, relation, w.referencing,
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
    join pg_class c on c.oid = live
    cross join lateral (select encrypt._suffixed(c.relname, '_encrypt_' || w.suffix) as name offset 0) as n
    left join pg_trigger t on t.tgrelid = relation and t.tgfoid = w.function and t.tgtype = w.type
         and t.tgqual is null and t.tgattr = ''::int2vector
         and t.tgoldtable is not distinct from w.old_table and t.tgnewtable is not distinct from w.new_table
    -- A row trigger of a partitioned table would be copied to its partitions, which have their own.
    where w.suffix <> 'apply' or c.relkind = 'r';
end
$$;
comment on function encrypt._sync_triggers(regclass, regclass) is
    'triggers of dual write that a table has to have, and how they are enabled; found: null if there is none';

-- The statement that enables or disables those that are not as they should be; null if all are.
create function encrypt._sync_switch(relation regclass, live regclass, is_live boolean) returns text
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return (
        select format('alter table only %s %s', relation, string_agg(
                   case s.state when 'D' then 'disable' when 'A' then 'enable always' when 'R' then 'enable replica' else 'enable' end
                   || format(' trigger %I', w.name), ', '))
        from encrypt._sync_triggers(relation, live) w
        cross join lateral (select case when is_live then w.enabled else 'D' end) as s (state)
        where w.found is distinct from s.state
        having count(*) > 0);
end
$$;
comment on function encrypt._sync_switch(regclass, regclass, boolean) is 'statement that makes a table''s triggers fire, or not';

-- Idempotent. All statements at once: somebody waits for them.
create function encrypt._set_sync_triggers(relation regclass, live regclass, is_live boolean) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
declare
    missing constant text := (select string_agg(w.definition, '; ') from encrypt._sync_triggers(relation, live) w where w.found is null);
    statements constant text := concat_ws('; ', missing, encrypt._sync_switch(relation, live, is_live));
begin
    if statements <> '' then
        perform encrypt._execute_as_owner(relation, statements);
    end if;
end
$$;
comment on function encrypt._set_sync_triggers(regclass, regclass, boolean) is
    'makes the triggers of dual write on one table, where they are missing, and lets them fire or not';

create function encrypt._drop_sync_triggers(relation regclass) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set pg_encrypt.own_ddl = on as
$$
declare
    statements constant text := (
        select string_agg(format('drop trigger %I on %s', t.tgname, relation), '; ') from pg_trigger t
        where t.tgrelid = relation and not t.tgisinternal
            and t.tgfoid in ('encrypt.encrypt_and_sync_row()'::regprocedure, 'encrypt.delete_encrypted_row()'::regprocedure));
begin
    if statements is not null then
        perform encrypt._execute_as_owner(relation, statements);
    end if;
end
$$;
comment on function encrypt._drop_sync_triggers(regclass) is 'drops the triggers of dual write from one table';

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

-- Only when no statement mentions it any more.
create function encrypt._drop_tombstones(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    dropped regclass;
begin
    select m.tombstones into dropped from encrypt.migrations m join pg_class c on c.oid = m.tombstones where m.migration_id = migration;
    if found then
        perform encrypt._execute_as_owner(dropped, format('drop table %s', dropped));
    end if;
    update encrypt.migrations m set tombstones = null where m.migration_id = migration and m.tombstones is not null;
end
$$;
comment on function encrypt._drop_tombstones(integer) is 'drops the table of deleted keys, if there is one';

-- Of the tables themselves: partitions count columns in their own way, and follow their parents.
create function encrypt._column_pairs(migration integer) returns setof encrypt.column_pairs
    language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
begin
    return query
    select m.migration_id, encrypt._column(r.plain, p.number), encrypt._column(r.encrypted, e.number)
    from encrypt.migrations m
    join encrypt.migration_relations r on r.migration_id = m.migration_id and m.live in (r.plain, r.encrypted)
    cross join lateral encrypt._counterparts(migration, array[r.plain]) p
    join lateral encrypt._counterparts(migration, array[r.encrypted]) e on e.counterpart = p.counterpart
    where m.migration_id = migration;
end
$$;
comment on function encrypt._column_pairs(integer) is 'columns that the tables of a migration have in common, by name';

-- Begins dual write from migrations.live to migrations.shadow, whichever of them is encrypted. As for what follows, the caller holds a
-- lock on the live table that no statement of dual write is under (SHARE ROW EXCLUSIVE): whoever still has older statements in mind
-- runs them before or learns of the newer ones when it gets its own lock.
create function encrypt._install_sync(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    perform encrypt._make_tombstones(migration);
    perform encrypt._set_sync_triggers(p.live, p.live, true) from encrypt._migration_pairs(migration) p;
    insert into encrypt.column_pairs select * from encrypt._column_pairs(migration);
    update encrypt.migrations m set home = encrypt._home(m.live) where m.migration_id = migration;
    -- Last: the event triggers take a migration that has statements for one whose triggers are there (89_migration_j_guard.sql).
    insert into encrypt.sync_statements select * from encrypt._sync_statements(migration);
end
$$;
comment on function encrypt._install_sync(integer) is 'begins dual write';

-- Also mends what somebody did to them: they are of no use before an exchange, so nothing is lost.
create function encrypt._set_shadow_triggers(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    perform encrypt._set_sync_triggers(p.shadow, p.live, false) from encrypt._present_pairs(migration) p;
end
$$;
comment on function encrypt._set_shadow_triggers(integer) is 'makes the disabled triggers of the tables that are kept in step';

-- Those of the shadow go with it.
create function encrypt._remove_sync(migration integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
begin
    -- First, as it was last.
    delete from encrypt.sync_statements s where s.migration_id = migration;
    delete from encrypt.column_pairs p where p.migration_id = migration;
    perform encrypt._drop_sync_triggers(p.live) from encrypt._migration_pairs(migration) p;
    perform encrypt._drop_tombstones(migration);
end
$$;
comment on function encrypt._remove_sync(integer) is 'ends dual write';

create function encrypt._lost_triggers(migration integer) returns table (relation regclass, name name)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
#variable_conflict use_column
begin
    return query
    select p.live, w.name
    from encrypt._migration_pairs(migration) p
    join pg_class c on c.oid = p.live
    cross join lateral encrypt._sync_triggers(p.live, p.live) w
    where w.found is distinct from w.enabled
    order by p.live::oid, w.name;
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
    encrypt._sync_texts(encrypt.migrations, regclass, regclass, text, text, text[]),
    encrypt._has_deferrable(regclass),
    encrypt._stale_conditions(encrypt.migrations, regclass, regclass, boolean),
    encrypt._identity_columns(regclass, name[]),
    encrypt._sync_statements(integer, encrypt._relation_name[]),
    encrypt._drop_sync_triggers(regclass),
    encrypt._set_sync_triggers(regclass, regclass, boolean),
    encrypt._set_shadow_triggers(integer),
    encrypt._sync_switch(regclass, regclass, boolean),
    encrypt._sync_triggers(regclass, regclass),
    encrypt._remove_sync(integer),
    encrypt._make_tombstones(integer),
    encrypt._column_pairs(integer),
    encrypt._drop_tombstones(integer),
    encrypt._install_sync(integer),
    encrypt._lost_triggers(integer),
    encrypt._check_sync(integer)
from public;
