-- Where plaintext can be left after a migration, with a remedy each. What can be looked at is looked at; what can't is said.

create function encrypt._leftovers(target regclass) returns table (place text, detail text, remedy text)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    m encrypt.migrations;
    oldest pg_lsn;
begin
    select * into m from encrypt.migrations r
    where target in (r.live, r.exposed) and r.phase in ('cut_over', 'finalized')
    order by r.migration_id desc limit 1;
    if m.migration_id is null then
        raise exception using errcode = 'undefined_object',
            message = format('table %s has no migration that was cut over', target),
            hint = 'Run: select * from encrypt.migration_progress;';
    end if;

    if m.shadow is not null then
        return query select format('table %s', m.shadow),
            format('%s, kept in step until the migration is finalized', pg_size_pretty(pg_total_relation_size(m.shadow))),
            format('call encrypt.finalize_migration(%s);', m.migration_id);
        return query
        select format('statistics of %s', s.starelid::regclass),
               format('frequent values and histogram of column %I', a.attname),
               format('call encrypt.finalize_migration(%s);', m.migration_id)
        from encrypt.migration_relations r
        join pg_statistic s on s.starelid = r.plain
        join pg_attribute a on a.attrelid = s.starelid and a.attnum = s.staattnum
        join encrypt.migration_columns c on c.migration_id = m.migration_id and c.column_name = a.attname
        where r.migration_id = m.migration_id
        order by a.attname;
    else
        -- What ANALYZE kept of the dropped table is deleted, which leaves the bytes on their pages.
        return query
        select format('table pg_catalog.%I', s.relname),
               format('%s dead rows, which can hold frequent values of dropped tables', s.n_dead_tup),
               format('vacuum full pg_catalog.%I;', s.relname)
        from pg_stat_sys_tables s
        where s.schemaname = 'pg_catalog' and s.relname in ('pg_statistic', 'pg_statistic_ext_data') and s.n_dead_tup > 0;
        return query select 'free blocks of the disk'::text,
            'the files of the dropped table were removed, not overwritten'::text,
            'Discard free blocks (fstrim), or rely on the encryption of the volume.'::text;
    end if;

    -- A materialized view has what it was last refreshed with.
    return query
    with recursive over (relation) as (
        select target::oid
        union
        select r.ev_class from over o
        join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = o.relation
             and d.classid = 'pg_rewrite'::regclass
        join pg_rewrite r on r.oid = d.objid
    )
    select format('materialized view %s', c.oid::regclass), 'what it was filled with before'::text,
           format('refresh materialized view %s;', c.oid::regclass)
    from over o join pg_class c on c.oid = o.relation and c.relkind = 'm';

    if m.clean_from is not null and not pg_is_in_recovery() then
        select min(f.lsn) into oldest
        from pg_ls_waldir() w
        cross join lateral (select encrypt._wal_file_start(w.name)) as f (lsn)
        where w.name ~ '^[0-9A-F]{24}$';
        if oldest < m.clean_from then
            return query select 'write-ahead log of this server'::text,
                format('segments from before %s', m.clean_from),
                'select pg_switch_wal(); checkpoint; -- until they are recycled, twice'::text;
        end if;
        return query
        select format('replication slot %s', quote_ident(s.slot_name)),
               format('keeps the log from %s on, which is before %s', s.restart_lsn, m.clean_from),
               format('Let its consumer catch up, or: select pg_drop_replication_slot(%L);', s.slot_name)
        from pg_replication_slots s where s.restart_lsn < m.clean_from
        order by s.slot_name;
    end if;
    return query
    select format('subscribers of publication %I', p.pubname), 'rows that they received before cutover'::text,
           'Truncate and copy the table there.'::text
    from pg_publication_tables t join pg_publication p on p.pubname = t.pubname
    join pg_namespace n on n.nspname = t.schemaname
    join pg_class c on c.relname = t.tablename and c.relnamespace = n.oid and c.oid = target
    order by p.pubname;
    if current_setting('log_statement') <> 'none' or current_setting('log_min_duration_statement') <> '-1'
       or current_setting('log_min_error_statement') <> 'panic' then
        return query select 'server log'::text,
            'statements with their values: log_statement, log_min_duration_statement or log_min_error_statement log them'::text,
            'Remove logs that are older than the migration, and log less.'::text;
    end if;
    return query select 'backups and archived log'::text,
        case when m.clean_from is null then 'everything until the migration is finalized'
             else format('those that end before %s (%s)', to_char(m.ended_at, 'YYYY-MM-DD HH24:MI:SS TZ'), m.clean_from) end,
        'Take a new base backup, and let the older ones expire.'::text;
    return query select 'elsewhere'::text,
        'copies that other tables, functions, files and applications made can''t be known'::text,
        'Ask who reads the table.'::text;
end
$$;
comment on function encrypt._leftovers(regclass) is 'where plaintext of a migrated table can be left';

-- Timeline, log and segment, eight digits each; a log has 4 GB.
create function encrypt._wal_file_start(file text) returns pg_lsn
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select format('%s/%s', ltrim(substr(file, 9, 8), '0') || case when substr(file, 9, 8) = '00000000' then '0' else '' end,
                  to_hex(('x' || substr(file, 17, 8))::bit(32)::bigint * s.bytes))::pg_lsn
    from (select pg_size_bytes(current_setting('wal_segment_size'))) as s (bytes)
$$;
comment on function encrypt._wal_file_start(text) is 'position at which a segment of the write-ahead log begins';

create function encrypt.leftover_plaintext(target regclass) returns table (place text, detail text, remedy text)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
begin
    if not exists (select from pg_class c
                   where c.oid = target and pg_has_role(encrypt._outer_user(), c.relowner, 'USAGE')) then
        raise exception using errcode = 'insufficient_privilege', message = format('must be owner of table %s', target);
    end if;
    return query select * from encrypt._leftovers(target);
end
$$;
comment on function encrypt.leftover_plaintext(regclass) is 'where plaintext of a migrated table can be left, and what to do about it';

-- why: they look at the whole server for whoever calls them
revoke all on function encrypt._leftovers(regclass) from public;
revoke all on function encrypt._wal_file_start(text) from public;
