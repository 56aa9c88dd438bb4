-- Migration, planning: constraints and indexes on columns to encrypt. Which can be made again, in the order of tokens.

create function encrypt._constraint_refusals(target regclass, columns name[], search name[], options jsonb)
    returns table (reason text, remedy text)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    with used as (
        select r.relation, k.*, encrypt._column_numbers(r.relation, columns) as numbers
        from encrypt._tree(target) r join pg_constraint k on k.conrelid = r.relation
        where k.conkey && encrypt._column_numbers(r.relation, columns)
           or encrypt._expression_uses(k.conbin, encrypt._column_numbers(r.relation, columns))
    )
    select format('check %I of %s would have to decrypt', u.conname, u.relation),
           'Give the option {"checks": "keep"}, if all who write may decrypt, or {"checks": "drop"}.'
    from used u
    where u.contype = 'c' and u.coninhcount = 0 and coalesce(options ->> 'checks', '') not in ('keep', 'drop')
    union all
    select format('exclusion constraint %I of %s uses a column to encrypt', u.conname, u.relation),
           format('alter table %s drop constraint %I;', u.relation, u.conname)
    from used u where u.contype = 'x'
    union all
    select format('foreign key %I of %s uses a column to encrypt', u.conname, u.relation),
           format('alter table %s drop constraint %I;', u.relation, u.conname)
    from used u where u.contype = 'f' and u.conparentid = 0
    union all
    select format('foreign key %I of %s refers to a column to encrypt', k.conname, k.conrelid::regclass),
           format('alter table %s drop constraint %I;', k.conrelid::regclass, k.conname)
    from encrypt._tree(target) r
    join pg_constraint k on k.confrelid = r.relation and k.contype = 'f' and k.conparentid = 0
    where k.confkey && encrypt._column_numbers(r.relation, columns)
    union all
    select format('unique constraint %I of %s is deferrable, and what replaces it can''t be', u.conname, u.relation),
           format('alter table %s drop constraint %I, add constraint %2$I %s;', u.relation, u.conname,
                  regexp_replace(pg_get_constraintdef(u.oid), ' DEFERRABLE( INITIALLY DEFERRED)?$', ''))
    from used u where u.contype = 'u' and u.condeferrable and u.conparentid = 0
    union all
    select format('foreign key %I of %s relies on unique constraint %I, which becomes an index on tokens', k.conname,
                  k.conrelid::regclass, u.conname), format('alter table %s drop constraint %I;', k.conrelid::regclass, k.conname)
    from used u join pg_constraint k on k.conindid = u.conindid and k.contype = 'f' and k.conparentid = 0
    where u.contype = 'u' and not k.confkey && u.numbers
$$;
comment on function encrypt._constraint_refusals(regclass, name[], name[], jsonb) is
    'constraints that columns to encrypt are part of, and that can''t be made again';

-- Of an index on columns to encrypt: why it can''t be made again, or null. Tokens give equality, in btree and hash.
create function encrypt._index_obstacle(index regclass, columns name[], search name[]) returns text
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select case
        when encrypt._expression_uses(i.indexprs, k.numbers) or encrypt._expression_uses(i.indpred, k.numbers)
            then 'has an expression or a predicate on a column to encrypt'
        when k.keys = 0 then null
        when m.amname not in ('btree', 'hash') then format('is of method %s, which does not find encrypted values', m.amname)
        when k.special then 'has an operator class for something else than equality on a column to encrypt'
        when k.unsearched then 'is on a column that is not searched'
    end
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam
    cross join lateral (
        select count(*) filter (where u.position <= i.indnkeyatts) as keys,
               bool_or(u.attname <> all (search)) filter (where u.position <= i.indnkeyatts) as unsearched,
               bool_or(not o.opcdefault) filter (where u.position <= i.indnkeyatts) as special,
               encrypt._column_numbers(i.indrelid, columns) as numbers
        from (select a.attname, n.position, (i.indclass::oid[])[(n.position - 1)::integer] as class
              from unnest(i.indkey::int2[]) with ordinality as n (attnum, position)
              join pg_attribute a on a.attrelid = i.indrelid and a.attnum = n.attnum
              where a.attname = any (columns)) as u
        left join pg_opclass o on o.oid = u.class
    ) as k
    where i.indexrelid = index
$$;
comment on function encrypt._index_obstacle(regclass, name[], name[]) is
    'why an index can''t be made again on encrypted columns; null if it can';

create function encrypt._index_refusals(target regclass, columns name[], search name[], options jsonb)
    returns table (reason text, remedy text)
    language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $$
    select format('%s %s of %s %s', case when i.indisunique then 'unique index' else 'index' end, i.indexrelid::regclass, r.relation, o.obstacle),
           case when o.obstacle like '%not searched' then
                    'Name the column in search' || case when i.indisunique then '.' else
                        ', or give the option {"indexes": "drop"}.' end
                when i.indisunique then format('drop index %s;', i.indexrelid::regclass)
                else 'Give the option {"indexes": "drop"} to do without it.' end
    from encrypt._tree(target) r
    join pg_index i on i.indrelid = r.relation
    cross join lateral encrypt._index_obstacle(i.indexrelid, columns, search) as o (obstacle)
    where o.obstacle is not null
      -- Those of constraints that are refused anyway.
      and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'x'))
      -- Those of partitions go with their parents'.
      and not exists (select from pg_inherits h where h.inhrelid = i.indexrelid)
      -- A unique index is a rule about the data, not only a way to find it.
      and (i.indisunique or coalesce(options ->> 'indexes', '') <> 'drop')
$$;
comment on function encrypt._index_refusals(regclass, name[], name[], jsonb) is
    'indexes on columns to encrypt that can''t be made again';

-- why: parts of start_migration
revoke all on function encrypt._constraint_refusals(regclass, name[], name[], jsonb) from public;
revoke all on function encrypt._index_obstacle(regclass, name[], name[]) from public;
revoke all on function encrypt._index_refusals(regclass, name[], name[], jsonb) from public;
