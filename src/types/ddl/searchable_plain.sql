-- Members of the token order for a plain type, on either side and on both. Without the last one an index could not serve
-- `column = any (array of the plain type)`: from 17 on such arrays are sorted with the family's own comparator.
--
-- There is no order to go with them, so amvalidate() calls the family incomplete. It serves equality only; and operators of
-- two plain values would have to be among those of every plain column in the database to be complete.

create function {fn token_cmp_plain}({type}, {plain}) returns integer
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'token_cmp_plain';
create function {fn plain_cmp_token}({plain}, {type}) returns integer
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'plain_cmp_token';
create function {fn plain_token_cmp}({plain}, {plain}) returns integer
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'plain_token_cmp';

alter operator family {class ops} using btree add
    operator 3 {schema}.= ({type}, {plain}),
    operator 3 {schema}.= ({plain}, {type}),
    function 1 ({type}, {plain}) {fn token_cmp_plain}({type}, {plain}),
    function 1 ({plain}, {type}) {fn plain_cmp_token}({plain}, {type}),
    function 1 ({plain}, {plain}) {fn plain_token_cmp}({plain}, {plain});
