-- ENCRYPTING COLUMNS
--
-- A table of 200,000 customers as an application has it, in plaintext:

create table plain_customers as
select id,
       'Customer ' || id as name,
       'user' || id || '@' || (array['example.com', 'example.org', 'example.net'])[1 + id % 3] as email,
       lpad((id * 7919 % 900000000 + 100000000)::text, 9, '0') as ssn
from generate_series(1, 200000) as id;

-- And one where e-mail address and social security number are encrypted. The context binds a value to its column, the row
-- id to its row: moved elsewhere, it does not decrypt. The blind index is a token that is equal where e-mail addresses are
-- equal but for case, and says nothing else to those who have no key.

create table customers (
    id          integer primary key,
    name        text not null,
    email       encrypt.ciphertext not null,
    email_index bytea not null,
    ssn         encrypt.ciphertext not null
);

\timing on
insert into customers
select id, name,
       encrypt.encrypt_column(email, 'pii', 'customers.email', id::text),
       encrypt.blind_index(email, 'pii', 'customers.email'),
       encrypt.encrypt_column(ssn, 'pii', 'customers.ssn', id::text)
from plain_customers;
\timing off

-- What is stored, and what those read who may:

select id, left(email::text, 26) || '...' as email, encode(email_index, 'hex') as email_index
from customers where id <= 3 order by id;

select id, encrypt.decrypt_column(email, 'customers.email', id::text) as email,
       encrypt.decrypt_column(ssn, 'customers.ssn', id::text) as ssn
from customers where id <= 3 order by id;

-- Every one of the 400,000 values decrypts to what it was:

\timing on
select count(*) as customers,
       count(*) filter (where encrypt.decrypt_column(c.email, 'customers.email', c.id::text) = p.email
                          and encrypt.decrypt_column(c.ssn, 'customers.ssn', c.id::text) = p.ssn) as equal
from customers c join plain_customers p using (id);
\timing off

-- A value that is put into another row is found out, as is every altered byte. All of these give the same error, so that
-- an attacker learns nothing from it.

\ir expect_error.psql
select encrypt.decrypt_column(ssn, 'customers.ssn', '2') from customers where id = 1;
\ir was_error.psql
