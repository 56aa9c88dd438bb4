-- Encrypted types: the registry, making and dropping them, and what keeps plaintext order off the disk.

create table encrypt.types (
    type_ref      integer primary key check (type_ref > 0),
    uuid          uuid not null unique default gen_random_uuid(),
    -- regtype: dumps carry the type's name.
    type_oid      regtype not null,
    base          regtype not null,
    base_modifier integer not null default -1,
    key_name      text collate "C" not null,
    normalizer    text collate "C" not null check (normalizer in ('exact', 'casefold', 'email', 'digits')),
    -- No foreign key: a parallel pg_restore fills the tables of extensions in any order. Keys are never deleted.
    index_key_id  integer,
    created_at    timestamptz not null default now(),
    created_by    name not null
);
create unique index types_type_oid on encrypt.types (type_oid);

comment on table encrypt.types is 'encrypted types: each is one security domain';
comment on column encrypt.types.type_ref is 'random number that every value of the type carries';
comment on column encrypt.types.uuid is 'context of the type''s values and tokens';
comment on column encrypt.types.type_oid is 'the type';
comment on column encrypt.types.base is 'type that applications see';
comment on column encrypt.types.base_modifier is
    'type modifier of the base, which values are made to fit: format_type(base, base_modifier); -1 if it has none';
comment on column encrypt.types.key_name is 'key whose active version encrypts';
comment on column encrypt.types.normalizer is 'what a value goes through before its token is made';
comment on column encrypt.types.index_key_id is 'index key of all the type''s tokens; null if it is not searchable';
comment on column encrypt.types.created_at is 'when it was made';
comment on column encrypt.types.created_by is 'role that made it';

-- Everyone may see which types there are; only the functions below change it.
grant select on encrypt.types to public;

-- Types that were dropped by hand leave no row behind in a dump: their number could be another type's elsewhere.
select pg_catalog.pg_extension_config_dump('encrypt.types',
    'where type_oid in (select oid from pg_catalog.pg_type)');

create function encrypt._guard_type() returns trigger
    language c as 'MODULE_PATHNAME', 'guard_type';
comment on function encrypt._guard_type() is 'refuses every change of a type''s identity';
-- why: trigger functions are called by triggers only
revoke all on function encrypt._guard_type() from public;

create trigger guard_row before update or delete on encrypt.types
    for each row execute function encrypt._guard_type();

-- Without its row no value of a type can be read again, and those of a registered column are bound to the row's UUID.
create function encrypt._refuse_truncate() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
begin
    raise exception using errcode = 'object_not_in_prerequisite_state',
        message = format('table %s can''t be truncated: encrypted values need its rows', tg_relid::regclass);
end
$$;
comment on function encrypt._refuse_truncate() is 'keeps the registries of types and columns';
-- why: trigger functions are called by triggers only
revoke all on function encrypt._refuse_truncate() from public;

create trigger guard_table before truncate on encrypt.types
    for each statement execute function encrypt._refuse_truncate();
alter table encrypt.types enable always trigger guard_table;

create trigger announce after insert or update or delete or truncate on encrypt.types
    for each statement execute function encrypt._announce_change();
alter table encrypt.types enable always trigger guard_row;
alter table encrypt.types enable always trigger announce;

-- create_type sets no search_path: a name without schema goes where the caller's path says. It looks that up by itself,
-- checks the caller's right to create there, and qualifies everything it runs.
create function encrypt.create_type(
    name text,
    base regtype default 'text',
    key text default 'default',
    searchable boolean default false,
    normalizer text default 'exact',
    accept_leakage boolean default false,
    modifier text default null
) returns regtype
    language c volatile parallel unsafe security definer as 'MODULE_PATHNAME', 'create_type';
comment on function encrypt.create_type(text, regtype, text, boolean, text, boolean, text) is
    'makes an encrypted type: columns of it take and show plaintext and store ciphertext';

create function encrypt.drop_type(type regtype) returns void
    language c volatile strict parallel unsafe security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'drop_type';
comment on function encrypt.drop_type(regtype) is 'drops an encrypted type that nothing uses';

create function encrypt._create_builtin_type(name text, base regtype, searchable boolean) returns void
    language c volatile parallel unsafe as 'MODULE_PATHNAME', 'create_builtin_type';
comment on function encrypt._create_builtin_type(text, regtype, boolean) is 'used by the install script';

create function encrypt._typanalyze(internal) returns boolean
    language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'typanalyze';
comment on function encrypt._typanalyze(internal) is 'ANALYZE of encrypted types: no histogram, nothing decrypted';

create function encrypt.token(value anyelement) returns bytea
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'type_token';
comment on function encrypt.token(anyelement) is
    'token of a value of a searchable type: 16 bytes to index where values are too wide for a btree';

create function encrypt._key_id_of(value anyelement) returns integer
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'key_id_of';
comment on function encrypt._key_id_of(anyelement) is
    'id of the key that a ciphertext or a value of an encrypted type is encrypted under';

create function encrypt._is_under(value anyelement, key_ids integer[]) returns boolean
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'is_under';
comment on function encrypt._is_under(anyelement, integer[]) is
    'whether a ciphertext or a value of an encrypted type is encrypted under one of some keys';

-- What re-encryption does to each value of a column: those that are not under one of the keys stay as they are. Not
-- strict: a row id that is NULL must be an error, not a NULL in place of the value.
create function encrypt._reencrypt(value anyelement, key_ids integer[]) returns anyelement
    language c volatile parallel safe cost 40 as 'MODULE_PATHNAME', 'reencrypt_typed';
comment on function encrypt._reencrypt(anyelement, integer[]) is
    'a value of an encrypted type that is under one of some keys, under its key''s active version, with the token it had';

create function encrypt._reencrypt(value encrypt.ciphertext, key_ids integer[], context text, row_id text)
    returns encrypt.ciphertext
    language c volatile parallel safe cost 40 as 'MODULE_PATHNAME', 'reencrypt_ciphertext';
comment on function encrypt._reencrypt(encrypt.ciphertext, integer[], text, text) is
    'a ciphertext that is under one of some keys, under its key''s active version';
-- why: all stay with PUBLIC. Jobs call them as the owners of tables; two tell what encrypt.key_id tells, the others
-- need the privileges that encrypt.reencrypt_column needs

create function encrypt.search_value(value text) returns text
    language sql immutable strict parallel safe return value;
comment on function encrypt.search_value(text) is
    'a literal as plain text, to compare an encrypted column with: needs the search privilege only';

-- why: base types run C functions of the owner's, so making them is for those to whom the owner grants it
revoke all on function
    encrypt.create_type(text, regtype, text, boolean, text, boolean, text),
    encrypt.drop_type(regtype),
    encrypt._create_builtin_type(text, regtype, boolean)
from public;

-- The two types that come with the extension, under the key named default. Their rows in the registry are made with
-- that key.
select encrypt._create_builtin_type('encrypted_text', 'text', false);
select encrypt._create_builtin_type('searchable_text', 'text', true);
