-- default settings only: what is refused is read from catalogs
-- Expressions whose results are stored: none that decrypts, and none that compares encrypted values by their plaintexts inside of
-- functions that PostgreSQL calls immutable.
set client_min_messages = error;
create schema types_expressions;
set search_path = types_expressions;
select encrypt.create_key('types_expressions') is not null as made;
select encrypt.create_type('email_enc', key => 'types_expressions', searchable => true);
select encrypt.create_type('note_enc', key => 'types_expressions');
reset client_min_messages;
create table t (k integer, e email_enc, n note_enc, many email_enc[], notes note_enc[], c encrypt.ciphertext, p text);
insert into t (k, e, n) select k, 'CANARY' || k % 3, 'CANARY' || k % 3 from generate_series(1, 30) k;

\set SHOW_CONTEXT never
create statistics refused on (e::text) from t;
\set VERBOSITY terse
-- Statistics take any function, PostgreSQL checks no volatility.
create statistics refused on (lower(e)), k from t;
create statistics refused on (n || ''), k from t;
create statistics refused on (e < 'm'), k from t;
create statistics refused on (array[e]) from t;
create statistics refused on (coalesce(e, 'x')), k from t;
create statistics refused on (encrypt.decrypt_column(c)) from t;
create statistics refused on (array[n]::text) from t;
-- What a generated column converts to its own type.
alter table t add refused text generated always as (e) stored;
alter table t add refused varchar(10) generated always as (coalesce(e, 'x')) stored;
alter table t add refused name generated always as (n) stored;
alter table t add refused text[] generated always as (notes) stored;
create table refused (n note_enc, copy text generated always as (n) stored);
-- Comparisons inside of greatest, arrays and rows; hashes of plaintexts.
create index refused on t ((greatest(e, 'm') = e));
create index refused on t ((many < '{m}'));
create index refused on t (k) where many >= '{m}';
create index refused on t ((width_bucket(e, '{a,m}'::email_enc[])));
create index refused on t ((hash_array(notes)));
create index refused on t ((hash_record(row(n))));
create index refused on t ((array_position('{a,m}'::note_enc[], n)));
create index refused on t ((array[n] @> '{m}'::note_enc[]));
create index refused on t using hash ((array[e]));
alter table t add refused integer generated always as (hash_array(array[n])) stored;
alter table t add refused boolean generated always as (least(n, 'm') is null) stored;
create table refused (k integer, e email_enc) partition by range ((array[e]));
create table refused (k integer, e email_enc) partition by list ((array[e] < '{m}'::email_enc[]));
-- ALTER TABLE makes statistics anew; rows grow in tables and indexes that have them.
create table later (a text, b text, k integer);
create statistics on_column on a, k from later;
create statistics on_expression on (lower(b)) from later;
alter table later alter a type email_enc using a::email_enc;
alter table later alter b type note_enc using b::note_enc;
create type pair as (k integer);
create table within (pair pair, pairs pair[]);
create index on within (pair);
alter type pair add attribute e email_enc;
drop index within_pair_idx;
create index on within (pairs);
alter type pair add attribute e email_enc;
drop index within_pairs_idx;
alter type pair add attribute e email_enc;
select attname from pg_attribute where attrelid = 'within'::regclass and attnum > 0 and attstattarget = 0 order by 1;
create table base (k integer);
create table of_base (b base unique);
alter table base add e email_enc;

-- Rows and what consists of them are equal by tokens only if all that is encrypted in them is searchable.
create type known as (k integer, e email_enc, p text);
create type knowns as (known known, more known[]);
create domain known_domain as known;
create type unknown_too as (known known, n note_enc);
create table rows_in (
    k integer, known known, knowns knowns, in_domain known_domain, in_array knowns[], other unknown_too, in_others unknown_too[]
);
create index refused on rows_in ((other = null::unknown_too));
create index refused on rows_in (k) where other <> null::unknown_too;
create index refused on rows_in ((hash_record(other)));
create index refused on rows_in ((array_position(in_others, null::unknown_too)));
create index refused on rows_in ((row(k, other) = row(1, null::unknown_too)));
create index refused on rows_in ((known < null::known));
create index refused on rows_in ((greatest(known, null::known) is null));
create index refused on rows_in ((known::text));
alter table rows_in add refused boolean generated always as (other = null::unknown_too) stored;
create statistics refused on (other = null::unknown_too), k from rows_in;

-- What is permitted tells no more than the columns do.
create index on rows_in ((known = null::known)) where knowns <> null::knowns;
create index on rows_in ((hash_record(known)), (hash_array(in_array)), (in_domain = known), (row(k, known) = row(1, known)));
create statistics of_rows on (known = null::known), k from rows_in;
alter table rows_in add same boolean generated always as (known = null::known) stored;
-- Several of these are in the way.
\set VERBOSITY sqlstate
alter type known add attribute n note_enc;
\set VERBOSITY terse
create statistics by_token on (encrypt.token(e)), (n is null), (cardinality(many)) from t;
create statistics by_key on (encrypt.key_id(c)), k from t;
create statistics of_plaintext on (lower(p)), (k + 1), k from t;
alter table t add token bytea generated always as (encrypt.token(e)) stored,
    add copy note_enc generated always as (n) stored,
    add known email_enc generated always as (coalesce(e, 'x')) stored,
    add has boolean generated always as (n is not null) stored,
    add more email_enc[] generated always as (many || array[e]) stored;
create index on t ((many = '{}')) where many <> '{}';
create index on t ((array_position(many, e)), (hash_array(many)));
create index on t ((least(p, 'm')), (width_bucket(k, '{1,5}')), (array[p] < '{m}'));
select count(*) from pg_class where relnamespace = 'types_expressions'::regnamespace and relname like 'refused%';
set client_min_messages = error;
drop schema types_expressions cascade;
