-- Texts are compared with names too: a hash family is complete with every equality between its types.

alter operator family {class hash} using hash add
    operator 1 pg_catalog.= (pg_catalog.text, pg_catalog.name),
    operator 1 pg_catalog.= (pg_catalog.name, pg_catalog.text);
