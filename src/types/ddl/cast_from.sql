-- Assignment from a type that PostgreSQL would assign to the base type, one for each such type.

create function {fn from_source}({source}) returns {type}
    language c volatile strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_from_source';
create cast ({source} as {type}) with function {fn from_source}({source}) as assignment;
