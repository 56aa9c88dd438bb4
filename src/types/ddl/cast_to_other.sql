-- Assignment to a type that PostgreSQL would assign the base type to, one for each such type.

create function {fn to_target}({type}) returns {target}
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_to_target';
create cast ({type} as {target}) with function {fn to_target}({type}) as assignment;
