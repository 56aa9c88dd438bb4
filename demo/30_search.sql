-- SEARCHING
--
-- An ordinary btree index on the tokens makes equality searches fast. blind_index_all gives the token under every version
-- of the index key that rows may still carry, so that searching goes on while the index key is rotated.

create index on customers (email_index);
vacuum analyze customers;

explain (costs off)
select id from customers where email_index = any (encrypt.blind_index_all('user4711@example.org', 'pii', 'customers.email'));

\timing on
select id, name, encrypt.decrypt_column(email, 'customers.email', id::text) as email
from customers
where email_index = any (encrypt.blind_index_all('  USER4711@Example.ORG ', 'pii', 'customers.email'));
\timing off
