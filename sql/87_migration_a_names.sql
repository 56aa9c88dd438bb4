-- Migration, planning: what all its parts need. Statements in the name of a table's owner, names, the tree of a table.
--
-- start_migration repeats a table's definition. Each question has a file: what is refused (checks), which types the
-- columns get (columns), and how tables, indexes, statistics and privileges are made again (shadow, indexes, security).

create function encrypt._execute_as(role regrole, statement text) returns void
    language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'execute_as';
comment on function encrypt._execute_as(regrole, text) is 'runs statements with the rights of a role, security-restricted';
-- why: it is any role's rights
revoke all on function encrypt._execute_as(regrole, text) from public;

create function encrypt._execute_as_owner(relation regclass, statement text) returns void
    language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as
$$
begin
    perform encrypt._execute_as(c.relowner::regrole, statement) from pg_class c where c.oid = relation;
end
$$;
comment on function encrypt._execute_as_owner(regclass, text) is 'runs statements with the rights of a table''s owner';
-- why: it is any owner's rights
revoke all on function encrypt._execute_as_owner(regclass, text) from public;

-- PostgreSQL shortens names that are too long without a word, which would make two of them equal. Here the suffix is kept. By
-- characters, as a name must not end within one.
create function encrypt._suffixed(name text, suffix text, bytes integer default 63) returns name
    language plpgsql immutable set search_path = pg_catalog, pg_temp as
$$
begin
    while octet_length(name) + octet_length(suffix) > bytes loop
        name := left(name, -1);
    end loop;
    return name || suffix;
end
$$;
comment on function encrypt._suffixed(text, text, integer) is 'a name with a suffix, shortened to fit';

create function encrypt._free_name(name text, suffix text, namespace oid, bytes integer default 63, taken name[] default '{}')
    returns name
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    candidate name := encrypt._suffixed(name, suffix, bytes);
    number integer := 0;
begin
    loop
        exit when candidate <> all (taken)
              and not exists (select from pg_class c where c.relnamespace = namespace and c.relname = candidate)
              and not exists (select from pg_type t where t.typnamespace = namespace and t.typname = candidate)
              and not exists (select from pg_statistic_ext s where s.stxnamespace = namespace and s.stxname = candidate);
        number := number + 1;
        candidate := encrypt._suffixed(name, suffix || '_' || number, bytes);
    end loop;
    return candidate;
end
$$;
comment on function encrypt._free_name(text, text, oid, integer, name[]) is
    'the name with the suffix, shortened to fit and numbered to be free in the schema, and none of those taken';

-- A table, and its partitions if it has any: parents before their partitions.
create function encrypt._tree(root regclass) returns table (relation regclass, parent regclass, level integer)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    with recursive tree (relation, parent, level) as (
        select root::oid, null::oid, 0
        union all
        select i.inhrelid, i.inhparent, t.level + 1
        from tree t
        join pg_class c on c.oid = t.relation and c.relkind = 'p'
        join pg_inherits i on i.inhparent = t.relation
    )
    select t.relation::regclass, t.parent::regclass, t.level from tree t order by t.level, t.relation
$$;
comment on function encrypt._tree(regclass) is 'a table and its partitions at all levels';

-- Columns are found by name: partitions count them differently.
create function encrypt._column_numbers(relation regclass, columns name[]) returns int2[]
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(a.attnum order by a.attnum), '{}')
    from pg_attribute a
    where a.attrelid = relation and a.attname = any (columns) and a.attnum > 0 and not a.attisdropped
$$;
comment on function encrypt._column_numbers(regclass, name[]) is 'numbers of columns, given by name';

-- From the tree itself: pg_depend doesn't tell an index's expressions from its plain columns, and its text may hold the
-- name of a column for other reasons. Column 0 is the whole row.
create function encrypt._expression_uses(expression pg_node_tree, numbers int2[]) returns boolean
    language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select exists (select from regexp_matches(expression::text, ':varattno (\d+)', 'g') as found (number)
                   where found.number[1]::int2 = any (numbers || 0::int2))
$$;
comment on function encrypt._expression_uses(pg_node_tree, int2[]) is
    'whether an expression over one table uses one of its columns, or the whole row';

-- Lock waits of ours are short, since everyone queues behind them. In between, those who queued get their turn.
create function encrypt._lock_table(target regclass, mode text, wait interval, attempts integer) returns void
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    before constant text := current_setting('lock_timeout');
    deadlock_before text := current_setting('deadlock_timeout');
    holders text;
begin
    for attempt in 1 .. attempts loop
        begin
            perform set_config('lock_timeout', greatest(1, (extract(epoch from wait) * 1000)::integer)::text, true);
            -- The caller has a weaker lock already. Somebody who waits for that one, to truncate the table, and for whom we
            -- would wait is in a deadlock with us: ours has to be the statement that ends, and not the application's.
            perform set_config('deadlock_timeout', '10ms', true);
            execute format('lock table %s in %s mode', target, mode);
            perform set_config('lock_timeout', before, true);
            perform set_config('deadlock_timeout', deadlock_before, true);
            return;
        exception when lock_not_available or deadlock_detected then
            if attempt = attempts or sqlstate = '40P01' then
                -- Queries are not shown: they may hold values.
                select string_agg(format('process %s of role %s, in a transaction since %s', b.pid, b.usename,
                                         b.xact_start::timestamptz(0)), E'\n' order by b.pid)
                into holders
                from (select distinct a.pid, a.usename, a.xact_start
                      from pg_locks l join pg_stat_activity a on a.pid = l.pid
                      where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
                        and l.database = (select d.oid from pg_database d where d.datname = current_database())
                        and l.relation in (select t.relation from encrypt._tree(target) t)
                        and l.mode <> 'AccessShareLock' and l.mode <> 'RowShareLock') as b;
                raise exception using
                    errcode = 'lock_not_available',
                    message = format('table %s could not be locked in %s attempts of %s', target, attempt, wait),
                    detail = holders,
                    hint = 'Wait until those transactions have ended, and try again.';
            end if;
            -- At random, so that we don't meet a periodic job each time.
            perform pg_sleep(least(2, 0.1 * attempt) * (0.5 + random()));
        end;
    end loop;
end
$$;
comment on function encrypt._lock_table(regclass, text, interval, integer) is
    'locks a table and its partitions, in attempts that let others pass in between';

-- why: parts of start_migration
revoke all on function encrypt._suffixed(text, text, integer) from public;
revoke all on function encrypt._free_name(text, text, oid, integer, name[]) from public;
revoke all on function encrypt._tree(regclass) from public;
revoke all on function encrypt._column_numbers(regclass, name[]) from public;
revoke all on function encrypt._expression_uses(pg_node_tree, int2[]) from public;
revoke all on function encrypt._lock_table(regclass, text, interval, integer) from public;
