-- What a searchable type has beyond type.sql: an operator class in token order, for indexes, unique indexes, ON
-- CONFLICT and foreign keys. It has all five strategies, or merge joins would fail, and members for the base type on
-- either side in the same order, or an index could not serve `column = any (array of the base type)`: from 17 on such
-- arrays are sorted with the class's own comparator.

create function {fn token_lt}({type}, {type}) returns boolean
    language c immutable strict parallel safe as '$libdir/pg_encrypt', 'token_lt';
create function {fn token_le}({type}, {type}) returns boolean
    language c immutable strict parallel safe as '$libdir/pg_encrypt', 'token_le';
create function {fn token_gt}({type}, {type}) returns boolean
    language c immutable strict parallel safe as '$libdir/pg_encrypt', 'token_gt';
create function {fn token_ge}({type}, {type}) returns boolean
    language c immutable strict parallel safe as '$libdir/pg_encrypt', 'token_ge';
create function {fn token_cmp}({type}, {type}) returns integer
    language c immutable strict parallel safe as '$libdir/pg_encrypt', 'token_cmp';
create function {fn token_cmp_base}({type}, {base}) returns integer
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'token_cmp_base';
create function {fn base_cmp_token}({base}, {type}) returns integer
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'base_cmp_token';
create function {fn base_token_cmp}({base}, {base}) returns integer
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'base_token_cmp';

create operator {schema}.*< (
    leftarg = {type}, rightarg = {type}, function = {fn token_lt},
    commutator = operator({schema}.*>), negator = operator({schema}.*>=)
);
create operator {schema}.*<= (
    leftarg = {type}, rightarg = {type}, function = {fn token_le},
    commutator = operator({schema}.*>=), negator = operator({schema}.*>)
);
create operator {schema}.*> (
    leftarg = {type}, rightarg = {type}, function = {fn token_gt},
    commutator = operator({schema}.*<), negator = operator({schema}.*<=)
);
create operator {schema}.*>= (
    leftarg = {type}, rightarg = {type}, function = {fn token_ge},
    commutator = operator({schema}.*<=), negator = operator({schema}.*<)
);

create operator family {class ops} using btree;
create operator class {class ops} for type {type} using btree family {class ops} as
    operator 1 {schema}.*<, operator 2 {schema}.*<=, operator 3 {schema}.=,
    operator 4 {schema}.*>=, operator 5 {schema}.*>,
    function 1 {fn token_cmp}({type}, {type});
alter operator family {class ops} using btree add
    operator 3 {schema}.= ({type}, {base}),
    operator 3 {schema}.= ({base}, {type}),
    function 1 ({type}, {base}) {fn token_cmp_base}({type}, {base}),
    function 1 ({base}, {type}) {fn base_cmp_token}({base}, {type}),
    function 1 ({base}, {base}) {fn base_token_cmp}({base}, {base});

comment on operator class {class ops} using btree is
    'order of tokens: for indexes on the encrypted column, unique ones too';
