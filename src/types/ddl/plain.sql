-- Equality with a plain type, once for each that the base type is compared with: the base type itself, and for numbers
-- their other widths, or `column = 7` would be ambiguous. In the hash family too, so that joins with plain columns can
-- hash.

create function {fn eq_plain}({type}, {plain}) returns boolean
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'type_eq_plain';
create function {fn ne_plain}({type}, {plain}) returns boolean
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'type_ne_plain';
create function {fn plain_eq}({plain}, {type}) returns boolean
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'plain_eq_type';
create function {fn plain_ne}({plain}, {type}) returns boolean
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'plain_ne_type';

create operator {schema}.= (
    leftarg = {type}, rightarg = {plain}, function = {fn eq_plain},
    commutator = operator({schema}.=), negator = operator({schema}.<>), restrict = eqsel, join = eqjoinsel, hashes
);
create operator {schema}.<> (
    leftarg = {type}, rightarg = {plain}, function = {fn ne_plain},
    commutator = operator({schema}.<>), negator = operator({schema}.=), restrict = neqsel, join = neqjoinsel
);
create operator {schema}.= (
    leftarg = {plain}, rightarg = {type}, function = {fn plain_eq},
    commutator = operator({schema}.=), negator = operator({schema}.<>), restrict = eqsel, join = eqjoinsel, hashes
);
create operator {schema}.<> (
    leftarg = {plain}, rightarg = {type}, function = {fn plain_ne},
    commutator = operator({schema}.<>), negator = operator({schema}.=), restrict = neqsel, join = neqjoinsel
);

create function {fn hash_plain}({plain}) returns integer
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'plain_hash';
create function {fn hash_plain_extended}({plain}, bigint) returns bigint
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'plain_hash_extended';

alter operator family {class hash} using hash add
    operator 1 {schema}.= ({type}, {plain}),
    operator 1 {schema}.= ({plain}, {type}),
    function 1 ({plain}, {plain}) {fn hash_plain}({plain}),
    function 2 ({plain}, {plain}) {fn hash_plain_extended}({plain}, bigint);
