-- What the server's configuration does to the protection that encryption gives, and what it does to dumps.

create function encrypt._key_memory_is_locked() returns boolean
    language c volatile parallel unsafe as 'MODULE_PATHNAME', 'key_memory_is_locked';
comment on function encrypt._key_memory_is_locked() is
    'whether the system let this session lock its memory for keys; null while it holds none';

-- SECURITY DEFINER: the location of the root key is a setting that only superusers may read. Its value is not shown.
create function encrypt.check_configuration(
    out severity text, out subject text, out finding text, out advice text
) returns setof record
    language sql volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
begin atomic
    with setting as (
        select name, setting as value from pg_settings
    ),
    root as (
        select coalesce(current_setting('pg_encrypt.root_key', true), '') as location
    )
    select 'warning', 'pg_encrypt.root_key', 'the root key is in the data directory',
           'Every copy of the data directory contains it. Put it elsewhere and set pg_encrypt.root_key.'
    from root where location = ''
    union all
    select 'warning', 'pg_encrypt.root_key', 'the root key comes from the environment',
           'Processes of the same user can read it. Use a file or a command.'
    from root where location like 'env:%'
    union all
    select 'warning', name, 'statements are written to the log, literals included',
           'Pass values as parameters, or set it to none or ddl.'
    from setting where name = 'log_statement' and value in ('mod', 'all')
    union all
    select 'warning', name, 'slow statements are written to the log, literals included',
           'Pass values as parameters.'
    from setting where name in ('log_min_duration_statement', 'log_min_duration_sample') and value <> '-1'
    union all
    select 'warning', name, 'parameters of logged statements are written to the log',
           'Set it to 0.'
    from setting where name = 'log_parameter_max_length' and value <> '0'
      and exists (select from setting s
                  where (s.name = 'log_statement' and s.value in ('mod', 'all'))
                     or (s.name in ('log_min_duration_statement', 'log_min_duration_sample') and s.value <> '-1'))
    union all
    select 'warning', name, 'parameters of failing statements are written to the log', 'Set it to 0.'
    from setting where name = 'log_parameter_max_length_on_error' and value <> '0'
    union all
    select 'notice', name, 'failing statements are written to the log, literals included',
           'Pass values as parameters, or set it to panic.'
    from setting where name = 'log_min_error_statement' and value not in ('fatal', 'panic', 'log')
    union all
    select 'notice', name, 'plans of slow statements are written to the log, with literals and parameters as constants',
           'Set it to -1 where statements have values that must not be in the log.'
    from setting where name = 'auto_explain.log_min_duration' and value <> '-1'
    union all
    select 'notice', name, 'clients on the network may connect without TLS',
           'Set ssl to on, and use hostssl lines in pg_hba.conf.'
    from setting where name = 'ssl' and value = 'off'
      and exists (select from setting s where s.name = 'listen_addresses' and s.value not in ('', 'localhost'))
    union all
    select 'notice', 'memory', 'the system does not let this server lock its memory for keys',
           'Raise the limit of locked memory (LimitMEMLOCK of the service), or do without swap.'
    where encrypt._key_memory_is_locked() is false
    union all
    select 'warning', format('key %s', name), 'the active version was declared compromised', 'Rotate it.'
    from encrypt.keys where state = 'active' and compromised_at is not null
    union all
    select 'notice', format('key %s', name), format('the active %s key is older than its rotation period', purpose),
           'Rotate it.'
    from encrypt.keys
    where state = 'active' and compromised_at is null and created_at + rotation_period <= now()
    union all
    select 'notice', format('key %s', key_name), format('everyone has the %s privilege', privilege),
           format('Unless that is meant, run: select encrypt.revoke_key(%L, ''-'', %L);', key_name, privilege)
    from encrypt.key_grants where grantee = 0
    union all
    select 'notice', format('key %s', key_name), 'privileges of a role that was dropped are left',
           format('Run: select encrypt.revoke_key(%L, ''%s'', %L);', key_name, grantee::oid, privilege)
    from encrypt.key_grants where grantee <> 0 and grantee not in (select oid from pg_roles)
    union all
    -- Dumps restore the data of tables by their names, this extension's among them; and domains before the casts that they use.
    select 'warning', format('constraint %I of %s', c.conname, coalesce(nullif(c.conrelid, 0)::regclass::text, c.contypid::regtype::text)),
           'it decrypts, and a dump is restored before there are keys for that: rows of the table may be refused',
           'Make it NOT VALID. It holds for new values as before, and is restored after the data.'
    from pg_constraint c
    where c.contype = 'c' and c.convalidated
      and exists (select from unnest(encrypt._opened_types(c.conbin)) as opened (type) where encrypt._encrypted_within(opened.type) is not null);
end;
comment on function encrypt.check_configuration() is
    'settings and grants that weaken protection, and constraints that hinder restores, with advice; no rows means nothing was found';

-- why: it reads settings that only superusers may see
revoke all on function encrypt.check_configuration() from public;
revoke all on function encrypt._key_memory_is_locked() from public;
