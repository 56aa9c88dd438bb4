-- Equality with a plain type, once for each that the base type is compared with: the base type itself, and for numbers
-- their other widths, or `column = 7` would be ambiguous. In the hash family too (plain_hash.sql), so that joins with
-- plain columns can hash.
--
-- IN (SELECT ...) and NOT IN (SELECT ...) then hash the plain side by its own equality, which must agree with the hash of
-- tokens. Types whose normalizer calls more values equal therefore don't hash with plain columns.

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
    commutator = operator({schema}.=), negator = operator({schema}.<>), restrict = eqsel, join = eqjoinsel{hashes}
);
create operator {schema}.<> (
    leftarg = {type}, rightarg = {plain}, function = {fn ne_plain},
    commutator = operator({schema}.<>), negator = operator({schema}.=), restrict = neqsel, join = neqjoinsel
);
create operator {schema}.= (
    leftarg = {plain}, rightarg = {type}, function = {fn plain_eq},
    commutator = operator({schema}.=), negator = operator({schema}.<>), restrict = eqsel, join = eqjoinsel{hashes}
);
create operator {schema}.<> (
    leftarg = {plain}, rightarg = {type}, function = {fn plain_ne},
    commutator = operator({schema}.<>), negator = operator({schema}.=), restrict = neqsel, join = neqjoinsel
);
