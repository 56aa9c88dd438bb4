-- Who may do what: grants per key, through roles, PUBLIC and SECURITY DEFINER functions; what is closed to everybody; and
-- that nothing of the caller's making (search path, temporary objects, names) is trusted.

-- Statements here are many and small: compiling each of them shows nothing.
set jit = off;

-- The first key of a server makes a root key, with a warning; deterministic encryption another.
set client_min_messages = error;
select encrypt.create_key(name) > 0 as created from unnest(array['privileges', 'privileges public']) name;

create role regress_privileges_none;
create role regress_privileges_encrypt;
create role regress_privileges_decrypt;
create role regress_privileges_search;
create role regress_privileges_deterministic;
create role regress_privileges_member in role regress_privileges_decrypt;
create role regress_privileges_noinherit noinherit in role regress_privileges_decrypt;
create role regress_privileges_superuser superuser;
create role regress_privileges_dropped;
select encrypt.grant_key('privileges', ('regress_privileges_' || p)::regrole, p)
from unnest(array['encrypt', 'decrypt', 'search', 'deterministic']) p;
select encrypt.grant_key('privileges public', '-', 'encrypt', 'decrypt', 'search');
create view privileges_grants as
select key_name, grantee, privilege, granted_by = current_user as granted_by_me
from encrypt.key_grants where key_name ~ '^privileges';
grant select on privileges_grants to public;
select * from privileges_grants order by key_name collate "C", grantee::text collate "C", privilege collate "C";

-- Runs a statement as a role: t, or the SQLSTATE.
-- Helpers run many statements: without starting workers for each.
create function pg_temp.try(role text, statement text, e encrypt.ciphertext default null) returns text language plpgsql
    set max_parallel_workers_per_gather = 0 as $$
declare
    result text;
begin
    execute format('set local role %I', role);
    execute statement into result using e;
    set local role none;
    return 't';
exception when others then
    return sqlstate;
end $$;
create temp table samples as
select 'privileges' as key, encrypt.encrypt_column('v', 'privileges') as e
union all select 'privileges public', encrypt.encrypt_column('v', 'privileges public');

-- Roles and what they can do, per key. By hand: superusers everything; a member what it inherits; PUBLIC's grant is
-- everybody's. Deterministic values are decrypted with decrypt.
create function pg_temp.matrix(key text) returns table (
    role text, encrypts text, decrypts text, bytes text, "as" text, "deterministic" text, indexes text, searches text, reencrypts text
) language sql as $$
    select r, pg_temp.try(role, format('select encrypt.encrypt_column(%L, %L)', 'v', key)),
           pg_temp.try(role, 'select encrypt.decrypt_column($1)', e), pg_temp.try(role, 'select encrypt.decrypt_bytes($1)', e),
           pg_temp.try(role, 'select encrypt.decrypt_as($1, null::text)', e),
           pg_temp.try(role, format('select encrypt.encrypt_deterministic(%L, %L)', 'v', key)),
           pg_temp.try(role, format('select encrypt.blind_index(%L, %L)', 'v', key)),
           pg_temp.try(role, format('select encrypt.blind_index_all(%L, %L)', 'v', key)),
           pg_temp.try(role, 'select encrypt.reencrypt_column($1)', e)
    from unnest(array['none', 'encrypt', 'decrypt', 'search', 'deterministic', 'member', 'noinherit', 'superuser'])
             with ordinality as u(r, n)
         cross join lateral (select 'regress_privileges_' || r as role) x
         join samples on samples.key = matrix.key
    order by n
$$;
select * from pg_temp.matrix('privileges');
select * from pg_temp.matrix('privileges public');
-- has_key_privilege answers what happens.
select r as role, encrypt.has_key_privilege('privileges', 'encrypt', role) as encrypt,
       encrypt.has_key_privilege('privileges', 'decrypt', role) as decrypt,
       encrypt.has_key_privilege('privileges', 'search', role) as search,
       encrypt.has_key_privilege('privileges', 'deterministic', role) as "deterministic",
       encrypt.has_key_privilege('privileges public', 'search', role) as public_search
from unnest(array['none', 'encrypt', 'decrypt', 'search', 'deterministic', 'member', 'noinherit', 'superuser'])
         with ordinality as u(r, n)
     cross join lateral (select ('regress_privileges_' || r)::regrole as role) x
order by n;
\set VERBOSITY sqlstate
select encrypt.has_key_privilege('privileges missing', 'decrypt');
select encrypt.has_key_privilege('privileges', 'select');
select encrypt.has_key_privilege(null, 'decrypt');
select encrypt.has_key_privilege('privileges', null);
\set VERBOSITY default
set role regress_privileges_decrypt;
select encrypt.has_key_privilege('privileges', 'decrypt') as mine;
reset role;

-- Keys are cached per session, answers per role: a prepared statement that worked for one role fails for the next.
grant select on samples to public;
prepare reading as select encrypt.decrypt_column(e) from samples where key = 'privileges';
\set VERBOSITY sqlstate
execute reading;
set role regress_privileges_none;
execute reading;
set role regress_privileges_decrypt;
execute reading;
set role regress_privileges_encrypt;
execute reading;
reset role;
set session authorization regress_privileges_none;
execute reading;
reset session authorization;
execute reading;
deallocate reading;

-- Granting and revoking take effect at once, in a prepared statement and inside a function that is running.
prepare reading as select encrypt.decrypt_column(e) from samples where key = 'privileges';
begin;
set local role regress_privileges_none;
savepoint a;
execute reading;
rollback to a;
reset role;
select encrypt.grant_key('privileges', 'regress_privileges_none', 'decrypt');
set local role regress_privileges_none;
execute reading;
reset role;
select encrypt.revoke_key('privileges', 'regress_privileges_none', 'decrypt');
set local role regress_privileges_none;
execute reading;
rollback;
deallocate reading;
\set VERBOSITY default
do $$
declare
    e encrypt.ciphertext := (select samples.e from samples where key = 'privileges');
    outcome text[];
begin
    for i in 1..4 loop
        if i % 2 = 0 then
            perform encrypt.grant_key('privileges', 'regress_privileges_none', 'decrypt');
        else
            perform encrypt.revoke_key('privileges', 'regress_privileges_none', 'decrypt');
        end if;
        outcome := outcome || pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e);
    end loop;
    perform encrypt.revoke_key('privileges', 'regress_privileges_none', 'decrypt');
    raise info '%', outcome;
end $$;
-- So do role memberships.
select pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges';
grant regress_privileges_decrypt to regress_privileges_none;
select pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges';
revoke regress_privileges_decrypt from regress_privileges_none;
select pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges';
alter role regress_privileges_none superuser;
select pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges';
alter role regress_privileges_none nosuperuser;
select pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges';

-- A SECURITY DEFINER function lends its owner's privileges, for its own duration.
create function privileges_definer(e encrypt.ciphertext) returns text language plpgsql security definer
    set search_path = pg_catalog, pg_temp as $$ begin return encrypt.decrypt_column(e); end $$;
alter function privileges_definer(encrypt.ciphertext) owner to regress_privileges_decrypt;
select pg_temp.try('regress_privileges_none', 'select privileges_definer($1)', e),
       pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges';
alter function privileges_definer(encrypt.ciphertext) owner to regress_privileges_encrypt;
select pg_temp.try('regress_privileges_decrypt', 'select privileges_definer($1)', e) from samples where key = 'privileges';

-- Administration is closed to all but superusers and those to whom the functions are granted. It stays possible after.
create function pg_temp.administration(role text) returns table (statement text, outcome text) language sql as $$
    select s, pg_temp.try(role, s) from unnest(array[
        $q$select encrypt.create_key('privileges new')$q$, $q$select encrypt.rotate_key('privileges')$q$,
        $q$select encrypt.activate_key(1)$q$, $q$select encrypt.retire_key(1)$q$, $q$select encrypt.destroy_key(1, 'privileges')$q$,
        $q$select encrypt.grant_key('privileges', 'regress_privileges_none', 'decrypt')$q$,
        $q$select encrypt.revoke_key('privileges', 'regress_privileges_decrypt', 'decrypt')$q$,
        $q$select encrypt._guard_key()$q$, $q$select encrypt._announce_change()$q$,
        -- tables
        'select key_id, state from encrypt.keys', 'select wrapped_key from encrypt.keys', 'select * from encrypt.keys',
        'select k from encrypt.keys k', 'select count(*) from encrypt.key_grants', 'select count(*) from encrypt.key_status',
        'select parameters from encrypt.root_parameters',
        'insert into encrypt.key_grants values (''privileges'', ''regress_privileges_none'', ''decrypt'', ''x'') returning 1',
        'delete from encrypt.key_grants returning 1', 'update encrypt.keys set state = ''active'' returning 1',
        'select 1 from encrypt.keys for update', 'show pg_encrypt.root_key']) with ordinality as u(s, n) order by n
$$;
select a.statement, a.outcome as by_none, b.outcome as by_all_grants
from pg_temp.administration('regress_privileges_none') with ordinality as a(statement, outcome, n)
join pg_temp.administration('regress_privileges_decrypt') with ordinality as b(statement, outcome, n) using (n) order by n;
\set VERBOSITY sqlstate
set role regress_privileges_none;
copy encrypt.keys to stdout;
set pg_encrypt.allow_retired_keys = on;
set pg_encrypt.root_key = 'file:/tmp/x';
reset role;
\set VERBOSITY default
-- An administrator without other powers: may do what was granted, and is recorded as the one who did it.
create role regress_privileges_admin;
grant execute on function encrypt.create_key(text, interval, text), encrypt.grant_key(text, regrole, text[]) to regress_privileges_admin;
set role regress_privileges_admin;
select encrypt.create_key('privileges admin') > 0 as created;
\set VERBOSITY terse
select encrypt.encrypt_column('v', 'privileges admin');
select encrypt.rotate_key('privileges admin');
\set VERBOSITY default
select encrypt.grant_key('privileges admin', 'regress_privileges_admin', 'encrypt', 'decrypt');
select encrypt.decrypt_column(encrypt.encrypt_column('v', 'privileges admin'));
reset role;
select distinct created_by from encrypt.keys where name = 'privileges admin';
select distinct granted_by from encrypt.key_grants where key_name = 'privileges admin';

-- Granting twice and revoking what was not granted is no error; unknown words, roles and keys are.
select encrypt.grant_key('privileges', 'regress_privileges_none', 'search', 'search');
select encrypt.grant_key('privileges', 'regress_privileges_none', variadic array['search']);
select encrypt.revoke_key('privileges', 'regress_privileges_none', 'search', 'decrypt');
select count(*) from encrypt.key_grants where grantee = 'regress_privileges_none'::regrole;
create function pg_temp.outcome(statement text) returns text language plpgsql
    set max_parallel_workers_per_gather = 0 as $$
begin
    execute statement;
    return 'ok';
exception when others then
    return regexp_replace(sqlstate || ' ' || sqlerrm, 'OID \d+', 'OID N');
end $$;
select statement, pg_temp.outcome(statement) from unnest(array[
    $$select encrypt.grant_key('privileges', 'regress_privileges_none', 'select')$$,
    $$select encrypt.grant_key('privileges', 'regress_privileges_none', 'Decrypt')$$,
    $$select encrypt.grant_key('privileges missing', 'regress_privileges_none', 'decrypt')$$,
    $$select encrypt.grant_key('privileges', 'regress_privileges_missing', 'decrypt')$$,
    $$select encrypt.grant_key('privileges', 4294967295, 'decrypt')$$,
    $$select encrypt.revoke_key('privileges missing', 'regress_privileges_none', 'decrypt')$$]) with ordinality as u(statement, n)
order by n;
-- One wrong word and nothing is granted.
\set VERBOSITY sqlstate
select encrypt.grant_key('privileges', 'regress_privileges_none', 'decrypt', 'fly');
\set VERBOSITY default
select count(*) from encrypt.key_grants where grantee = 'regress_privileges_none'::regrole;
-- A dropped role leaves its grant behind, which is nobody's.
select encrypt.grant_key('privileges', 'regress_privileges_dropped', 'decrypt');
drop role regress_privileges_dropped;
select count(*) from encrypt.key_grants g where key_name = 'privileges' and grantee <> 0
    and not exists (select from pg_roles r where r.oid = g.grantee);
delete from encrypt.key_grants g where key_name = 'privileges' and grantee <> 0
    and not exists (select from pg_roles r where r.oid = g.grantee);

-- Objects that a caller could make to be found instead of ours: tables and types in pg_temp, operators and functions in
-- a schema that comes first. Each raises an error when it is used; none is.
create schema regress_privileges_trojan;
set search_path = regress_privileges_trojan, pg_catalog, public;
create function trojan(text, text) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function trojan(integer, integer) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function trojan(oid, oid) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function trojan(bigint, bigint) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function trojan(name, name) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function trojan(timestamptz, timestamptz) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function trojan_concat(text, text) returns text language plpgsql as $$ begin raise exception 'trojan'; end $$;
do $$
declare
    t text;
begin
    foreach t in array array['text', 'integer', 'oid', 'bigint', 'name', 'timestamptz'] loop
        execute format('create operator regress_privileges_trojan.= (leftarg = %1$s, rightarg = %1$s, function = regress_privileges_trojan.trojan)', t);
        execute format('create operator regress_privileges_trojan.<> (leftarg = %1$s, rightarg = %1$s, function = regress_privileges_trojan.trojan)', t);
        execute format('create operator regress_privileges_trojan.<= (leftarg = %1$s, rightarg = %1$s, function = regress_privileges_trojan.trojan)', t);
    end loop;
end $$;
create operator regress_privileges_trojan.|| (leftarg = text, rightarg = text, function = regress_privileges_trojan.trojan_concat);
create function now() returns timestamptz language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function hashtextextended(text, bigint) returns bigint language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function pg_try_advisory_xact_lock(bigint) returns boolean language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function pg_backend_pid() returns integer language plpgsql as $$ begin raise exception 'trojan'; end $$;
create function current_database() returns name language plpgsql as $$ begin raise exception 'trojan'; end $$;
create temp table keys as select key_id, name from encrypt.keys limit 0;
create temp table key_grants as select 1 as trojan;
create temp table root_parameters as select 1 as trojan;
create temp view pg_stat_activity as select 1 as trojan;
create temp view pg_prepared_xacts as select 1 as trojan;
create temp view pg_class as select 1 as trojan;
set search_path = pg_temp, regress_privileges_trojan, pg_catalog, public;
\set VERBOSITY terse
select 'the trojan' = 'bites';
\set VERBOSITY default
select encrypt.create_key('privileges trojan') is not null as created;
select encrypt.rotate_key('privileges trojan') is not null as rotated,
       encrypt.rotate_key('privileges trojan', 'index') is not null as rotated;
select encrypt.grant_key('privileges trojan', 'regress_privileges_none', 'decrypt', 'search');
select encrypt.has_key_privilege('privileges trojan', 'decrypt', 'regress_privileges_none');
select encrypt.revoke_key('privileges trojan', 'regress_privileges_none', 'decrypt', 'search');
select encrypt.activate_key((select encrypt.key_id(encrypt.encrypt_column('v', 'privileges trojan'))));
select encrypt.retire_key(k.key_id) from encrypt.keys k
where k.name operator(pg_catalog.=) 'privileges trojan' and k.version operator(pg_catalog.=) 1 and k.purpose operator(pg_catalog.=) 'column';
select encrypt.destroy_key(k.key_id, 'privileges trojan') from encrypt.keys k
where k.name operator(pg_catalog.=) 'privileges trojan' and k.version operator(pg_catalog.=) 1 and k.purpose operator(pg_catalog.=) 'column';
select encrypt.decrypt_column(encrypt.encrypt_column('v', 'privileges trojan'));
select encrypt.decrypt_as(encrypt.encrypt_column('{1,2}'::integer[], 'privileges trojan'), null::integer[]);
select encrypt.decrypt_column(encrypt.encrypt_deterministic('v', 'privileges trojan'));
select encrypt.decrypt_column(encrypt.reencrypt_column(encrypt.encrypt_column('v', 'privileges trojan'), 'privileges'));
select pg_catalog.length(encrypt.blind_index('v', 'privileges trojan')),
       pg_catalog.array_length(encrypt.blind_index_all('v', 'privileges trojan'), 1);
select encrypt.create_type('public.privileges_type', 'text', 'privileges trojan', searchable => true);
select encrypt.create_type('regress_privileges_trojan.privileges_type', 'integer', 'privileges trojan');
select 'v'::public.privileges_type is not null, 7::regress_privileges_trojan.privileges_type is not null;
select encrypt.drop_type('public.privileges_type'), encrypt.drop_type('regress_privileges_trojan.privileges_type');
reset search_path;
drop schema regress_privileges_trojan cascade;
drop table pg_temp.keys, pg_temp.key_grants, pg_temp.root_parameters;
drop view pg_temp.pg_stat_activity, pg_temp.pg_prepared_xacts, pg_temp.pg_class;

-- Names that would break out of a statement, through every function that takes one: as key, context and row id.
create temp table names as select n, name from unnest(array[
    '"', '''', ''' or true --', '"; drop table encrypt.keys; --', '\', '\''', '%s %I $1', '$$', 'select', 'MixedCase',
    ' leading', 'trailing ', repeat('x', 63), unistr('caf\00e9 \+01f511'), repeat(unistr('\00e9'), 31), '0', '-', 'public']) with ordinality as u(name, n);
create function pg_temp.life(name text) returns text language plpgsql
    set max_parallel_workers_per_gather = 0 as $$
declare
    old integer := encrypt.create_key(name);
    e encrypt.ciphertext := encrypt.encrypt_column('v', name, name, name);
    token bytea := encrypt.blind_index(name, name, name);
    moved encrypt.ciphertext;
begin
    perform encrypt.rotate_key(name), encrypt.rotate_key(name, 'index');
    perform encrypt.grant_key(name, 'regress_privileges_none', 'decrypt');
    if not encrypt.has_key_privilege(name, 'decrypt', 'regress_privileges_none') then return 'not granted'; end if;
    perform encrypt.revoke_key(name, 'regress_privileges_none', 'decrypt');
    if encrypt.has_key_privilege(name, 'decrypt', 'regress_privileges_none') then return 'not revoked'; end if;
    moved := encrypt.reencrypt_column(e, name, name, name);
    perform encrypt.activate_key(old);
    perform encrypt.activate_key(encrypt.key_id(moved));
    perform encrypt.retire_key(old);
    perform encrypt.destroy_key(old, name);
    if not token = any (encrypt.blind_index_all(name, name, name)) then return 'token not found'; end if;
    return encrypt.decrypt_column(moved, name, name);
end $$;
select name, pg_temp.life(name) from names order by n;
select count(*) from encrypt.keys where name in (select name from names) and description is null;
-- Where a name is refused, the message holds it and nothing else happens.
\set VERBOSITY terse
select encrypt.encrypt_column('v', '''; drop table encrypt.keys; --');
select encrypt.rotate_key('''; select 1', 'column');
select encrypt.rotate_key('privileges', ''' or true --');
select encrypt.blind_index('v', 'privileges', normalizer => '''; drop');
select encrypt.grant_key('privileges', '-', '''; drop');
\set VERBOSITY default

-- PUBLIC's grant is taken away from everybody.
select encrypt.revoke_key('privileges public', '-', 'decrypt');
select pg_temp.try('regress_privileges_none', 'select encrypt.decrypt_column($1)', e) from samples where key = 'privileges public';

-- A pool that hands sessions on says DISCARD ALL: keys stay with the process, privileges don't.
drop view privileges_grants;
drop function privileges_definer(encrypt.ciphertext);
create table privileges_kept as select * from samples;
grant select on privileges_kept to public;
discard all;
set client_min_messages = error;
\set VERBOSITY sqlstate
set session authorization regress_privileges_none;
select encrypt.decrypt_column(e) from privileges_kept where key = 'privileges';
discard all;
select current_user = 'regress_privileges_none' as still;
reset session authorization;
select encrypt.decrypt_column(e) from privileges_kept where key = 'privileges';
\set VERBOSITY default
drop table privileges_kept;

delete from encrypt.key_grants where grantee::text ~ '^regress_privileges' or key_name ~ '^privileges';
revoke all on function encrypt.create_key(text, interval, text), encrypt.grant_key(text, regrole, text[]) from regress_privileges_admin;
drop role regress_privileges_none, regress_privileges_encrypt, regress_privileges_decrypt, regress_privileges_search,
    regress_privileges_deterministic, regress_privileges_member, regress_privileges_noinherit, regress_privileges_superuser,
    regress_privileges_admin;
