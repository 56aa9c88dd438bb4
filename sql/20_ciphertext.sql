-- Type encrypt.ciphertext: an envelope of one encrypted value. Its text form is bytea's hex form, so dumps and
-- replicas without the extension load it into bytea columns.

create type encrypt.ciphertext;

create function encrypt.ciphertext_in(cstring) returns encrypt.ciphertext
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ciphertext_in';
create function encrypt.ciphertext_out(encrypt.ciphertext) returns cstring
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ciphertext_out';
create function encrypt.ciphertext_recv(internal) returns encrypt.ciphertext
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ciphertext_recv';
create function encrypt.ciphertext_send(encrypt.ciphertext) returns bytea
    language internal immutable strict parallel safe as 'byteasend';

-- External storage: compressing ciphertext is wasted work.
create type encrypt.ciphertext (
    input = encrypt.ciphertext_in,
    output = encrypt.ciphertext_out,
    receive = encrypt.ciphertext_recv,
    send = encrypt.ciphertext_send,
    internallength = variable,
    alignment = int4,
    storage = external
);

comment on type encrypt.ciphertext is 'one encrypted value: header, nonce, ciphertext and authentication tag';
comment on function encrypt.ciphertext_in(cstring) is 'I/O';
comment on function encrypt.ciphertext_out(encrypt.ciphertext) is 'I/O';
comment on function encrypt.ciphertext_recv(internal) is 'I/O';
comment on function encrypt.ciphertext_send(encrypt.ciphertext) is 'I/O';

create function encrypt.ciphertext(bytea) returns encrypt.ciphertext
    language c immutable strict parallel safe as 'MODULE_PATHNAME', 'ciphertext_from_bytea';
comment on function encrypt.ciphertext(bytea) is 'checks that bytes are an envelope';

create cast (bytea as encrypt.ciphertext) with function encrypt.ciphertext(bytea);
create cast (encrypt.ciphertext as bytea) without function;

-- Operators with other names than =, < and so on: comparing randomised ciphertexts by accident is always a mistake,
-- yet DISTINCT, replica identity and comparison of whole rows need an order and an equality of the stored bytes.

create function encrypt._ciphertext_eq(encrypt.ciphertext, encrypt.ciphertext) returns boolean
    language internal immutable strict parallel safe as 'byteaeq';
create function encrypt._ciphertext_ne(encrypt.ciphertext, encrypt.ciphertext) returns boolean
    language internal immutable strict parallel safe as 'byteane';
create function encrypt._ciphertext_lt(encrypt.ciphertext, encrypt.ciphertext) returns boolean
    language internal immutable strict parallel safe as 'bytealt';
create function encrypt._ciphertext_le(encrypt.ciphertext, encrypt.ciphertext) returns boolean
    language internal immutable strict parallel safe as 'byteale';
create function encrypt._ciphertext_gt(encrypt.ciphertext, encrypt.ciphertext) returns boolean
    language internal immutable strict parallel safe as 'byteagt';
create function encrypt._ciphertext_ge(encrypt.ciphertext, encrypt.ciphertext) returns boolean
    language internal immutable strict parallel safe as 'byteage';
create function encrypt._ciphertext_cmp(encrypt.ciphertext, encrypt.ciphertext) returns integer
    language internal immutable strict parallel safe as 'byteacmp';
create function encrypt._ciphertext_hash(encrypt.ciphertext) returns integer
    language internal immutable strict parallel safe as 'hashvarlena';
create function encrypt._ciphertext_hash_extended(encrypt.ciphertext, bigint) returns bigint
    language internal immutable strict parallel safe as 'hashvarlenaextended';

create operator encrypt.*= (
    leftarg = encrypt.ciphertext, rightarg = encrypt.ciphertext, function = encrypt._ciphertext_eq,
    commutator = operator(encrypt.*=), negator = operator(encrypt.*<>),
    restrict = eqsel, join = eqjoinsel, hashes, merges
);
create operator encrypt.*<> (
    leftarg = encrypt.ciphertext, rightarg = encrypt.ciphertext, function = encrypt._ciphertext_ne,
    commutator = operator(encrypt.*<>), negator = operator(encrypt.*=), restrict = neqsel, join = neqjoinsel
);
create operator encrypt.*< (
    leftarg = encrypt.ciphertext, rightarg = encrypt.ciphertext, function = encrypt._ciphertext_lt,
    commutator = operator(encrypt.*>), negator = operator(encrypt.*>=),
    restrict = scalarltsel, join = scalarltjoinsel
);
create operator encrypt.*<= (
    leftarg = encrypt.ciphertext, rightarg = encrypt.ciphertext, function = encrypt._ciphertext_le,
    commutator = operator(encrypt.*>=), negator = operator(encrypt.*>),
    restrict = scalarlesel, join = scalarlejoinsel
);
create operator encrypt.*> (
    leftarg = encrypt.ciphertext, rightarg = encrypt.ciphertext, function = encrypt._ciphertext_gt,
    commutator = operator(encrypt.*<), negator = operator(encrypt.*<=),
    restrict = scalargtsel, join = scalargtjoinsel
);
create operator encrypt.*>= (
    leftarg = encrypt.ciphertext, rightarg = encrypt.ciphertext, function = encrypt._ciphertext_ge,
    commutator = operator(encrypt.*<=), negator = operator(encrypt.*<),
    restrict = scalargesel, join = scalargejoinsel
);

create operator class encrypt.ciphertext_ops default for type encrypt.ciphertext using btree as
    operator 1 encrypt.*<, operator 2 encrypt.*<=, operator 3 encrypt.*=, operator 4 encrypt.*>=, operator 5 encrypt.*>,
    function 1 encrypt._ciphertext_cmp(encrypt.ciphertext, encrypt.ciphertext);
create operator class encrypt.ciphertext_ops default for type encrypt.ciphertext using hash as
    operator 1 encrypt.*=,
    function 1 encrypt._ciphertext_hash(encrypt.ciphertext),
    function 2 encrypt._ciphertext_hash_extended(encrypt.ciphertext, bigint);

comment on operator encrypt.*= (encrypt.ciphertext, encrypt.ciphertext) is 'same stored bytes';
comment on operator encrypt.*<> (encrypt.ciphertext, encrypt.ciphertext) is 'different stored bytes';
comment on operator encrypt.*< (encrypt.ciphertext, encrypt.ciphertext) is 'order of stored bytes';
comment on operator encrypt.*<= (encrypt.ciphertext, encrypt.ciphertext) is 'order of stored bytes';
comment on operator encrypt.*> (encrypt.ciphertext, encrypt.ciphertext) is 'order of stored bytes';
comment on operator encrypt.*>= (encrypt.ciphertext, encrypt.ciphertext) is 'order of stored bytes';
comment on operator class encrypt.ciphertext_ops using btree is 'stored bytes, for DISTINCT and comparison of rows';
comment on operator class encrypt.ciphertext_ops using hash is 'stored bytes, for DISTINCT and comparison of rows';
