-- Indexes, constraints and partitioning that would store the order of plaintexts are refused, with what to do instead.
set client_min_messages = error;
create schema types_refusals;
set search_path = types_refusals;
select encrypt.create_key('types_refusals') is not null as made;
select encrypt.create_type('email_enc', key => 'types_refusals', searchable => true);
select encrypt.create_type('note_enc', key => 'types_refusals');
reset client_min_messages;
create table t (k integer primary key, e email_enc, n note_enc, many email_enc[]);

\set SHOW_CONTEXT never
create index on t (e);
create index on t (n);
create index on t (k, e);
create index on t (n) where k > 7;
create unique index on t (e);
-- CONCURRENTLY: before anything is built, by the name that the statement finds.
create index concurrently on t (e);
create index concurrently if not exists i on types_refusals.t (k, (n));
create unique index concurrently on t (e email_enc_order);
create index concurrently on t using hash (n);
create index concurrently on nowhere (e);
create index concurrently on t (nothing);
create index concurrently on t (e nothing_ops);
create index concurrently t_e on t (e email_enc_ops);
create index concurrently t_hash on t using hash (e);
create index concurrently t_k on t (k);
select indexrelid::regclass, indisvalid from pg_index where indrelid = 't'::regclass order by 1;
reindex table concurrently t;
drop index t_e, t_hash, t_k;
\set VERBOSITY terse
create index on t using hash (n);
alter table t add unique (e);
alter table t add constraint one exclude using btree (e with =);
create table refused (e email_enc);
alter table refused add primary key (e);
drop table refused;
create table refused (e email_enc primary key);
create table refused (e email_enc unique);
create table refused (like t including all, unique (n));
create table refused (k integer, e email_enc) partition by range (e);
create table refused (k integer, e email_enc) partition by list (e);
create table refused (k integer, e email_enc) partition by hash (e);
create table refused (k integer, n note_enc) partition by hash (n);
create table refused (k integer, e email_enc) partition by range (k, e);
-- Through an expression, a domain, a type change. (Decrypting is not immutable, so no index can hold plaintext itself.)
create index on t ((coalesce(e, 'x')));
create index on t ((e::text));
create index on t (lower(e));
create index on t (k) where e = text 'x';
create domain email_domain as email_enc;
create table refused (d email_domain unique);
create table refused (d email_domain);
create index on refused (d);
drop table refused;
create table refused (e text primary key);
alter table refused alter e type email_enc;
drop table refused;
-- A partition, a child, a temporary table, a materialized view.
create table parted (k integer, e email_enc) partition by range (k);
create table part partition of parted for values from (0) to (10);
create index on parted (e);
create index on part (e);
create temporary table gone (e email_enc unique);
create materialized view seen as select e from t;
create index on seen (e);
-- Also where triggers do not fire.
set session_replication_role = replica;
create index on t (e);
reset session_replication_role;

-- What is permitted: token order, hashes of tokens, the column beside the key, arrays of nothing but tokens.
create unique index by_token on t (e email_enc_ops);
create index on t using hash (e);
create index on t (k) include (e, n);
create index on t (k) where e is not null and n is null;
create index on t (encrypt.token(e));
create index on parted (e email_enc_ops);
alter table t add constraint one exclude using btree (e email_enc_ops with =);
create unique index on seen (e email_enc_ops);
select indexrelid::regclass from pg_index where indrelid in ('t'::regclass, 'part'::regclass) order by indexrelid::regclass::text;
-- Refused: nothing was left behind.
select relname from pg_class where relnamespace = 'types_refusals'::regnamespace and relname like 'refused%';
set client_min_messages = error;
drop schema types_refusals cascade;
