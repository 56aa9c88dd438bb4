-- Comparing rows, `(a, b) = (x, y)` and `(a, b) in (select ...)`: PostgreSQL looks each column's operator up in btree
-- families to learn that `=` is equality. Those of searchable types are in their token order (searchable_plain.sql); others
-- have an order of the type alone, which should stay complete. So they are in a family of their own, that is no class's and serves
-- no index.

alter operator family {class plain} using btree add
    operator 3 {schema}.= ({type}, {plain}),
    operator 3 {schema}.= ({plain}, {type});
