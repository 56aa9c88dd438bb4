-- The life of keys: create, rotate, activate, retire, destroy; what each state permits; what is refused and why; that
-- rolled back changes leave nothing behind; and that nobody gets past the life cycle by writing the table.

-- Statements here are many and small: compiling each of them shows nothing.
set jit = off;

-- The first key of a server makes a root key, with a warning.
set client_min_messages = error;
select encrypt.create_key('keys', '30 days', 'a comment') > 0 as created;
reset client_min_messages;
\pset null '-'

-- Outcome of a statement, hint included, without key ids.
-- Helpers run many statements: without starting workers for each.
create function pg_temp.outcome(statement text, e encrypt.ciphertext default null) returns text language plpgsql
    set max_parallel_workers_per_gather = 0 as $$
declare
    result text;
    hint text;
begin
    if statement ~ '^select' then
        execute statement into result using e;
    else
        execute statement;
    end if;
    return 'ok' || coalesce(': ' || nullif(result, ''), '');
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return regexp_replace(sqlstate || ' ' || sqlerrm || coalesce(nullif(' / ' || hint, ' / '), ''), 'id -?\d+', 'id N', 'g');
end $$;
create function pg_temp.id(key text, version integer, purpose text default 'column') returns integer language sql as $$
    select k.key_id from encrypt.keys k where k.name = id.key and k.version = id.version and k.purpose = id.purpose
$$;
create view keys_shown as
select name, purpose, version, state, rotation_period, description, wrapped_key is not null as wrapped,
       rotated_at is not null as rotated, retired_at is not null as retired, destroyed_at is not null as destroyed,
       created_by = current_user as created_by_me
from encrypt.keys where name = 'keys';

-- A new key is a data key and an index key. Key ids are random.
select * from keys_shown order by purpose, version;
select encrypt.create_key('keys returned') = pg_temp.id('keys returned', 1) as returns_the_data_key;
select pg_temp.outcome(statement) from unnest(array[
    $$select encrypt.create_key('keys')$$,
    $$select encrypt.create_key('keys bad', '0')$$,
    $$select encrypt.create_key('keys bad', '-1 day')$$,
    $$select encrypt.create_key('keys bad', '1 month -30 days')$$,
    $$select encrypt.create_key('keys bad', null)$$,
    $$select encrypt.create_key(null)$$,
    $$select encrypt.create_key('')$$,
    $$select encrypt.create_key(repeat('x', 64))$$,
    $$select encrypt.create_key(repeat(unistr('\00e9'), 32))$$,
    $$select encrypt.create_key(E'tab\t')$$,
    $$select encrypt.create_key(E'line\n')$$,
    $$select encrypt.create_key(chr(127))$$,
    $$select encrypt.create_key(unistr('\0085'))$$,
    $$select encrypt.rotate_key('keys missing')$$,
    $$select encrypt.rotate_key('KEYS')$$,
    $$select encrypt.rotate_key('keys', 'value')$$,
    $$select encrypt.rotate_key('keys', 'Column')$$,
    $$select encrypt.activate_key(0)$$,
    $$select encrypt.activate_key(-1)$$,
    $$select encrypt.retire_key(2147483647)$$,
    $$select encrypt.destroy_key(2147483647, 'keys')$$]) with ordinality as u(statement, n) order by n;

-- One value and one token under each version; version 2 ends destroyed, 3 retired, 4 rotating, 5 active, 1 is never left.
-- As bytes: retire_key finds values in columns of their type, and refuses.
create table keys_stored (version integer, e bytea, token bytea);
create view keys_values as select version, e::encrypt.ciphertext as e, token from keys_stored;
do $$
begin
    for version in 1..5 loop
        insert into keys_stored
        values (version, encrypt.encrypt_column('value ' || version, 'keys')::bytea, encrypt.blind_index('value', 'keys'));
        if version < 5 then
            perform encrypt.rotate_key('keys'), encrypt.rotate_key('keys', 'index');
        end if;
    end loop;
    for version in 2..3 loop
        perform encrypt.retire_key(pg_temp.id('keys', version)), encrypt.retire_key(pg_temp.id('keys', version, 'index'));
    end loop;
    perform encrypt.destroy_key(pg_temp.id('keys', 2), 'keys'), encrypt.destroy_key(pg_temp.id('keys', 2, 'index'), 'keys');
end $$;
select * from keys_shown order by purpose, version;
-- A version is not retired while a column holds a value under it.
create table keys_held as select e from keys_values where version = 4;
select pg_temp.outcome(format('select encrypt.retire_key(%s)', pg_temp.id('keys', 4)));
drop table keys_held;

-- Every state and every use.
select v.version, k.state || case when k.wrapped_key is null then ', destroyed' else '' end as state,
       encrypt.key_id(encrypt.encrypt_column('x', 'keys')) = k.key_id as encrypts,
       pg_temp.outcome('select encrypt.decrypt_column($1)', v.e) as decrypts,
       get_byte(encrypt.blind_index('value', 'keys'), 0) = v.version as indexes,
       v.token = any (encrypt.blind_index_all('value', 'keys')) as searches
from keys_values v join encrypt.keys k on k.name = 'keys' and k.purpose = 'column' and k.version = v.version
order by v.version;
-- The setting that lets a superuser read values under retired keys: reading only, and not destroyed ones; and it can be
-- taken back within the transaction.
set pg_encrypt.allow_retired_keys = on;
select version, pg_temp.outcome('select encrypt.decrypt_column($1)', e) as decrypts,
       token = any (encrypt.blind_index_all('value', 'keys')) as searches
from keys_values where version in (2, 3) order by version;
begin;
select encrypt.decrypt_column(e) from keys_values where version = 3;
set local pg_encrypt.allow_retired_keys = off;
select pg_temp.outcome('select encrypt.decrypt_column($1)', e) from keys_values where version = 3;
commit;
reset pg_encrypt.allow_retired_keys;

-- Every function in every state, except what would succeed. What is so already is no error, unless it was to be destroyed.
select version, function, pg_temp.outcome(format('select encrypt.' || function, pg_temp.id('keys', version))) as outcome
from (values (2, 'retire_key(%s)'), (3, 'retire_key(%s)'), (5, 'retire_key(%s)'),
             (2, 'destroy_key(%s, ''keys'')'), (4, 'destroy_key(%s, ''keys'')'), (5, 'destroy_key(%s, ''keys'')'),
             (2, 'activate_key(%s)'), (3, 'activate_key(%s)'), (5, 'activate_key(%s)')) as f(version, function)
order by function, version;
select * from keys_shown where purpose = 'column' order by version;
-- Back to version 4, the active one turns rotating; and back again. Exactly one is active each time.
select encrypt.activate_key(pg_temp.id('keys', 4));
select version, state, rotated from keys_shown where purpose = 'column' and not destroyed order by version;
select version, count(*) from keys_values v join keys_shown k using (version)
where encrypt.key_id(encrypt.encrypt_column('x', 'keys')) = pg_temp.id('keys', version) and k.purpose = 'column' group by 1;
select encrypt.activate_key(pg_temp.id('keys', 5));
select count(*) filter (where state = 'active') as active from encrypt.keys where name = 'keys' group by purpose;
-- A rotation inherits the period.
select encrypt.rotate_key('keys') = pg_temp.id('keys', 6) as returns_the_new_version;
select version, rotation_period, description from keys_shown where version = 6;
-- Destroying takes the exact name.
select encrypt.retire_key(pg_temp.id('keys', 5));
select confirm, pg_temp.outcome(format('select encrypt.destroy_key(%s, %L)', pg_temp.id('keys', 5), confirm))
from unnest(array['', 'KEYS', 'keys ', null, 'keys']) with ordinality as u(confirm, n) order by n;

-- A key id of the other purpose encrypts nothing: a value that claims it is refused by name.
select pg_temp.outcome('select encrypt.decrypt_column($1)',
                       overlay(e::bytea placing decode(lpad(to_hex(pg_temp.id('keys', 5, 'index')), 8, '0'), 'hex') from 3)::encrypt.ciphertext)
from keys_values where version = 1;

-- A key without an active version: only by hand, with a name for it.
begin;
update encrypt.keys set state = 'rotating', rotated_at = now() where key_id = pg_temp.id('keys returned', 1);
select pg_temp.outcome($$select encrypt.encrypt_column('x', 'keys returned')$$);
select encrypt.rotate_key('keys returned') is not null as a_rotation_mends_it;
rollback;

-- Rolled back: the key was there and is gone; values under it name a key that never was.
begin;
savepoint before;
select count(*) from (select encrypt.create_key('keys rolled back')) s;
select encrypt.decrypt_column(encrypt.encrypt_column('x', 'keys rolled back'));
select encrypt.encrypt_column('x', 'keys rolled back') as orphan, encrypt.blind_index('x', 'keys rolled back') as token \gset
rollback to before;
select pg_temp.outcome($$select encrypt.encrypt_column('x', 'keys rolled back')$$),
       pg_temp.outcome($$select encrypt.blind_index('x', 'keys rolled back')$$),
       pg_temp.outcome('select encrypt.decrypt_column($1)', :'orphan');
-- Made again in the same transaction: another key of the same name.
select count(*) from (select encrypt.create_key('keys rolled back')) s;
select encrypt.blind_index('x', 'keys rolled back') = :'token' as same_token,
       pg_temp.outcome('select encrypt.decrypt_column($1)', :'orphan');
rollback;
select pg_temp.outcome($$select encrypt.encrypt_column('x', 'keys rolled back')$$);
-- The same for a rotation, in a savepoint, a transaction and an exception block.
select encrypt.key_id(encrypt.encrypt_column('x', 'keys returned')) as before \gset
begin;
savepoint a;
select encrypt.rotate_key('keys returned') = encrypt.key_id(encrypt.encrypt_column('x', 'keys returned')) as new;
rollback to a;
select encrypt.key_id(encrypt.encrypt_column('x', 'keys returned')) = :before as old;
select encrypt.rotate_key('keys returned') = encrypt.key_id(encrypt.encrypt_column('x', 'keys returned')) as new;
rollback;
select encrypt.key_id(encrypt.encrypt_column('x', 'keys returned')) = :before as old;
do $$
declare
    before integer := encrypt.key_id(encrypt.encrypt_column('x', 'keys returned'));
    inside integer;
begin
    begin
        perform encrypt.rotate_key('keys returned');
        inside := encrypt.key_id(encrypt.encrypt_column('x', 'keys returned'));
        raise division_by_zero;
    exception when division_by_zero then
        raise notice 'other inside: %, back after: %', inside <> before,
            encrypt.key_id(encrypt.encrypt_column('x', 'keys returned')) = before;
    end;
end $$;
-- Revocation and grants as well.
create role regress_keys;
begin;
savepoint a;
select encrypt.grant_key('keys returned', 'regress_keys', 'encrypt');
set local role regress_keys;
select encrypt.encrypt_column('x', 'keys returned') is not null as granted;
rollback to a;
set local role regress_keys;
select pg_temp.outcome($$select encrypt.encrypt_column('x', 'keys returned')$$);
rollback;
drop role regress_keys;

-- Written past the functions, by a superuser: refused, with triggers for replicas firing as well.
create function pg_temp.guarded() returns table (statement text, outcome text) language sql as $$
    select s, pg_temp.outcome(s) from unnest(array[
        'delete from encrypt.keys',
        'delete from encrypt.keys where state = ''retired''',
        'truncate encrypt.keys',
        'update encrypt.keys set key_id = 1 where key_id = pg_temp.id(''keys'', 6)',
        'update encrypt.keys set name = ''other''',
        'update encrypt.keys set purpose = ''index'' where key_id = pg_temp.id(''keys'', 6)',
        'update encrypt.keys set version = version + 100',
        'update encrypt.keys set check_value = ''\x00''',
        'update encrypt.keys set check_value = (select check_value from encrypt.keys where key_id = pg_temp.id(''keys'', 1))
             where key_id = pg_temp.id(''keys'', 4)',
        'update encrypt.keys set wrapped_key = (select wrapped_key from encrypt.keys where key_id = pg_temp.id(''keys'', 1))
             where key_id = pg_temp.id(''keys'', 4)',
        'update encrypt.keys set wrapped_key = null where key_id = pg_temp.id(''keys'', 4)',
        'update encrypt.keys set wrapped_key = null, destroyed_at = now() where key_id = pg_temp.id(''keys'', 4)',
        'update encrypt.keys set wrapped_key = ''\x00'', destroyed_at = null where key_id = pg_temp.id(''keys'', 2)',
        'update encrypt.keys set destroyed_at = null where key_id = pg_temp.id(''keys'', 2)',
        'update encrypt.keys set created_at = now()',
        'update encrypt.keys set created_by = ''nobody''',
        'update encrypt.keys set state = ''active'' where key_id = pg_temp.id(''keys'', 3)',
        'update encrypt.keys set state = ''rotating'' where key_id = pg_temp.id(''keys'', 3)',
        'update encrypt.keys set state = ''retired'' where key_id = pg_temp.id(''keys'', 6)',
        'update encrypt.keys set state = ''destroyed'' where key_id = pg_temp.id(''keys'', 3)',
        'update encrypt.keys set state = ''active'' where key_id = pg_temp.id(''keys'', 4)',
        'insert into encrypt.keys select * from encrypt.keys where key_id = pg_temp.id(''keys'', 6)',
        'insert into encrypt.keys (key_id, name, purpose, version, state, wrapped_key, check_value, root_id, rotation_period, created_by)
             select 1, name, purpose, 99, state, wrapped_key, check_value, root_id, rotation_period, created_by
             from encrypt.keys where key_id = pg_temp.id(''keys'', 6)',
        -- What may be changed by hand.
        'update encrypt.keys set description = ''new'', rotation_period = ''60 days'' where key_id = pg_temp.id(''keys'', 6)'])
        with ordinality as u(s, n) order by n
$$;
select * from pg_temp.guarded();
set session_replication_role = replica;
select count(*) filter (where outcome ~ '^ok') as passed, count(*) from pg_temp.guarded();
reset session_replication_role;
-- Guards are not functions to call, nor triggers for other tables.
select pg_temp.outcome('select encrypt._guard_key()'), pg_temp.outcome('select encrypt._announce_change()');

-- Material swapped behind the guards' back does not unwrap: the row's identity is bound into it. Its state is not: who
-- may disable triggers can bring a retired key back.
begin;
select encrypt.create_key('keys swapped') is not null as created;
alter table encrypt.keys disable trigger guard_row;
update encrypt.keys set wrapped_key = (select wrapped_key from encrypt.keys where key_id = pg_temp.id('keys', 1))
where key_id = pg_temp.id('keys swapped', 1);
update encrypt.keys set wrapped_key = set_byte(wrapped_key, 72, 255 - get_byte(wrapped_key, 72))
where key_id = pg_temp.id('keys swapped', 1, 'index');
update encrypt.keys set state = 'rotating' where key_id = pg_temp.id('keys', 3);
alter table encrypt.keys enable always trigger guard_row;
select pg_temp.outcome($$select encrypt.encrypt_column('x', 'keys swapped')$$),
       pg_temp.outcome($$select encrypt.blind_index('x', 'keys swapped')$$);
select encrypt.decrypt_column(e) from keys_values where version = 3;
rollback;

-- What everybody sees of keys.
select name, purpose, version, state, age >= '0' as age, rotation_due from encrypt.key_status
where name = 'keys' and version in (1, 6) order by purpose, version;
begin;
update encrypt.keys set compromised_at = now() where key_id in (pg_temp.id('keys', 6), pg_temp.id('keys', 4));
select version, state, rotation_due from encrypt.key_status
where name = 'keys' and purpose = 'column' and version in (4, 6) order by version;
update encrypt.keys set rotation_period = '1 microsecond' where key_id = pg_temp.id('keys', 6);
select version, rotation_due from encrypt.key_status where name = 'keys' and purpose = 'column' and version = 6;
rollback;

drop view keys_shown;
drop view keys_values;
drop table keys_stored;
