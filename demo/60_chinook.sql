-- A DATABASE THAT WAS NOT MADE FOR THIS
--
-- Chinook, a public sample database of a music shop: e-mail addresses and telephone numbers of its customers become
-- encrypted columns, the plaintext columns go, and VACUUM FULL rewrites the table, for a dropped column's content would
-- otherwise stay in the file.

alter table customer
    add column email_encrypted encrypt.ciphertext,
    add column email_index bytea,
    add column phone_encrypted encrypt.ciphertext;

update customer
set email_encrypted = encrypt.encrypt_column(email, 'pii', 'customer.email', customer_id::text),
    email_index = encrypt.blind_index(email, 'pii', 'customer.email', 'email'),
    phone_encrypted = encrypt.encrypt_column(phone, 'pii', 'customer.phone', customer_id::text);

alter table customer drop column email, drop column phone;
create unique index on customer (email_index);
vacuum full customer;

select c.customer_id, c.first_name, count(i.invoice_id) as invoices,
       encrypt.decrypt_column(c.phone_encrypted, 'customer.phone', c.customer_id::text) as phone
from customer c join invoice i using (customer_id)
where c.email_index = any (encrypt.blind_index_all('FTremblay@gmail.com', 'pii', 'customer.email', 'email'))
group by c.customer_id;
