-- ROTATION
--
-- A rotation makes a new version of the key. New values are encrypted under it at once, in every session; old ones stay
-- readable. One of the writers is a transaction that was prepared for two-phase commit and not yet committed:

begin;
insert into customers
values (200002, 'Prepared customer', encrypt.encrypt_column('late@example.com', 'pii', 'customers.email', '200002'),
        encrypt.blind_index('late@example.com', 'pii', 'customers.email'),
        encrypt.encrypt_column('219099999', 'pii', 'customers.ssn', '200002'));
prepare transaction 'import';

select encrypt.rotate_key('pii') is not null as rotated;

select version, state, rotated_at is not null as rotated from encrypt.keys
where name = 'pii' and purpose = 'column' order by version;

-- Re-encryption is an UPDATE, in as many portions as one likes. Each value says which key version it is under.

update customers
set email = encrypt.reencrypt_column(email, context => 'customers.email', row_id => id::text),
    ssn = encrypt.reencrypt_column(ssn, context => 'customers.ssn', row_id => id::text)
where id <= 50000;

select k.version, k.state, count(*) as customers
from customers c join encrypt.keys k on k.key_id = encrypt.key_id(c.email)
group by k.version, k.state order by k.version;

-- The old version can't be retired while a transaction that may have used it is undecided: its rows can't be seen, and
-- nothing can be proved about them.

\ir expect_error.psql
select encrypt.retire_key(key_id) from encrypt.keys where name = 'pii' and purpose = 'column' and version = 1;
\ir was_error.psql

commit prepared 'import';

-- The rest is re-encrypted, nothing is left under version 1, and the version can be retired:

update customers
set email = encrypt.reencrypt_column(email, context => 'customers.email', row_id => id::text),
    ssn = encrypt.reencrypt_column(ssn, context => 'customers.ssn', row_id => id::text)
where id > 50000;

select k.version, k.state, count(*) as customers
from customers c join encrypt.keys k on k.key_id = encrypt.key_id(c.email)
group by k.version, k.state order by k.version;

select encrypt.retire_key(key_id) from encrypt.keys where name = 'pii' and purpose = 'column' and version = 1;

-- A retired version never encrypts again, and its key can be destroyed. The key's name is asked for as confirmation.

select encrypt.destroy_key(key_id, confirm => 'pii') from encrypt.keys
where name = 'pii' and purpose = 'column' and version = 1;

select name, purpose, version, state, destroyed_at is not null as destroyed, rotation_due
from encrypt.key_status where name = 'pii' order by purpose, version;
