-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Exposure columns: after cutover the table has ciphertext columns and blind indexes that the application handles itself.
set client_min_messages = warning;
\set SHOW_CONTEXT never
\set VERBOSITY terse
select setval('encrypt.migrations_migration_id_seq', 7100) is not null as numbered;
create role regress_mec_owner;
create role regress_mec_app;
create role regress_mec_reader;
create schema mec authorization regress_mec_owner;
grant usage on schema mec to public;
set client_min_messages = error;
select count(encrypt.create_key('mec'));
reset client_min_messages;
set client_min_messages = warning;
select encrypt.grant_key('mec', 'regress_mec_owner', 'encrypt', 'decrypt', 'search');
select encrypt.grant_key('mec', 'regress_mec_app', 'encrypt', 'decrypt', 'search');
grant execute on function encrypt.start_migration to regress_mec_owner;
set search_path = mec, public;

set role regress_mec_owner;
create table mec.person (
    gone  integer,
    id    bigint primary key,
    email varchar(40) not null,
    ssn   text,
    code  integer,
    born  date default '2000-02-03',
    raw   bytea,
    doc   jsonb,
    bits  bit(5),
    note  text default 'none',
    twice bigint generated always as (id * 2) stored,
    constraint person_email unique (email)
);
alter table mec.person drop column gone;
create index person_code on mec.person (code desc, id) include (ssn);
create index person_hash on mec.person using hash (code);
alter table mec.person alter code set statistics 55;
comment on column mec.person.email is 'address';
grant select, insert, update (email, note) on mec.person to regress_mec_app;
grant select (id, ssn), delete on mec.person to regress_mec_reader;
insert into mec.person (id, email, ssn, code, born, raw, doc, bits)
select i, 'U' || i || '@x', nullif(i, 3)::text, nullif(i, 4) % 7, case when i <> 5 then date '1970-01-01' + i end,
       decode(to_hex(i + 16), 'hex'), jsonb_build_object('i', i), i::bit(5)
from generate_series(1, 20) as i;
create view mec.notes as select id, note from mec.person;

-- Refused, with all reasons.
create function mec.refused(target regclass, columns text[], search text[], options jsonb) returns setof text
    language plpgsql as
$$
declare
    detail text;
begin
    perform encrypt.start_migration(target, columns, 'mec', search, options);
    return next 'started';
exception when others then
    get stacked diagnostics detail = pg_exception_detail;
    return next sqlstate || ' ' || sqlerrm;
    return query select ' - ' || d from string_to_table(nullif(detail, ''), E'\n') d;
end
$$;
create table mec.bad (
    id integer primary key, a text default 'x', a_encrypted text, a_index text, b numeric, c money, d char(3), e text unique,
    encrypted_at text, check (a <> '')
);
create view mec.bad_view as select id, a from mec.bad;
create function mec.nothing() returns trigger language plpgsql as 'begin return new; end';
create trigger on_a before update of a on mec.bad for each row execute function mec.nothing();
create view mec.bad_decrypted as select 1 as one;
select mec.refused('mec.bad', '{a, b, c, d, e}', '{a, b, e}',
                   '{"expose": "columns", "metadata": true, "checks": "drop", "normalizers": {"e": "email"}}');
select mec.refused('mec.bad', '{e}', '{}', '{"expose": "columns", "checks": "keep"}');
select mec.refused('mec.bad', '{e}', '{}', '{"expose": "columns", "types": {"e": "text"}}');
select mec.refused('mec.bad', '{e}', '{}', '{"contexts": {"e": "text"}}');
select mec.refused('mec.bad', '{e}', '{}', '{"expose": "columns", "normalizers": {"e": "upper"}}');
select mec.refused('mec.bad', '{e}', '{}', '{"expose": "columns", "contexts": "e"}');
select mec.refused('mec.bad', '{e}', '{}', '{"expose": "columns", "metadata": "perhaps"}');
drop view mec.bad_decrypted, mec.bad_view;
drop table mec.bad;
reset role;
select count(*) from encrypt.columns where encrypt._table_of(value_column)::text like 'mec.%';

-- Started: columns, indexes, privileges, registration.
set role regress_mec_owner;
select encrypt.start_migration('mec.person', '{email, ssn, code, born, raw, doc, bits}', 'mec', '{email, code}',
                               '{"expose": "columns", "contexts": {"ssn": "person''s ssn %s"}}') as m \gset
reset role;
select attname, format_type(atttypid, atttypmod), attnotnull, coalesce(attstattarget, -1) as target, attacl, col_description(attrelid, attnum),
       (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d where (d.adrelid, d.adnum) = (attrelid, attnum)) as preset
from pg_attribute where attrelid = 'mec.person_encrypted'::regclass and attnum > 0 order by attnum;
select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'mec.person_encrypted'::regclass order by 1;
select value_column, index_column, key_name, context, normalizer, bits from encrypt.columns order by 1;
select column_name, plain_type, cipher_type, value_column, index_column, searchable from encrypt.migration_columns
where migration_id = :m order by 1;

-- Dual write, backfill and comparison. The view is what cutover will make; here it is the test's own.
create view mec.plain as select * from mec.person;
create view mec.shown as select id, encrypt.decrypt_as(email_encrypted, null::varchar, 'mec.person.email')::varchar(40) as email,
    encrypt.decrypt_column(ssn_encrypted, 'person''s ssn %s') as ssn, encrypt.decrypt_as(code_encrypted, null::integer, 'mec.person.code') as code,
    encrypt.decrypt_as(born_encrypted, null::date, 'mec.person.born') as born, encrypt.decrypt_bytes(raw_encrypted, 'mec.person.raw') as raw,
    encrypt.decrypt_as(doc_encrypted, null::jsonb, 'mec.person.doc') as doc,
    encrypt.decrypt_as(bits_encrypted, null::"bit", 'mec.person.bits')::bit(5) as bits, note, twice from mec.person_encrypted;
create function mec.wrong_tokens() returns bigint language sql as $$
    select count(*) from mec.person_encrypted
    where email_index is distinct from encrypt.blind_index(encrypt.decrypt_column(email_encrypted, 'mec.person.email'), 'mec', 'mec.person.email', 'exact')
       or code_index is distinct from encrypt.blind_index(encrypt.decrypt_column(code_encrypted, 'mec.person.code'), 'mec', 'mec.person.code', 'exact')
$$;
insert into mec.person (id, email) values (101, 'new');
insert into mec.person (id, email, code) select i, 'many' || i, i from generate_series(102, 130) i;
update mec.person set note = 'touched' where id in (1, 2);
-- Values that pass from row to row, keys that move, upserts, rows that were copied by nobody yet.
with d as (delete from mec.person where id in (101, 110) returning id, email) insert into mec.person (id, email) select id + 5000, email from d;
with d as (delete from mec.person where id = 6 returning email) update mec.person set email = d.email from d where id = 103;
update mec.person set id = id + 6000 where id between 104 and 109;
insert into mec.person (id, email) values (900, 'many105') on conflict (email) do update set ssn = 'up';
delete from mec.person where id in (7, 112);
select count(*) from (select * from mec.shown except select * from mec.plain) as x;
call encrypt.backfill(:m);
select count(*) from ((select * from mec.shown except select * from mec.plain)
                      union all (select * from mec.plain except select * from mec.shown)) as x;
select mec.wrong_tokens();
-- A ciphertext whose plaintext did not change stays.
create temp table before as select id, ssn_encrypted::bytea as ssn_bytes, email_encrypted::bytea as email_bytes from mec.person_encrypted;
update mec.person set ssn = 'changed', note = 'n' where id = 8;
select p.ssn_encrypted::bytea = b.ssn_bytes as ssn, p.email_encrypted::bytea = b.email_bytes as email
from mec.person_encrypted p join before b using (id) where id = 8;
drop view mec.shown, mec.plain;

-- Verification finds what is altered: a value, a token, a token too many.
call encrypt.verify(:m);
select verification ->> 'rows' as rows, verification ->> 'mismatched' as mismatched, phase from encrypt.migrations where migration_id = :m;
update mec.person_encrypted set code_index = '\x01' where id = 9;
update mec.person_encrypted set code_index = '\x01' where id = 4;
update mec.person_encrypted set code_encrypted = encrypt.encrypt_column(5000, 'mec', 'mec.person.code') where id = 10;
call encrypt.verify(:m);
select verification ->> 'mismatched' as mismatched, phase from encrypt.migrations where migration_id = :m;
call encrypt.cutover(:m);
update mec.person set code = code + 1 where id in (4, 9, 10);
update mec.person set code = code - 1 where id in (4, 9, 10);
call encrypt.verify(:m);
select verification ->> 'mismatched' as mismatched, phase from encrypt.migrations where migration_id = :m;

-- Cutover: refused while the name of the view is taken, or a view that was made since can't follow.
create view mec.person_decrypted as select 1 as one;
call encrypt.cutover(:m);
drop view mec.person_decrypted;
create view mec.late as select email from mec.person;
call encrypt.cutover(:m);
drop view mec.late;
revoke update (email) on mec.person from regress_mec_app;
alter table mec.person alter code set statistics 66;
call encrypt.cutover(:m);
select attname, coalesce(attstattarget, -1) as target, attacl from pg_attribute where attrelid = 'mec.person'::regclass and attnum > 0
and (attstattarget > 0 or attacl is not null) order by attnum;
select c.relname, c.relkind, replace(c.relacl::text, 'xtm', 'xt') as acl, c.reloptions, c.relowner::regrole from pg_class c
where c.relnamespace = 'mec'::regnamespace and c.relkind in ('r', 'v', 'i') order by 1;
\d mec.person_decrypted
select * from mec.notes where id < 3;

-- The application's own statements, as documented; and who may what.
set role regress_mec_app;
insert into mec.person (id, email_encrypted, email_index, ssn_encrypted)
values (200, encrypt.encrypt_column('app@x', 'mec', 'mec.person.email'), encrypt.blind_index('app@x', 'mec', 'mec.person.email', 'exact'),
        encrypt.encrypt_column('s', 'mec', 'person''s ssn %s'));
insert into mec.person (id, email_encrypted, email_index)
values (201, encrypt.encrypt_column('app@x', 'mec', 'mec.person.email'), encrypt.blind_index('app@x', 'mec', 'mec.person.email', 'exact'));
select id, email, ssn, born, note, twice from mec.person_decrypted where id in (1, 8, 200) order by 1;
select id from mec.person where email_index = any (encrypt.blind_index_all('app@x', 'mec', 'mec.person.email', 'exact'));
set role regress_mec_reader;
select id from mec.person_decrypted where id = 1;
select ssn_encrypted is not null from mec.person where id = 1;
reset role;
grant select on mec.person, mec.person_decrypted to regress_mec_reader;
set role regress_mec_reader;
select id, note from mec.person_decrypted where id = 1;
select email from mec.person_decrypted where id = 1;
reset role;
-- What can't be decrypted, or would be too long, is not lost: the statement fails.
insert into mec.person (id, email_encrypted, email_index) values (300, encrypt.encrypt_column('wrong', 'mec', 'elsewhere'), '\x01');
insert into mec.person (id, email_encrypted, email_index)
values (300, encrypt.encrypt_column(repeat('x', 41), 'mec', 'mec.person.email'), '\x01');
update mec.person set code_encrypted = encrypt.encrypt_column(77, 'mec', 'mec.person.code'),
    code_index = encrypt.blind_index('77', 'mec', 'mec.person.code', 'exact') where id between 11 and 13;
update mec.person set id = id + 1000 where id between 14 and 16;
delete from mec.person where id = 17;
select id, email, ssn, code, born, raw, doc, bits, note from mec.person_plaintext where id in (8, 11, 12, 13, 200, 1014) or id between 14 and 17 order by 1;

-- Rotation of both keys, with everything in step.
select count(encrypt.rotate_key('mec'));
select encrypt.start_reencryption('mec') as job \gset
set client_min_messages = error;
call encrypt.run_job(:job);
set client_min_messages = warning;
select k.purpose, k.version, k.state, k."column", k."values" from encrypt.key_usage('mec') k
order by k.purpose, k.version, k."column";
select count(encrypt.rotate_key('mec', 'index'));
select encrypt.start_reindexing('mec');
-- The plaintext table would go on to refuse duplicates.
drop index mec.person_email;
alter table mec.person_plaintext drop constraint person_email_plaintext;
drop index mec.person_email;
select encrypt.start_reindexing('mec') as job \gset
set client_min_messages = error;
call encrypt.run_job(:job);
set client_min_messages = warning;
select k.version, k."column", k."values" from encrypt.key_usage('mec') k where k.purpose = 'index' order by k.version, k."column";
create unique index person_email on mec.person (email_index);
alter table mec.person_plaintext add constraint person_email_plaintext unique (email);
call encrypt.verify(:m);
select verification ->> 'mismatched' as mismatched, phase from encrypt.migrations where migration_id = :m;

-- The way back, with all writes; a view on what will be gone is in the way.
create view mec.late as select email_index from mec.person;
call encrypt.rollback_migration(:m);
drop view mec.late;
create view mec.late as select email from mec.person_decrypted;
call encrypt.rollback_migration(:m);
drop view mec.late;
create temp table shown as select * from mec.person_decrypted;
call encrypt.rollback_migration(:m);
select count(*) from ((select * from shown except select * from mec.person) union all (select * from mec.person except select * from shown)) x;
select relname from pg_class where relnamespace = 'mec'::regnamespace order by 1;
select count(*) from encrypt.columns where key_name = 'mec';
select attname, attacl from pg_attribute where attrelid = 'mec.person'::regclass and attacl is not null order by 1;

-- Again, to the end; what is left is registered, and no migration.
call encrypt.migrate('mec.person', '{email, ssn}', 'mec', '{email}', '{"expose": "columns"}');
select migration_id as m from encrypt.migrations where live = 'mec.person'::regclass and phase = 'cut_over' \gset
call encrypt.finalize_migration(:m);
select count(*) from ((select * from shown except select * from mec.person_decrypted)
                      union all (select * from mec.person_decrypted except select * from shown)) x;
select value_column, index_column from encrypt.columns where key_name = 'mec' order by 1;
select place from encrypt.leftover_plaintext('mec.person') where place !~ '^(server log|backups|elsewhere|free|write-ahead|table pg_catalog|replication)';

set client_min_messages = error;
drop schema mec cascade;
drop owned by regress_mec_owner, regress_mec_app, regress_mec_reader;
drop role regress_mec_owner, regress_mec_app, regress_mec_reader;
