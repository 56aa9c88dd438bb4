-- Rotation as work on all rows: values to the active version of their key, tokens to the active version of theirs.

-- Transactions of this database that run now, by their virtual ids, and prepared ones. Each holds a lock on its own id from
-- its first moment to its end. Workers of jobs are left out: what they write is under the active version.
create function encrypt._transactions() returns text[]
    language sql volatile security definer set search_path = pg_catalog, pg_temp as
$$
    select coalesce(array_agg(t.id), '{}') from (
        select l.virtualtransaction from pg_locks l
        join pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'virtualxid' and l.granted and l.virtualxid = l.virtualtransaction
          and a.datname = current_database() and l.pid <> pg_backend_pid()
          and a.backend_type not in ('autovacuum worker', 'parallel worker', 'walsender', 'pg_encrypt worker')
        union all
        select p.gid from pg_prepared_xacts p where p.database = current_database()
    ) as t (id)
$$;
comment on function encrypt._transactions() is 'transactions of this database that run or are prepared now';

-- Whether everything that used a replaced version is committed and visible, or gone.
--
-- Why this is enough. The job was committed after the rotation, and this runs after that. A call that is made from now on
-- finds the new version (see prove_unused in src/api/keys.rs); what may hold the old one is a transaction that runs now, or
-- is prepared. So they are listed once, and waited for by name: later ones don't matter, however many overlap.
--
-- Not by blocking: a job that waits must be seen to wait, and be cancelled and paused like one that works.
create function encrypt._is_settled(job integer) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    this encrypt.jobs;
    awaited text[];
    rest interval;
begin
    select * into this from encrypt.jobs j where j.job_id = job;
    select coalesce(array_agg(t.id), '{}') into awaited from unnest(encrypt._transactions()) as t (id)
    where this.awaits is null or t.id = any (this.awaits);
    update encrypt.jobs j set awaits = awaited,
        last_error = case when awaited <> '{}' then format('waits for the end of transactions: %s',
                                                           array_to_string(awaited, ', ')) end
    where j.job_id = job and j.awaits is distinct from awaited;
    if awaited = '{}' then
        return true;
    end if;
    -- A round that only takes its time: twice as long as the one before, for most transactions are short.
    rest := case when this.awaits is null then interval '10 ms'
                 else least(2 * (clock_timestamp() - this.round_began_at), interval '1 second') end;
    perform encrypt._add_task(job, 'encrypt.keys', 'select ''{0}''::bigint[] where $1 is not null and $2 is not null', null);
    update encrypt.job_chunks c set not_before = clock_timestamp() + rest where c.job_id = job;
    return false;
end
$$;
comment on function encrypt._is_settled(integer) is
    'whether no transaction is left that may have used a replaced version; else adds a round that waits';

-- The tasks stay, for the time when it is resumed.
create function encrypt._fail_job(job integer, why text) returns void
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update encrypt.jobs j set state = 'failed', ended_at = clock_timestamp(), last_error = why where j.job_id = job;
end;
comment on function encrypt._fail_job(integer, text) is 'ends a job that can''t reach its end';

-- What a job can't update, and would try for ever or leave out in silence.
create function encrypt._require_updatable(relation regclass) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    c pg_class;
    bypasses boolean;
begin
    select * into c from pg_class where oid = relation;
    select r.rolsuper or r.rolbypassrls into bypasses from pg_roles r where r.oid = c.relowner;
    if c.relrowsecurity and c.relforcerowsecurity and not bypasses then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('row-level security hides rows of table %s from its owner, as whom they would be changed', relation),
            hint = format('Run, and force it again afterwards: alter table %s no force row level security;', relation);
    end if;
    if exists (select from pg_rewrite r where r.ev_class = relation and r.ev_type = '2' and r.ev_enabled in ('A', 'R')) then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('a rule that is always enabled changes updates of table %s', relation),
            hint = format('Run, with the rule''s name: alter table %s disable rule ...;', relation);
    end if;
    if c.relreplident = 'n'
       or c.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = relation and i.indisprimary) then
        if exists (select from pg_publication p
                   join pg_publication_tables t on t.pubname = p.pubname
                   where p.pubupdate and t.tablename = c.relname
                     and t.schemaname = (select n.nspname from pg_namespace n where n.oid = c.relnamespace)) then
            raise exception using errcode = 'object_not_in_prerequisite_state',
                message = format('table %s is published and has no replica identity, so that it can''t be updated', relation),
                hint = format('Run: alter table %s replica identity full;', relation);
        end if;
    end if;
end
$$;
comment on function encrypt._require_updatable(regclass) is 'refuses tables whose rows a job could not reach';

-- Re-encryption

-- Whether a trigger may undo what a job does to a row, or keep it from it.
create function encrypt._may_undo_updates(relation regclass) returns boolean
    language sql stable security definer set search_path = pg_catalog, pg_temp
-- 1: for each row, 2: before, 16: on update. Others don't fire for a job.
return exists (select from pg_trigger t
               where t.tgrelid = relation and t.tgtype & 19 = 19 and t.tgenabled in ('A', 'R'));
comment on function encrypt._may_undo_updates(regclass) is
    'whether a table has a trigger that fires for jobs and can change what they write';

-- The statement that moves the values of one table. Values under other keys stay as they are: the functions look at the
-- first bytes of each. What is counted is what arrived; that costs a look at each new row, so it is looked only where a
-- trigger could have undone the update. One that is made while the statement is in use is known to the next round's.
create function encrypt._reencryption_statement(relation regclass, key text, key_ids integer[]) returns text
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    select format(case when encrypt._may_undo_updates(_reencryption_statement.relation)
                      then 'with moved as (%1$s returning (%2$s) is not true as done) '
                           'select array[count(*) filter (where done)] from moved'
                      else '%1$s' end,
                  format('update only %s as t set %s where t.ctid >= $1 and t.ctid < $2 and (%s)',
                         _reencryption_statement.relation, moves.assignments, moves.needed),
                  moves.needed)
    from (select string_agg(format('encrypt._is_under(t.%I, %L)', v."column", key_ids), ' or ') as needed,
                 string_agg(format('%1$I = %2$s', v."column",
                                   case v.kind
                                       when 'type' then format('encrypt._reencrypt(t.%I, %L)', v."column", key_ids)
                                       else format('encrypt._reencrypt(t.%I, %L, %L, %s)', v."column", key_ids, v.context,
                                                   coalesce('t.' || quote_ident(v.row_id_column) || '::text', '''''')) end),
                            ', ') as assignments
          from encrypt._value_columns() v
          where v.relation = _reencryption_statement.relation and v.key_name = key and not v.generated) as moves
$$;
comment on function encrypt._reencryption_statement(regclass, text, integer[]) is
    'SQL that re-encrypts the values of a table that are under some versions of a key';

-- Whether a table holds values under some versions, in one snapshot: a row that is updated moves, and takes values that its
-- update does not mention with it, so that batches, one after the other, can miss it for ever. Not by EXISTS: that would be
-- planned for finding a row at once, and mostly there is none; counting is divided among parallel workers.
create function encrypt._holds_values(relation regclass, key text, key_ids integer[]) returns boolean
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    condition text;
begin
    select string_agg(case when encrypt._has_key_id_index(v.relation, v."column")
                           then format('encrypt.key_id(%I) = any ($1)', v."column")
                           else format('encrypt._is_under(%I, $1)', v."column") end, ' or ') into condition
    from encrypt._value_columns() v
    where v.relation = _holds_values.relation and v.key_name = key and not v.generated;
    return (encrypt._count_as_owner(
        relation, format('select array[count(*)] from only %s where %s', relation, condition), key_ids))[1] > 0;
end
$$;
comment on function encrypt._holds_values(regclass, text, integer[]) is
    'whether a table has values under one of some versions of a key';

-- Adds the tasks of the next round: of versions that are compromised as long as there are any, then of all that were
-- replaced. Looks for values first if told to.
create function encrypt._add_reencryption_tasks(job integer, key text, look_first boolean) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    table_with_values regclass;
    key_ids integer[];
    only_compromised boolean;
    added boolean := false;
begin
    foreach only_compromised in array array[true, false] loop
        select array_agg(k.key_id order by k.version) into key_ids from encrypt.keys k
        where k.name = key and k.purpose = 'column' and k.state = 'rotating'
          and (k.compromised_at is not null or not only_compromised);
        continue when key_ids is null;
        for table_with_values in
            select distinct v.relation from encrypt._value_columns() v
            where v.key_name = key and v.relkind = 'r' and not v.generated and pg_relation_size(v.relation) > 0
            order by v.relation
        loop
            perform encrypt._require_updatable(table_with_values);
            if not look_first or encrypt._holds_values(table_with_values, key, key_ids) then
                perform encrypt._add_task(job, table_with_values,
                                          encrypt._reencryption_statement(table_with_values, key, key_ids), key);
                added := true;
            end if;
        end loop;
        exit when added;
    end loop;
    return added;
end
$$;
comment on function encrypt._add_reencryption_tasks(integer, text, boolean) is 'adds the tasks of a round of re-encryption';

create function encrypt.start_reencryption(key text, options jsonb default '{}') returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
    untouched record;
    unregistered text;
begin
    if not exists (select from encrypt.keys k where k.name = key and k.purpose = 'column') then
        raise exception using errcode = 'undefined_object', message = format('key "%s" does not exist', key),
            hint = format('Run: select encrypt.create_key(%L);', key);
    end if;
    job := encrypt._create_job('reencrypt', key, options);
    for untouched in
        select v.place, v.relkind = 'm' as is_view, v.relation from encrypt._value_columns() v
        where v.key_name = key and (v.relkind = 'm' or v.generated)
    loop
        raise notice using
            message = format(case when untouched.is_view then '%s can''t be updated'
                                  else '%s follows the columns that it is generated from' end, untouched.place),
            hint = case when untouched.is_view
                then format('Run afterwards: refresh materialized view %s;', untouched.relation) else '' end;
    end loop;
    select string_agg(v.place, ', ') into unregistered from encrypt._value_columns() v
    where v.key_name is null and v.kind = 'ciphertext';
    if unregistered is not null then
        raise notice using message = format('not registered, and left as they are: %s', unregistered);
    end if;
    perform encrypt._add_reencryption_tasks(job, key, look_first => false);
    return job;
end
$$;
comment on function encrypt.start_reencryption(text, jsonb) is
    'makes a job that re-encrypts every value under earlier versions of a key under its active one: run_job, start_workers';

-- Re-indexing

-- What the statement of one table and the search for old tokens share: registered columns with tokens.
create function encrypt._token_columns(key text) returns table (
    relation regclass, "column" name, index_column name, token text, old_token text
)
    language sql stable security definer set search_path = pg_catalog, pg_temp as
$$
    select v.relation, v."column", v.index_column,
           format('encrypt._token_of(t.%I, %L, %L, %s, %L, %s)', v."column", key, v.context,
                  coalesce('t.' || quote_ident(v.row_id_column) || '::text', ''''''), v.normalizer, v.bits),
           -- A token begins with the version of its key, modulo 256. Values under other keys are not ours to open.
           format('(t.%1$I is not null and t.%2$I is not null and substr(t.%2$I, 1, 1) <> %3$L::bytea '
                  'and encrypt._key_id_of(t.%1$I) = any (%4$L::integer[]))',
                  v."column", v.index_column,
                  (select '\x' || lpad(to_hex(k.version % 256), 2, '0') from encrypt.keys k
                   where k.name = key and k.purpose = 'index' and k.state = 'active'),
                  (select coalesce(array_agg(k.key_id), '{}') from encrypt.keys k
                   where k.name = key and k.purpose = 'column' and k.state <> 'retired'))
    -- offset 0: no name is formatted where there is none.
    from (select c.* from encrypt._value_columns() c
          where c.key_name = key and c.kind = 'ciphertext' and c.index_column is not null and c.relkind = 'r'
            and exists (select from pg_attribute a
                        where a.attrelid = c.relation and a.attname = c.index_column and a.attgenerated = '')
          offset 0) v
$$;
comment on function encrypt._token_columns(text) is
    'registered columns with tokens under a key: SQL for the new token of a row, and for whether it has an old one';

-- While two versions are in use, one plaintext has two tokens, and no constraint sees that they mean the same: a duplicate
-- that was let in meanwhile would stop the job half way, and already rotate_key has opened the gap.
create function encrypt._require_free_tokens(relation regclass, "column" name) returns void
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as
$$
declare
    number smallint;
    constrained text;
begin
    select a.attnum into number from pg_attribute a where a.attrelid = relation and a.attname = "column";
    select format('unique index %s', i.indexrelid::regclass) into constrained from pg_index i
    where i.indrelid = relation and (i.indisunique or i.indisexclusion) and number = any (i.indkey::int2[]) limit 1;
    if constrained is null then
        select format('foreign key "%s"', k.conname) into constrained from pg_constraint k
        where k.contype = 'f' and (k.conrelid = relation and number = any (k.conkey)
                                   or k.confrelid = relation and number = any (k.confkey)) limit 1;
    end if;
    if constrained is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('tokens of column "%s" of table %s can''t be made anew under %s: of one value there would be '
                             'tokens of two versions', "column", relation, constrained),
            hint = 'Take the rotation back with encrypt.activate_key, or drop the constraint while the job runs and look for '
                   'duplicates before it is made again. Searchable types need neither.';
    end if;
end
$$;
comment on function encrypt._require_free_tokens(regclass, name) is
    'refuses columns of tokens that a constraint compares with each other';

create function encrypt._add_reindexing_tasks(job integer, key text, look_first boolean) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    target record;
    holds boolean := true;
    added boolean := false;
begin
    for target in
        select c.relation, string_agg(c.old_token, ' or ') as condition,
               string_agg(format('%1$I = case when %2$s then %3$s else t.%1$I end', c.index_column, c.old_token, c.token),
                          ', ') as assignments,
               array_agg(c.index_column) as index_columns
        from encrypt._token_columns(key) c
        where pg_relation_size(c.relation) > 0
        group by c.relation order by c.relation
    loop
        perform encrypt._require_updatable(target.relation);
        perform encrypt._require_free_tokens(target.relation, i.name) from unnest(target.index_columns) as i (name);
        if look_first then
            holds := (encrypt._count_as_owner(target.relation, format(
                'select array[count(*)] from (select from only %s as t where %s limit 1) as f',
                target.relation, target.condition)))[1] > 0;
        end if;
        if holds then
            perform encrypt._add_task(job, target.relation, format(
                'with moved as ('
                'update only %1$s as t set %2$s where t.ctid >= $1 and t.ctid < $2 and (%3$s) '
                'returning (%3$s) is not true as done) '
                'select array[count(*) filter (where done)] from moved', target.relation, target.assignments, target.condition), key);
            added := true;
        end if;
    end loop;
    return added;
end
$$;
comment on function encrypt._add_reindexing_tasks(integer, text, boolean) is 'adds the tasks of a round of re-indexing';

create function encrypt.start_reindexing(key text, options jsonb default '{}') returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
    pinned record;
begin
    if not exists (select from encrypt.keys k where k.name = key and k.purpose = 'index') then
        raise exception using errcode = 'undefined_object', message = format('key "%s" does not exist', key),
            hint = format('Run: select encrypt.create_key(%L);', key);
    end if;
    job := encrypt._create_job('reindex', key, options);
    for pinned in
        select t.type_oid, k.version from encrypt.types t
        join encrypt.keys k on k.key_id = t.index_key_id
        where t.key_name = key and k.state <> 'active' and t.type_oid in (select oid from pg_type)
        order by t.type_oid::text
    loop
        raise notice using
            message = format('type %s keeps the index key that it was made with, version %s', pinned.type_oid, pinned.version),
            hint = 'To change it, move its columns to a new type.';
    end loop;
    perform encrypt._add_reindexing_tasks(job, key, look_first => false);
    return job;
end
$$;
comment on function encrypt.start_reindexing(text, jsonb) is
    'makes a job that makes the tokens of registered columns anew under the active index key: run_job, start_workers';

-- The end of a round, of re-encryption and of re-indexing.

create function encrypt._finish_rotation(job integer) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set max_parallel_workers_per_gather = 0 as
$$
declare
    this encrypt.jobs;
    moved bigint;
    stopped_by text;
    found_some boolean;
begin
    select * into this from encrypt.jobs j where j.job_id = job;
    select coalesce(sum(c.counts[1]), 0), max(c.last_error) into moved, stopped_by from encrypt.job_chunks c where c.job_id = job;
    delete from encrypt.job_tasks t where t.job_id = job;
    -- First the transactions, then the look: what they wrote is found by it.
    if not encrypt._is_settled(job) then
        return false;
    end if;
    -- The look takes as many processes as the batches did, whatever the session is set to.
    perform set_config('max_parallel_workers_per_gather', greatest(this.workers - 1, 0)::text, true);
    begin
        found_some := case this.kind
            when 'reencrypt' then encrypt._add_reencryption_tasks(job, this.subject, look_first => true)
            else encrypt._add_reindexing_tasks(job, this.subject, look_first => true) end;
    exception
        when object_not_in_prerequisite_state then
            -- The condition is a whole class to PL/pgSQL, with the locks that were not to be had.
            if sqlstate <> '55000' then
                raise;
            end if;
            -- The reason is ours, and names a table only.
            perform encrypt._fail_job(job, sqlerrm);
            return false;
        when undefined_table or undefined_column or invalid_schema_name then
            -- Renamed or dropped between the list of tables and the look at one. The next round is one more look.
            found_some := true;
    end;
    if not found_some then
        return true;
    end if;
    -- Once is chance: a row that an application's update moved. In the eleventh round it is something that
    -- undoes ours, such as a trigger that is always enabled. Waiting above is no round: see _finish_round.
    if moved = 0 and this.round > 10 then
        perform encrypt._fail_job(job, coalesce(stopped_by, format(
            case this.kind
                when 'reencrypt' then 'values of key "%s" stay under earlier versions although they were re-encrypted'
                else 'tokens of key "%s" stay those of earlier versions although they were made anew' end, this.subject)));
    end if;
    return false;
end
$$;
comment on function encrypt._finish_rotation(integer) is
    'ends a round; another one follows while there are values or tokens of earlier versions';

-- why: starting one changes rows of every table that uses the key, whoever owns it; the rest makes what workers run
revoke all on function
    encrypt._transactions(),
    encrypt._is_settled(integer),
    encrypt._fail_job(integer, text),
    encrypt._require_updatable(regclass),
    encrypt._may_undo_updates(regclass),
    encrypt._reencryption_statement(regclass, text, integer[]),
    encrypt._holds_values(regclass, text, integer[]),
    encrypt._add_reencryption_tasks(integer, text, boolean),
    encrypt.start_reencryption(text, jsonb),
    encrypt._token_columns(text),
    encrypt._require_free_tokens(regclass, name),
    encrypt._add_reindexing_tasks(integer, text, boolean),
    encrypt.start_reindexing(text, jsonb),
    encrypt._finish_rotation(integer)
from public;
