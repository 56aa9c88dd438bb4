-- To the other character types by decrypting. PostgreSQL would do it through the output function, which gives the stored
-- value's hex to a role that may not decrypt.

create cast ({type} as {target}) with function {fn to_base}({type}) as assignment;
