-- Hashing together with a plain type, see plain.sql.

create function {fn hash_plain}({plain}) returns integer
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'plain_hash';
create function {fn hash_plain_extended}({plain}, bigint) returns bigint
    language c stable strict parallel safe cost {eq_cost} as '$libdir/pg_encrypt', 'plain_hash_extended';

alter operator family {class hash} using hash add
    operator 1 {schema}.= ({type}, {plain}),
    operator 1 {schema}.= ({plain}, {type}),
    operator 1 pg_catalog.= ({plain}, {plain}),
    function 1 ({plain}, {plain}) {fn hash_plain}({plain}),
    function 2 ({plain}, {plain}) {fn hash_plain_extended}({plain}, bigint);
