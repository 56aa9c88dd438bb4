-- Searching by equality: tokens that are equal where normalised values are, and tell nothing else without the key.
-- STABLE: the same within a statement, another after the index key was rotated.

create function encrypt.blind_index(value text, key text default 'default', context text default '', normalizer text default 'casefold', bits integer default 128)
    returns bytea
    language c stable parallel safe cost 20 as 'MODULE_PATHNAME', 'blind_index';
comment on function encrypt.blind_index(text, text, text, text, integer) is
    'token of a value under the active index key: what to store beside the encrypted value and to index';

create function encrypt.blind_index_all(value text, key text default 'default', context text default '', normalizer text default 'casefold', bits integer default 128)
    returns bytea[]
    language c stable parallel safe cost 20 as 'MODULE_PATHNAME', 'blind_index_all';
comment on function encrypt.blind_index_all(text, text, text, text, integer) is
    'tokens of a value under every live index key: where email_index = any (encrypt.blind_index_all($1))';

create function encrypt._token_of(
    value encrypt.ciphertext, key text, context text, row_id text, normalizer text, bits integer
) returns bytea
    language c stable parallel safe cost 60 as 'MODULE_PATHNAME', 'token_of_ciphertext';
comment on function encrypt._token_of(encrypt.ciphertext, text, text, text, text, integer) is
    'token of an encrypted value''s text form: what blind_index makes of its plaintext';
-- why: it stays with PUBLIC. Jobs call it as the owners of tables; it needs the privileges that decrypting and searching need
