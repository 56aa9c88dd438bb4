-- What each combination of grants permits. One table: a role per row, a thing to do per column.
-- default settings only: GROUP BY that sorts instead of hashing needs the decrypt privilege
set client_min_messages = error;
create schema types_privileges;
set search_path = types_privileges;
select encrypt.create_key('types_privileges') is not null as made;
select encrypt.create_type('email_enc', key => 'types_privileges', searchable => true);
select encrypt.create_type('note_enc', key => 'types_privileges');
reset client_min_messages;

create table t (k integer, e email_enc, n note_enc, plain text);
insert into t values (1, 'bob', 'note', 'x'), (4, 'eve', 'note', 'x');
create index on t (e email_enc_ops);

create table roles (role regrole, privileges text[], n serial);
do $$
declare
    granted text[];
    role text;
begin
    foreach role in array '{none,encrypt,decrypt,search,encrypt_search,decrypt_search,all}'::text[] loop
        execute format('create role regress_types_privileges_%s', role);
        granted := case role when 'all' then '{encrypt,decrypt,search}' when 'none' then '{}' else string_to_array(role, '_') end;
        role := 'regress_types_privileges_' || role;
        execute format('grant usage on schema types_privileges to %I', role);
        execute format('grant select, insert, update on t to %I', role);
        if granted <> '{}' then
            perform encrypt.grant_key('types_privileges', role::regrole, variadic granted);
        end if;
        insert into roles values (role::regrole, granted);
    end loop;
end
$$;

create table actions (n serial, action text, statement text);
insert into actions (action, statement) values
    ('insert', $$insert into t values (2, 'new', 'new') returning k$$),
    ('literal search', $$select from t where e = 'bob'$$),
    ('text search', $$select from t where e = text 'bob'$$),
    ('search_value', $$select from t where e = encrypt.search_value('bob')$$),
    ('array search', $$select from t where e = any (array['bob'])$$),
    ('column search', $$select from t a join t b on a.e = b.e$$),
    ('unsearchable =', $$select from t where n = 'note'$$),
    ('output', $$select format('%s', e) from t$$),
    ('cast', $$select e::text from t$$),
    ('lower', $$select lower(e) from t$$),
    ('order by', $$select from t order by e$$),
    ('group by', $$select count(*) from t group by e$$),
    ('hash of n', $$select count(distinct n) from t, generate_series(1, 3)$$),
    ('update other', $$update t set plain = 'y' returning k$$),
    ('copy column', $$update t set e = e returning k$$);

create function attempt(statement text, wanted regrole) returns text language plpgsql as
$$
declare
    ignored record;
begin
    execute format('set local role %s', wanted);
    for ignored in execute statement loop
        null;
    end loop;
    raise sqlstate 'PASS1';
exception
    when sqlstate 'PASS1' then
        return '+';
    when insufficient_privilege then
        return '-';
end
$$;

select replace(role::text, 'regress_types_privileges_', '') as role,
       string_agg(format('%s %s', attempt(statement, role), action), E'\n' order by a.n) as permitted
from roles r, actions a
group by role, r.n order by r.n;

-- Statements with parameters, as applications send them.
\set VERBOSITY terse
set role regress_types_privileges_search;
prepare by_text (text) as select count(*) from t where e = $1;
execute by_text('bob');
prepare untyped as select count(*) from t where e = $1;
execute untyped('bob');
select count(*) from t where e = encrypt.search_value('bob');
set role regress_types_privileges_encrypt_search;
execute by_text('bob');
execute untyped('bob');
select count(*) from t where e = 'bob';
set role regress_types_privileges_none;
execute by_text('bob');
-- A plan made for one role asks again for another.
set role regress_types_privileges_search;
execute by_text('bob');
reset role;
deallocate all;

-- Values and errors seen by a role without decrypt: no plaintext in the DETAIL of a duplicate key, whoever inserts it.
create unique index one on t (e email_enc_ops);
set role regress_types_privileges_encrypt;
do $$
declare
    detail text;
begin
    insert into t values (3, 'bob');
exception when unique_violation then
    get stacked diagnostics detail = pg_exception_detail;
    raise notice 'plaintext shown: %, value shown: %', detail like '%bob%', detail like '%=(\\xe301%';
end
$$;
reset role;
-- It is shown to those who may decrypt: their log lines hold plaintext then, as with any column.
set role regress_types_privileges_all;
do $$
declare
    detail text;
begin
    insert into t values (3, 'bob');
exception when unique_violation then
    get stacked diagnostics detail = pg_exception_detail;
    raise notice '%', detail;
end
$$;
set pg_encrypt.reveal = off;
do $$
declare
    detail text;
begin
    insert into t values (3, 'bob');
exception when unique_violation then
    get stacked diagnostics detail = pg_exception_detail;
    raise notice 'plaintext shown: %', detail like '%bob%';
end
$$;
reset pg_encrypt.reveal;
reset role;

-- Grants reach members of a role, and PUBLIC's everyone.
create role regress_types_privileges_member in role regress_types_privileges_decrypt;
grant usage on schema types_privileges to regress_types_privileges_member;
set role regress_types_privileges_member;
select e from t order by k;
reset role;
select encrypt.grant_key('types_privileges', 0::regrole, 'decrypt');
set role regress_types_privileges_none;
select e, n from t order by k;
reset role;
select encrypt.revoke_key('types_privileges', 0::regrole, 'decrypt');
set role regress_types_privileges_none;
select e::text from t;
reset role;

-- A SECURITY DEFINER function decrypts with its owner's grant.
create function last_two(e email_enc) returns text language sql security definer set search_path = types_privileges
    as $$select right(e::text, 2)$$;
set role regress_types_privileges_none;
select last_two(e) from t order by k;
reset role;

do $$
declare
    role regrole;
begin
    for role in select roles.role from types_privileges.roles union select 'regress_types_privileges_member'::regrole loop
        delete from encrypt.key_grants where grantee = role;
        execute format('drop owned by %s', role);
        execute format('drop role %s', role);
    end loop;
end
$$;
set client_min_messages = error;
drop schema types_privileges cascade;
