-- To the other character types by decrypting. PostgreSQL would do it through the output function, which gives the stored
-- value's hex to a role that may not decrypt.
--
-- To varchar implicitly, as from text: functions have parameters of that type, and `coalesce` and its kin mix it with others. No
-- operator takes it, so none becomes ambiguous.

create cast ({type} as {target}) with function {fn to_base}({type}) as {context};
