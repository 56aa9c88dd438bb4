-- Statements of applications: they say nothing of encryption and do what they did before.
set client_min_messages = error;
create schema types_statements;
set search_path = types_statements;
select encrypt.create_key('types_statements') is not null as made;
select encrypt.create_type('email_enc', key => 'types_statements', searchable => true);
select encrypt.create_type('note_enc', key => 'types_statements');
select encrypt.create_type('nick_enc', key => 'types_statements', searchable => true, normalizer => 'casefold');
select encrypt.create_type('digits_enc', key => 'types_statements', searchable => true, normalizer => 'digits');
reset client_min_messages;
set pg_encrypt.reveal = on;
create table t (k integer primary key, e email_enc, n note_enc);
create unique index t_e on t (e email_enc_ops);
insert into t values (1, 'ann', 'one'), (2, 'bob', 'two'), (3, '', ''), (4, null, null), (5, null, 'five');

-- Upserts.
insert into t values (6, 'bob', 'more') on conflict (e) do update set n = excluded.n || '+' || t.n returning k, e, n;
insert into t values (7, 'bob', 'more') on conflict (e) do nothing returning k;
insert into t values (7, 'bob') on conflict do nothing returning k;
insert into t values (7, null, 'seven') on conflict (e) do nothing returning k, e;
insert into t values (8, 'eve'), (9, 'fay') on conflict (e) do update set n = 'never' returning k;
insert into t values (8, 'x') on conflict (k) do update set e = excluded.e where t.e <> excluded.e returning k, e;
insert into t values (10, 'bob', 'x');
update t set e = 'ann' where k = 2;
update t set e = e || '!' where e = 'ann' returning e;
delete from t where e = 'ann!' returning k, n;

-- MERGE.
merge into t using (values ('bob', 'merged'), ('zoe', 'new')) s (e, n) on t.e = s.e
when matched then update set n = s.n
when not matched then insert values (20, s.e, s.n);
select * from t order by k;

-- Foreign keys between encrypted columns, with actions.
create table child (k integer, e email_enc references t (e) on update cascade on delete set null);
insert into child values (1, 'bob'), (2, null), (3, 'zoe');
\set VERBOSITY sqlstate
insert into child values (4, 'nobody');
update t set e = 'robert' where e = 'bob';
delete from t where e = 'zoe';
select * from child order by k;
create table wrong (n note_enc references t (e));
create table wrong (e text references t (e));
\set VERBOSITY default

-- Sets, groups, windows, joins.
create table o (k integer, e email_enc, n note_enc, plain text);
insert into o values (1, 'robert', 'merged', 'robert'), (2, 'fay', null, 'fay'), (3, 'fay', 'x', null), (4, null, null, ''), (5, '', '', '');
select e, count(*), count(distinct n), min(n), max(e) from o group by e order by e;
select distinct n from o order by n;
select k, row_number() over (partition by e order by k), lag(e) over (order by k), first_value(n) over (order by k desc) from o order by k;
select e from t union select e from o order by 1;
select e from t intersect select e from o order by e;
select e from t except all select e from o order by e;
select n from t union select n from o order by n;
select t.k, o.k from t join o on t.e = o.e order by 1, 2;
select t.k, o.k from t join o on t.n = o.n order by 1, 2;
select t.k, o.k from t full join o on t.e = o.plain order by 1, 2;
select k from t where e in (select plain from o) order by k;
select k from t where e not in (select plain from o where plain is not null) order by k;
select k from t where n in (select plain from o) or n = all (select plain from o where k = 5) order by k;
select k from t where (e, n) in (('robert', 'merged'), ('', '')) order by k;
select k from t where e not in ('', 'fay') order by k;
select count(*) from t where e = any (null::text[]) or e = null;
select e, n from o order by e desc nulls last, n limit 3;
select e from o where e is not null order by e collate "C", k;
select distinct on (e) e, k from o order by e, k;
select k from t where e is not distinct from null or n is distinct from '' order by k;

-- Texts are mixed with varchar wherever texts are, and are given to functions that take it.
create table people (k integer, nick email_enc, note note_enc, name varchar(20), label text);
insert into people values (1, 'ann', 'one', 'Ann', 'a'), (2, null, null, 'Bob', 'b');
create function initial(name varchar) returns varchar language sql as 'select left(name, 1)';
select initial(nick), initial(note), initial(name) from people order by k;
select coalesce(nick, name) as a, coalesce(name, nick) as b, coalesce(nick, name, label) as c, case k when 2 then name else note end as d,
       greatest(nick, name) as e, nullif(name, note) as f, array[nick, name] as g, lag(nick, 1, name) over (order by k) as h
from people order by k;
select nick as x from people union select name from people order by x;
select name as x from people union all select note from people order by x;
select p.k from people p join (select 'ann'::varchar as nick) v using (nick);
select p.k from (select 'ann'::varchar as nick) v join people p using (nick);
select k from people where nick in ('ann'::varchar, 'eve'::varchar) or coalesce(nick, name) = 'Bob' order by k;
select pg_typeof(coalesce(nick, name)), pg_typeof(coalesce(nick, label)), pg_typeof(coalesce(nick, 'x')) from people limit 1;
prepare filled (varchar) as select coalesce(nick, $1) as filled from people order by k;
execute filled ('nobody');
deallocate filled;

-- Text functions and operators; JSON and records.
select lower(e), e || '/' || n, length(e), e like 'r%', substr(e, 1, 2), coalesce(e, 'none'), nullif(e, ''), upper(n),
       case when e = 'fay' then e end from o order by k;
select row_to_json(o) from o order by k;
select string_agg(e, ',' order by k), array_agg(n order by k), json_agg(e order by k) from o;
select to_jsonb(o) ->> 'e' from o where k = 1;

-- Columns of different types, even over one base, are compared by way of the base type only.
\set VERBOSITY sqlstate
select count(*) from o where e = n;
select count(*) from o where e = n::text;
select e from o union select n from o;
update o set n = e;
update o set n = e::text where k = 2 returning n;
\set VERBOSITY default

-- Normalizers decide what is equal, in every way of comparing.
create table norm (k integer, c nick_enc, d digits_enc);
create unique index on norm (c nick_enc_ops);
insert into norm values (1, 'Straße', '+49 (0)30-1234'), (2, 'ÉCOLE', '49 030 1234'), (3, 'x', '');
select k from norm where c = 'STRASSE' or c = text ' école ' order by k;
select k from norm where c in ('strasse') or c = any (array['X ']) order by k;
insert into norm values (4, ' STRASSE ') on conflict (c) do update set d = '1' returning k, c, d;
create table plain (c text);
insert into plain values ('STRASSE'), ('strasse'), ('École');
select k from norm where c in (select c from plain) order by k;
select k from norm where c not in (select c from plain) order by k;
select norm.k, plain.c from norm join plain on norm.c = plain.c order by plain.c;
select count(distinct c), count(distinct d) from norm;
select array_agg(k order by c), array_agg(k order by d, k) from norm;
select k from norm where c < 'strassf' and c >= 'STRASSE' order by k;
select k from norm where d = '49-030-1234' order by k;

-- plpgsql.
create function find(wanted email_enc) returns t language plpgsql as
$$
declare
    same t.e%type := wanted;
    one t%rowtype;
begin
    select * into one from t where e = same;
    one.n := one.n || '?';
    return one;
end
$$;
select k, e, n from find('robert');
create function by_text(wanted text) returns setof integer language sql as 'select k from t where e = wanted';
select by_text('fay');
do $$
declare
    r t%rowtype;
begin
    for r in select * from t where e <> '' order by k loop
        raise notice '% % %', r.k, r.e, r.e = 'fay';
    end loop;
    execute 'update t set n = $2 where e = $1' using 'fay', 'by execute';
end
$$;
select n from t where e = 'fay';

-- Cursors, and values kept over savepoints that are rolled back.
begin;
declare c cursor for select e from t where e > 'f' order by e;
fetch 1 from c;
savepoint s;
update t set e = 'gone' where e = 'fay';
rollback to s;
fetch 1 from c;
commit;
set client_min_messages = error;
drop schema types_statements cascade;
