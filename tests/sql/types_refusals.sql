-- default settings only: what is refused is read from catalogs
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
-- Arrays, rows and ranges are compared by what they consist of; domains over them as well.
create type pair as (k integer, e email_enc);
create type span as range (subtype = note_enc);
create domain many_domain as email_enc[];
create table within (many email_enc[], row pair, span span, d many_domain, notes note_enc[]);
create index on within (many);
create index on within using gin (many);
create index on within ((many || many));
create index on within (row);
create index on within (span);
create index on within using gist (span);
create index on within (d);
create index on within using hash (notes);
alter table within add unique (row);
create table refused (k integer, row pair) partition by range (row);
create table refused (many email_enc[]) partition by list (many);
create statistics refused on many, row from within;
create statistics refused on d, row from within;
create table refused (d email_domain, k integer);
create statistics refused on d, k from refused;
drop table refused;
create index on within using hash (many);
create index on within (cardinality(many), (encrypt.token((row).e))) include (row);
-- ANALYZE leaves them out: it would store them sorted, or fail where the table's owner may not decrypt.
alter table within add n note_enc, add d2 email_domain, add k integer, add ks integer[];
alter table within alter many set statistics 100;
select attname from pg_attribute where attrelid = 'within'::regclass and attnum > 0 and attstattarget = 0 order by 1;
insert into within (many, row, span, d, notes, n, d2, k, ks)
select array[i, i % 3]::text[]::email_enc[], row(i, i::text)::pair, span(i::text::note_enc, null), array[i]::text[]::email_enc[],
       array[i]::text[]::note_enc[], i::text, i % 3, i % 3, array[i % 3] from generate_series(1, 30) as i;
create role regress_types_refusals;
grant usage, create on schema types_refusals to regress_types_refusals;
alter table within owner to regress_types_refusals;
set role regress_types_refusals;
analyze within;
create table within_own (many email_enc[], ks integer[], d many_domain, d2 email_domain);
select attname from pg_attribute where attrelid = 'within_own'::regclass and attnum > 0 and attstattarget = 0 order by 1;
reset role;
select attname from pg_stats where schemaname = 'types_refusals' and tablename = 'within' order by 1;
create materialized view within_seen as select many from within;
create table within_copy as select row from within;
select attrelid::regclass, attname from pg_attribute
where attrelid in ('within_seen'::regclass, 'within_copy'::regclass) and attnum > 0 and attstattarget = 0 order by 2;
drop materialized view within_seen;
drop table within, within_copy, within_own;
drop owned by regress_types_refusals;
drop role regress_types_refusals;
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
