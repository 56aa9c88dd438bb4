-- What every encrypted type consists of. {…} is replaced by quoted names: {type}, {base}, and {fn NAME} for a function
-- of the type. All functions are C symbols shared by all types.
--
-- Volatility: what decrypts is STABLE, so that no plaintext is folded into a plan; what compares tokens alone is
-- IMMUTABLE, so that it can serve indexes.

create type {type};

create function {fn in}(cstring, oid, integer) returns {type}
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_in';
create function {fn out}({type}) returns cstring
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_out';
create function {fn recv}(internal, oid, integer) returns {type}
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_recv';
create function {fn send}({type}) returns bytea
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_send';

-- The analyze function belongs to the extension, so the type depends on it: DROP EXTENSION is refused while it exists.
create type {type} (
    input = {fn in}, output = {fn out}, receive = {fn recv}, send = {fn send},
    analyze = encrypt._typanalyze,
    internallength = variable, alignment = int4, storage = external,
    category = {category}, collatable = {collatable}
);

-- Implicit to the base type: that is what makes functions, LIKE and concatenation work. Assignment from it.

create function {fn to_base}({type}) returns {base}
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_to_base';
create function {fn from_base}({base}) returns {type}
    language c volatile strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_from_base';

create cast ({type} as {base}) with function {fn to_base}({type}) as implicit;
create cast ({base} as {type}) with function {fn from_base}({base}) as assignment;

-- Equality: by token if the type is searchable, else by decrypting.

create function {fn eq}({type}, {type}) returns boolean
    language c {eq_volatility} strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'type_eq';
create function {fn ne}({type}, {type}) returns boolean
    language c {eq_volatility} strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'type_ne';
create operator {schema}.= (
    leftarg = {type}, rightarg = {type}, function = {fn eq},
    commutator = operator({schema}.=), negator = operator({schema}.<>),
    restrict = eqsel, join = eqjoinsel, hashes, merges
);
create operator {schema}.<> (
    leftarg = {type}, rightarg = {type}, function = {fn ne},
    commutator = operator({schema}.<>), negator = operator({schema}.=), restrict = neqsel, join = neqjoinsel
);

-- Plaintext order, for ORDER BY, min, max, merge joins: at run time only. An index in this order would store it on
-- disk, which the extension's event trigger refuses.

create function {fn lt}({type}, {type}) returns boolean
    language c stable strict parallel safe cost 40 as '$libdir/pg_encrypt', 'type_lt';
create function {fn le}({type}, {type}) returns boolean
    language c stable strict parallel safe cost 40 as '$libdir/pg_encrypt', 'type_le';
create function {fn gt}({type}, {type}) returns boolean
    language c stable strict parallel safe cost 40 as '$libdir/pg_encrypt', 'type_gt';
create function {fn ge}({type}, {type}) returns boolean
    language c stable strict parallel safe cost 40 as '$libdir/pg_encrypt', 'type_ge';
create function {fn cmp}({type}, {type}) returns integer
    language c stable strict parallel safe cost 40 as '$libdir/pg_encrypt', 'type_cmp';

create function {fn sort_support}(internal) returns void
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'type_sort_support';

create operator {schema}.< (
    leftarg = {type}, rightarg = {type}, function = {fn lt},
    commutator = operator({schema}.>), negator = operator({schema}.>=),
    restrict = scalarltsel, join = scalarltjoinsel
);
create operator {schema}.<= (
    leftarg = {type}, rightarg = {type}, function = {fn le},
    commutator = operator({schema}.>=), negator = operator({schema}.>),
    restrict = scalarlesel, join = scalarlejoinsel
);
create operator {schema}.> (
    leftarg = {type}, rightarg = {type}, function = {fn gt},
    commutator = operator({schema}.<), negator = operator({schema}.<=),
    restrict = scalargtsel, join = scalargtjoinsel
);
create operator {schema}.>= (
    leftarg = {type}, rightarg = {type}, function = {fn ge},
    commutator = operator({schema}.<=), negator = operator({schema}.<),
    restrict = scalargesel, join = scalargejoinsel
);

create operator class {class order} default for type {type} using btree as
    operator 1 {schema}.<, operator 2 {schema}.<=, operator 3 {schema}.=,
    operator 4 {schema}.>=, operator 5 {schema}.>,
    function 1 {fn cmp}({type}, {type}),
    function 2 {fn sort_support}(internal);

-- Hash: of the token if there is one, else of the decrypted value.

create function {fn hash}({type}) returns integer
    language c {eq_volatility} strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'type_hash';
create function {fn hash_extended}({type}, bigint) returns bigint
    language c {eq_volatility} strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'type_hash_extended';

create operator family {class hash} using hash;
create operator class {class hash} default for type {type} using hash family {class hash} as
    operator 1 {schema}.=,
    function 1 {fn hash}({type}),
    function 2 {fn hash_extended}({type}, bigint);
