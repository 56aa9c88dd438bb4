-- How a value looks in JSON made from rows, where that is not its text as a string: to_json and its kin ask for this cast.

create function {fn to_json}({type}) returns json
    language c stable strict parallel safe cost 20 as '$libdir/pg_encrypt', 'type_to_json';
create cast ({type} as json) with function {fn to_json}({type}){context};
