-- WHO MAY
--
-- The functions may be called by anybody; what decides is the grant for the key. Three roles, all of which may read the
-- table: support may search and decrypt, the web shop may encrypt and search, the analyst has no grant.

create role demo_support;
create role demo_shop;
create role demo_analyst;
grant select on customers to demo_support, demo_analyst;
grant select, insert on customers to demo_shop;
select encrypt.grant_key('pii', 'demo_support', 'search', 'decrypt');
select encrypt.grant_key('pii', 'demo_shop', 'search', 'encrypt');

select role, encrypt.has_key_privilege('pii', 'encrypt', role) as encrypt,
       encrypt.has_key_privilege('pii', 'search', role) as search,
       encrypt.has_key_privilege('pii', 'decrypt', role) as decrypt
from unnest(array['demo_support', 'demo_shop', 'demo_analyst']::regrole[]) as role;

set role demo_support;
select encrypt.decrypt_column(email, 'customers.email', id::text) as "support reads" from customers where id = 4711;

set role demo_shop;
insert into customers
values (200001, 'New customer', encrypt.encrypt_column('new@example.com', 'pii', 'customers.email', '200001'),
        encrypt.blind_index('new@example.com', 'pii', 'customers.email'),
        encrypt.encrypt_column('078051120', 'pii', 'customers.ssn', '200001'));

-- The shop wrote it, but can't read it, and the analyst can do neither:

\ir expect_error.psql
select encrypt.decrypt_column(email, 'customers.email', id::text) from customers where id = 200001;
\ir was_error.psql

set role demo_analyst;
\ir expect_error.psql
select encrypt.decrypt_column(ssn, 'customers.ssn', id::text) from customers where id = 4711;
\ir was_error.psql
reset role;
