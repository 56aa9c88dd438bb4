-- KEYS
--
-- pg_encrypt works with keys by name. Their material is in the table encrypt.keys, but only wrapped, that is encrypted by
-- a root key, which is in no table. Here it is in a file outside the data directory, readable by the server alone:

show pg_encrypt.root_key;

-- A key by name is two keys, one that encrypts values and one that makes tokens for searching, so that each can be
-- rotated without the other. No function takes or shows key material.

select encrypt.create_key('pii', comment => 'personal data of customers') is not null as created;

select name, purpose, version, state, octet_length(wrapped_key) as wrapped_bytes, root_id from encrypt.keys;
