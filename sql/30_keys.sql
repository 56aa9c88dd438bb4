-- Keys: one row per version of a data key, wrapped by the root key, which is not in the database.

create table encrypt.keys (
    key_id          integer primary key check (key_id > 0),
    -- Collation C, so that lookups don't depend on the machine's collation library.
    name            text collate "C" not null check (octet_length(name) between 1 and 63),
    purpose         text collate "C" not null check (purpose in ('column', 'index')),
    version         integer not null check (version > 0),
    state           text collate "C" not null check (state in ('active', 'rotating', 'retired')),
    wrapped_key     bytea,
    check_value     bytea not null check (octet_length(check_value) = 32),
    root_id         text not null,
    rotation_period interval not null check (rotation_period > interval '0'),
    description     text,
    created_at      timestamptz not null default now(),
    created_by      name not null,
    rotated_at      timestamptz,
    retired_at      timestamptz,
    destroyed_at    timestamptz,
    compromised_at  timestamptz,
    constraint keys_name_version unique (name, purpose, version),
    constraint keys_destroyed check ((wrapped_key is null) = (destroyed_at is not null)),
    constraint keys_destroyed_retired check (destroyed_at is null or state = 'retired')
);

create unique index keys_one_active on encrypt.keys (name, purpose) where state = 'active';

comment on table encrypt.keys is 'versions of data keys and their states; the wrapped material is readable by the owner only';
comment on column encrypt.keys.key_id is 'random number that every value carries in its header';
comment on column encrypt.keys.name is 'what SQL calls the key';
comment on column encrypt.keys.purpose is 'column: encrypts values; index: makes blind-index tokens';
comment on column encrypt.keys.version is 'counts from 1 per name and purpose';
comment on column encrypt.keys.state is 'active, rotating (decrypts and searches only) or retired';
comment on column encrypt.keys.wrapped_key is 'the data key encrypted by the root key; null once destroyed';
comment on column encrypt.keys.check_value is 'HMAC that proves an unwrapped key to be the one of this row';
comment on column encrypt.keys.root_id is 'fingerprint of the root key that wrapped it';
comment on column encrypt.keys.rotation_period is 'age at which key_status calls the active version due';
comment on column encrypt.keys.description is 'free text of the one who made it';
comment on column encrypt.keys.created_at is 'when the version was made';
comment on column encrypt.keys.created_by is 'role that made it';
comment on column encrypt.keys.rotated_at is 'when a newer version replaced it last';
comment on column encrypt.keys.retired_at is 'when it was retired';
comment on column encrypt.keys.destroyed_at is 'when its material was wiped';
comment on column encrypt.keys.compromised_at is 'when it was declared compromised';

create table encrypt.key_grants (
    key_name   text collate "C" not null,
    -- regrole: dumps carry the role's name; a dropped role leaves a number behind that no new role gets. 0 is PUBLIC.
    grantee    regrole not null,
    privilege  text collate "C" not null check (privilege in ('encrypt', 'decrypt', 'search', 'deterministic')),
    granted_by name not null,
    granted_at timestamptz not null default now(),
    constraint key_grants_pkey primary key (key_name, grantee, privilege)
);

comment on table encrypt.key_grants is 'which role may do what with which key';
comment on column encrypt.key_grants.key_name is 'name of the key, all its versions';
comment on column encrypt.key_grants.grantee is 'role; 0 (shown as -) is PUBLIC';
comment on column encrypt.key_grants.privilege is 'encrypt, decrypt, search or deterministic';
comment on column encrypt.key_grants.granted_by is 'role that granted it';
comment on column encrypt.key_grants.granted_at is 'when it was granted';

-- One row at most. A passphrase becomes a root key with these; they are no secret, and without them it is lost.
create table encrypt.root_parameters (
    singleton  boolean primary key default true check (singleton),
    parameters text not null
);

comment on table encrypt.root_parameters is 'salt and cost of the key derivation when the root key comes from a passphrase';
comment on column encrypt.root_parameters.singleton is 'there is one row at most';
comment on column encrypt.root_parameters.parameters is 'Argon2id parameters and salt, in PHC string format';

-- Everyone may see which keys exist, in which state, and who may use them; never the wrapped material.
grant select (key_id, name, purpose, version, state, check_value, root_id, rotation_period, description, created_at,
              created_by, rotated_at, retired_at, destroyed_at, compromised_at) on encrypt.keys to public;
grant select on encrypt.key_grants to public;

-- A dump carries keys and grants. Grants of dropped roles stay behind: their numbers could mean others elsewhere.
select pg_catalog.pg_extension_config_dump('encrypt.keys', '');
select pg_catalog.pg_extension_config_dump('encrypt.root_parameters', '');
select pg_catalog.pg_extension_config_dump('encrypt.key_grants',
    'where grantee = 0 or grantee in (select oid from pg_catalog.pg_roles)');

-- Guards. They hold for the owner and for superusers too, who can only get past them by disabling triggers.

create function encrypt._guard_key() returns trigger
    language c as 'MODULE_PATHNAME', 'guard_key';
comment on function encrypt._guard_key() is 'refuses every change of a key outside its life cycle';

create function encrypt._announce_change() returns trigger
    language c as 'MODULE_PATHNAME', 'announce_change';
comment on function encrypt._announce_change() is 'makes every session look up keys and grants again';

-- why: trigger functions are called by triggers only
revoke all on function encrypt._guard_key() from public;
revoke all on function encrypt._announce_change() from public;

create trigger guard_row before update or delete on encrypt.keys
    for each row execute function encrypt._guard_key();
create trigger guard_table before truncate on encrypt.keys
    for each statement execute function encrypt._guard_key();
create trigger announce after insert or update or delete or truncate on encrypt.keys
    for each statement execute function encrypt._announce_change();
create trigger announce after insert or update or delete or truncate on encrypt.key_grants
    for each statement execute function encrypt._announce_change();

-- Also for logical replication's apply workers and under session_replication_role = replica.
alter table encrypt.keys enable always trigger guard_row;
alter table encrypt.keys enable always trigger guard_table;
alter table encrypt.keys enable always trigger announce;
alter table encrypt.key_grants enable always trigger announce;
