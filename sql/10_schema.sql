-- The schema is created here and not through the control file, so that a schema which somebody else owns is an error
-- instead of a trap.
create schema encrypt;

comment on schema encrypt is 'pg_encrypt: encrypted columns, blind indexes and keys';

-- Everyone may look up the public functions; what they may do is decided per key, inside.
grant usage on schema encrypt to public;
