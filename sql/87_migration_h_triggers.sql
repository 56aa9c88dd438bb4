-- Migration, planning: triggers of the table's users. They move at cutover; here is found out whether they can.

-- With another table in place of its own. PostgreSQL prints the whole statement; all before the table's name is known, so
-- no search for a name that may occur elsewhere in it.
create function encrypt._trigger_definition(trigger oid, relation text) returns text
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    definition constant text := pg_get_triggerdef(trigger);
    head text;
    own text;
begin
    select format('CREATE %sTRIGGER %I %s %s', case when g.tgconstraint <> 0 then 'CONSTRAINT ' else '' end, g.tgname,
                  case when g.tgtype & 66 = 2 then 'BEFORE' when g.tgtype & 66 = 64 then 'INSTEAD OF' else 'AFTER' end,
                  concat_ws(' OR ',
                      case when g.tgtype & 4 <> 0 then 'INSERT' end,
                      case when g.tgtype & 8 <> 0 then 'DELETE' end,
                      case when g.tgtype & 16 <> 0 then 'UPDATE' || coalesce(
                          (select ' OF ' || string_agg(quote_ident(a.attname), ', ' order by k.position)
                           from unnest(g.tgattr::int2[]) with ordinality as k (attnum, position)
                           join pg_attribute a on a.attrelid = g.tgrelid and a.attnum = k.attnum), '') end,
                      case when g.tgtype & 32 <> 0 then 'TRUNCATE' end)) || ' ON ',
           format('%I.%I ', n.nspname, c.relname)
    into head, own
    from pg_trigger g join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace
    where g.oid = trigger;
    if not starts_with(definition, head || own) then
        raise exception using errcode = 'internal_error', message = format('definition of trigger %s is not understood', trigger);
    end if;
    return head || format('%s ', relation) || substr(definition, length(head || own) + 1);
end
$$;
comment on function encrypt._trigger_definition(oid, text) is 'CREATE TRIGGER for a trigger, on another table';

-- Trigger functions in C that are told the name of a column check its type when they are called, as tsvector_update_trigger does:
-- every write of the application would fail. Arguments are kept as bytes, each with a zero at its end.
create function encrypt._unreadable_columns(migration integer) returns table (reason text, remedy text)
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    select format('trigger %I of %s: %s() can''t read column %I once it is encrypted', t.tgname, r.plain, p.oid::regproc, c.column_name),
           format('drop trigger %I on %s;', t.tgname, r.plain)
    from encrypt.migration_relations r
    join encrypt.migration_columns c on c.migration_id = r.migration_id
    join pg_trigger t on t.tgrelid = r.plain and not t.tgisinternal and t.tgparentid = 0
    join pg_proc p on p.oid = t.tgfoid
    join pg_language l on l.oid = p.prolang and l.lanname in ('internal', 'c')
    where r.migration_id = migration
      and encode(convert_to(c.column_name, getdatabaseencoding()), 'escape') = any (string_to_array(encode(t.tgargs, 'escape'), '\000'))
$$;
comment on function encrypt._unreadable_columns(integer) is 'triggers whose functions would refuse the types of encrypted columns';

-- WHEN conditions are parsed with the columns' new types: most go on to work. Each is made and undone, to see it.
create function encrypt._trigger_refusals(migration integer) returns table (reason text, remedy text)
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    g record;
begin
    return query select u.reason, u.remedy from encrypt._unreadable_columns(migration) u;
    for g in
        select t.oid, t.tgname, r.plain, r.encrypted
        from encrypt.migration_relations r
        join pg_trigger t on t.tgrelid = r.plain and not t.tgisinternal and t.tgparentid = 0 and t.tgqual is not null
        where r.migration_id = migration
    loop
        begin
            execute encrypt._trigger_definition(g.oid, g.encrypted::text);
            raise exception using errcode = 'query_canceled', message = 'undone';
        exception
            when query_canceled then
                -- Somebody's cancel request has the same code.
                if sqlerrm <> 'undone' then
                    raise;
                end if;
            when syntax_error_or_access_rule_violation or feature_not_supported then
                reason := format('trigger %I of %s: %s', g.tgname, g.plain, sqlerrm);
                remedy := format('drop trigger %I on %s;', g.tgname, g.plain);
                return next;
        end;
    end loop;
end
$$;
comment on function encrypt._trigger_refusals(integer) is
    'triggers whose conditions have no meaning on encrypted columns, or that would fail on them';

-- why: parts of start_migration
revoke all on function encrypt._trigger_definition(oid, text) from public;
revoke all on function encrypt._unreadable_columns(integer) from public;
revoke all on function encrypt._trigger_refusals(integer) from public;
