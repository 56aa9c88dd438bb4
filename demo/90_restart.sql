-- restart first
-- AFTER A RESTART
--
-- The server was stopped and started; this is a new session. The key is unwrapped by the root key again when the first
-- value needs it.

\timing on
select id, encrypt.decrypt_column(email, 'customers.email', id::text) as email
from customers
where email_index = any (encrypt.blind_index_all('late@example.com', 'pii', 'customers.email'));
\timing off

select count(encrypt.decrypt_column(ssn, 'customers.ssn', id::text)) as readable, count(*) as customers from customers;
