-- What a searchable type has beyond type.sql: an operator class in token order, for indexes, unique indexes, ON
-- CONFLICT and foreign keys. It has all five strategies, or merge joins would fail.

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
create function {fn token_sort_support}(internal) returns void
    language c stable strict parallel safe as '$libdir/pg_encrypt', 'token_sort_support';

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
    function 1 {fn token_cmp}({type}, {type}),
    function 2 {fn token_sort_support}(internal);

comment on operator class {class ops} using btree is
    'order of tokens: for indexes on the encrypted column, unique ones too';
