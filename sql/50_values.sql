-- Encrypting and decrypting values. Anyone may execute these functions; each checks the caller's grant for the key.
--
-- Volatility is part of the security: encryption draws a nonce, so it is VOLATILE; decryption is STABLE and never
-- IMMUTABLE, or the planner would fold plaintext into plans that EXPLAIN prints; and never LEAKPROOF.
--
-- A NULL value gives NULL. A NULL key, context or row id is an error, hence not STRICT: encrypt_column(value, null)
-- must not store NULL in place of the value.

create function encrypt.encrypt_column(value text, key text default 'default', context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 20 as 'MODULE_PATHNAME', 'encrypt_column_text';
comment on function encrypt.encrypt_column(text, text, text, text) is
    'encrypts text under the key''s active version, bound to the context and, if given, to the row';

create function encrypt.encrypt_column(value bytea, key text default 'default', context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 20 as 'MODULE_PATHNAME', 'encrypt_column_bytea';
comment on function encrypt.encrypt_column(bytea, text, text, text) is
    'encrypts bytes under the key''s active version, bound to the context and, if given, to the row';

create function encrypt.encrypt_column(value anyelement, key text default 'default', context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 20 as 'MODULE_PATHNAME', 'encrypt_column_any';
comment on function encrypt.encrypt_column(anyelement, text, text, text) is
    'encrypts a value of any type that reads back exactly; decrypt_as returns it';

create function encrypt.encrypt_deterministic(value text, key text default 'default', context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 20 as 'MODULE_PATHNAME', 'encrypt_deterministic_text';
comment on function encrypt.encrypt_deterministic(text, text, text, text) is
    'encrypts so that equal values have equal ciphertexts, which shows who equals whom; needs its own grant';

create function encrypt.encrypt_deterministic(value bytea, key text default 'default', context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 20 as 'MODULE_PATHNAME', 'encrypt_deterministic_bytea';
comment on function encrypt.encrypt_deterministic(bytea, text, text, text) is
    'encrypts so that equal values have equal ciphertexts, which shows who equals whom; needs its own grant';

create function encrypt.encrypt_deterministic(value anyelement, key text default 'default', context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 20 as 'MODULE_PATHNAME', 'encrypt_deterministic_any';
comment on function encrypt.encrypt_deterministic(anyelement, text, text, text) is
    'encrypts so that equal values have equal ciphertexts, which shows who equals whom; needs its own grant';

create function encrypt.decrypt_column(value encrypt.ciphertext, context text default '', row_id text default '')
    returns text
    language c stable parallel safe cost 40 as 'MODULE_PATHNAME', 'decrypt_column';
comment on function encrypt.decrypt_column(encrypt.ciphertext, text, text) is
    'decrypts to text; values of other types come in their text form';

create function encrypt.decrypt_bytes(value encrypt.ciphertext, context text default '', row_id text default '')
    returns bytea
    language c stable parallel safe cost 40 as 'MODULE_PATHNAME', 'decrypt_bytes';
comment on function encrypt.decrypt_bytes(encrypt.ciphertext, text, text) is
    'decrypts to bytes: of text its encoding, of other types their canonical form';

create function encrypt.decrypt_as(value encrypt.ciphertext, as_type anyelement, context text default '', row_id text default '')
    returns anyelement
    language c stable parallel safe cost 40 as 'MODULE_PATHNAME', 'decrypt_as';
comment on function encrypt.decrypt_as(encrypt.ciphertext, anyelement, text, text) is
    'decrypts to the type of the second argument: decrypt_as(value, null::date)';

create function encrypt.reencrypt_column(value encrypt.ciphertext, key text default null, context text default '', row_id text default '')
    returns encrypt.ciphertext
    language c volatile parallel safe cost 40 as 'MODULE_PATHNAME', 'reencrypt_column';
comment on function encrypt.reencrypt_column(encrypt.ciphertext, text, text, text) is
    'encrypts again under the active version of its key, or of another key; unchanged if it is there already';

create function encrypt.key_id(value encrypt.ciphertext) returns integer
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'key_id';
comment on function encrypt.key_id(encrypt.ciphertext) is 'id of the key a value is encrypted under; can be indexed';

create function encrypt.is_ciphertext(value bytea) returns boolean
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'is_ciphertext';
comment on function encrypt.is_ciphertext(bytea) is 'whether bytes have the form of an encrypted value';
