-- Administration of keys. The functions write tables that only the extension's owner may write, hence SECURITY
-- DEFINER; the path is pinned, with pg_temp last, so that no object of the caller's is ever looked up. Not STRICT: a
-- NULL argument is an error, or a rotation that did not happen would look like one that did.

create function encrypt.create_key(
    name text,
    rotation_period interval default '90 days',
    comment text default null
) returns integer
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'create_key';
comment on function encrypt.create_key(text, interval, text) is
    'makes a data key and an index key under a new name; returns the data key''s id';

create function encrypt.rotate_key(name text, purpose text default 'column') returns integer
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'rotate_key';
comment on function encrypt.rotate_key(text, text) is
    'makes a new version active and the one before it rotating; returns the new version''s id';

create function encrypt.activate_key(key_id integer) returns void
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'activate_key';
comment on function encrypt.activate_key(integer) is
    'makes a rotating version active again, and the active one rotating: takes a rotation back';

create function encrypt.retire_key(key_id integer) returns void
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'retire_key';
comment on function encrypt.retire_key(integer) is
    'retires a rotating version once nothing can use it any more; refuses with the reason otherwise';

create function encrypt.destroy_key(key_id integer, confirm text) returns void
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'destroy_key';
comment on function encrypt.destroy_key(integer, text) is
    'wipes the material of a retired version for good; the key''s name is the confirmation';

create function encrypt.mark_compromised(key_id integer) returns void
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'mark_compromised';
comment on function encrypt.mark_compromised(integer) is
    'notes that a version may be known to others; rotates at once if it is active, and its values are re-encrypted first';

create function encrypt.rewrap_keys(new_root text default null, old_root text default null) returns integer
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'rewrap_keys';
comment on function encrypt.rewrap_keys(text, text) is
    'wraps every key by another root key; returns how many. null is the root key that is configured';

create function encrypt.grant_key(name text, grantee regrole, variadic privileges text[]) returns void
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'grant_key';
comment on function encrypt.grant_key(text, regrole, text[]) is
    'lets a role encrypt, decrypt, search or encrypt deterministically with a key; 0 is PUBLIC';

create function encrypt.revoke_key(name text, grantee regrole, variadic privileges text[]) returns void
    language c volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'revoke_key';
comment on function encrypt.revoke_key(text, regrole, text[]) is 'takes privileges for a key from a role';

-- why: managing keys is for those to whom the owner grants it, function by function
revoke all on function
    encrypt.create_key(text, interval, text),
    encrypt.rotate_key(text, text),
    encrypt.activate_key(integer),
    encrypt.retire_key(integer),
    encrypt.destroy_key(integer, text),
    encrypt.mark_compromised(integer),
    encrypt.rewrap_keys(text, text),
    encrypt.grant_key(text, regrole, text[]),
    encrypt.revoke_key(text, regrole, text[])
from public;

create function encrypt.has_key_privilege(name text, privilege text, role regrole default null) returns boolean
    language c stable parallel safe as 'MODULE_PATHNAME', 'has_key_privilege';
comment on function encrypt.has_key_privilege(text, text, regrole) is
    'whether a role (the current one by default) has a privilege for a key';

create view encrypt.key_status as
select name, purpose, version, key_id, state,
       created_at, rotated_at, retired_at, destroyed_at, compromised_at,
       now() - created_at as age,
       state = 'active' and (compromised_at is not null or created_at + rotation_period <= now()) as rotation_due,
       root_id
from encrypt.keys;
comment on view encrypt.key_status is 'every version of every key: state, age, and whether rotation is due';
comment on column encrypt.key_status.rotation_due is 'active, and older than its rotation period or compromised';
grant select on encrypt.key_status to public;
