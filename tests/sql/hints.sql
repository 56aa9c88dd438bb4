-- A hint "Run: ..." is a statement that runs as it stands and does away with the error, whatever the names in it.

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('hints') > 0 as created;

-- Helpers run many statements: without compiling each, and without starting workers for each.
create function pg_temp.hint_of(statement text, role text default 'none', e encrypt.ciphertext default null) returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    hint text;
    ignored text;
begin
    execute format('set local role %s', role);
    execute statement into ignored using e;
    set local role none;
    return 'no error';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return hint;
end $$;
-- Fails, runs the hint, succeeds: shows the statement of the hint.
create function pg_temp.cure(statement text, role text default 'none', e encrypt.ciphertext default null) returns text language plpgsql
    set jit = off set max_parallel_workers_per_gather = 0 as $$
declare
    cure text := substring(pg_temp.hint_of(statement, role, e) from '^(?:Run|A superuser can read it after): (.*;)$');
begin
    if cure is null then return 'no cure: ' || pg_temp.hint_of(statement, role, e); end if;
    execute cure;
    if pg_temp.hint_of(statement, role, e) <> 'no error' then return 'no use: ' || cure; end if;
    return cure;
end $$;
create role "regress_hints o'Neill \ ""x""";
create role regress_hints;

-- A missing key is created.
select pg_temp.cure(format('select encrypt.encrypt_column(%L, %L)', 'v', name))
from unnest(array['hints missing', 'hints o''Neill', 'hints \', 'hints " ; --']) name;
select pg_temp.cure($$select encrypt.blind_index('v', 'hints index')$$);
select pg_temp.cure($$select encrypt.rotate_key('hints rotate')$$);
select pg_temp.cure($$select encrypt.grant_key('hints grant', 'regress_hints', 'decrypt')$$);

-- A missing grant is granted, for each privilege.
select pg_temp.cure(format('select encrypt.encrypt_column(%L, %L)', 'v', name), quote_ident(role)) collate "C" as cure
from unnest(array['hints', 'hints o''Neill', 'hints \', 'hints " ; --']) name,
     unnest(array['regress_hints', 'regress_hints o''Neill \ "x"']) role
order by 1;
select pg_temp.cure($$select encrypt.encrypt_deterministic('v', 'hints')$$, 'regress_hints'),
       pg_temp.cure($$select encrypt.blind_index('v', 'hints')$$, 'regress_hints'),
       pg_temp.cure('select encrypt.decrypt_column($1)', 'regress_hints', encrypt.encrypt_column('v', 'hints'));

-- A key that is there already is rotated: the statement of the hint runs.
select pg_temp.hint_of($$select encrypt.create_key('hints')$$) as hint \gset
select :'hint' as hint;
create temp table hints_before as select max(version) as version from encrypt.keys where name = 'hints';
do $$ begin execute substring(pg_temp.hint_of('select encrypt.create_key(''hints'')') from 'run: (.*)$'); end $$;
select max(k.version) - min(b.version) as versions_added from encrypt.keys k, hints_before b where k.name = 'hints';

-- A value under a retired key.
-- As bytes: retire_key finds values in columns of their type, and refuses.
create temp table hints_stored as select encrypt.encrypt_column('v', 'hints rotate')::bytea as e;
create temp view hints_retired as select e::encrypt.ciphertext as e from hints_stored;
select encrypt.rotate_key('hints rotate') > 0 as rotated;
select encrypt.retire_key(encrypt.key_id(e)) from hints_retired;
select pg_temp.cure('select encrypt.decrypt_column($1)', 'none', e) from hints_retired;
reset pg_encrypt.allow_retired_keys;

delete from encrypt.key_grants where key_name ~ '^hints';
drop role regress_hints, "regress_hints o'Neill \ ""x""";
