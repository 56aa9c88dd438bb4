-- default settings only: casts are the same in every plan
-- What an encrypted value becomes when it is assigned to, or cast to, another type: the same as a value of the base type
-- for roles that may decrypt, whatever output shows, and an error for all others; never the stored value as a text.
set client_min_messages = error;
create schema types_assignment;
set search_path = types_assignment;
create role regress_types_assignment_all;
create role regress_types_assignment_none;
select encrypt.create_key('types_assignment') is not null as made;
do $$
declare
    base regtype;
begin
    foreach base in array
        '{text,varchar,bytea,int2,int4,int8,numeric,float4,float8,date,time,timestamp,timestamptz,interval,uuid,jsonb,bool}'::regtype[]
    loop
        perform encrypt.create_type(format('enc_%s', (select typname from pg_type where oid = base)), base, 'types_assignment');
    end loop;
end
$$;
select encrypt.grant_key('types_assignment', 'regress_types_assignment_all', 'encrypt', 'decrypt');
select encrypt.grant_key('types_assignment', 'regress_types_assignment_none', 'encrypt', 'search');
set datestyle = 'German, DMY';
set intervalstyle = iso_8601;
set bytea_output = escape;
set timezone = 'Europe/Berlin';
create table e (
    n integer, t enc_text, s enc_varchar, b enc_bytea, i2 enc_int2, i4 enc_int4, i8 enc_int8, m enc_numeric, f4 enc_float4, f8 enc_float8,
    d enc_date, c enc_time, ts enc_timestamp, z enc_timestamptz, v enc_interval, u enc_uuid, j enc_jsonb, f enc_bool
);
create table p (
    n integer, t text, s varchar, b bytea, i2 int2, i4 int4, i8 int8, m numeric, f4 float4, f8 float8,
    d date, c time, ts timestamp, z timestamptz, v interval, u uuid, j jsonb, f bool
);
insert into p values
    (1, 'a "text"', 'abc', '\x00ff', '-7', '70000', '9007199254740993', '1.50', '0.1', '1e3', '2000-02-29', '01:02:03.5',
     '2001-02-03 04:05:06', '2001-02-03 04:05:06+00', '1 day 2 hours', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
     '{"a": [1, null]}', 't'),
    (2, '', 'x  ', '', '0', '0', '0', 'NaN', 'Infinity', 'NaN', 'infinity', '24:00', '-infinity', 'infinity', '0',
     '00000000-0000-0000-0000-000000000000', 'null', 'f');
insert into e select * from p;
create domain label as text;
create domain short as varchar(4);
grant usage on schema types_assignment to regress_types_assignment_all, regress_types_assignment_none;
grant select on e, p to regress_types_assignment_all, regress_types_assignment_none;

-- A type that everything is assigned to, or that the base type is; not the names of objects, to which every integer is.
create view assigned as
select a.attname as column, format_type(a.atttypid, null) as base, target.type
from pg_attribute a
cross join lateral (
    select unnest('{text,varchar,varchar(4),char(30),char(2),name,label,short}'::text[])
    union
    select format_type(c.casttarget, null)
    from pg_cast c
    where c.castsource = a.atttypid and c.castcontext in ('i', 'a') and c.casttarget < 16384
      and c.casttarget::regtype::text !~ '^reg' and c.casttarget <> c.castsource
) as target (type)
where a.attrelid = 'p'::regclass and a.attnum > 1;
-- A table with a column of each, and one of arrays of each.
do $do$
begin
    execute (select format('create table targets (%s)', string_agg(format('%1$I %1$s, %2$I %1$s[]', type, type || '[]'), ', '))
             from (select distinct type from assigned) types);
end
$do$;
create table ways (n integer, name text, statement text);
insert into ways values
    (1, 'cast', 'select (%1$I::%3$s)::text from %2$s where n = %4$s'),
    (2, 'insert', 'insert into targets (%5$I) select %1$I from %2$s where n = %4$s returning %5$I::text'),
    (3, 'update', 'update targets set %5$I = %1$I from %2$s where %2$s.n = %4$s returning targets.%5$I::text'),
    (4, 'array', 'insert into targets (%6$I) select array[%1$I, null] from %2$s where n = %4$s returning %6$I::text'),
    (5, 'variable', 'do $do$
        declare
            r record;
            value %3$s;
        begin
            select * into r from %2$s where n = %4$s;
            value := r.%1$I;
            perform set_config(''types_assignment.got'', value::text, true);
        end $do$'),
    (6, 'select into', 'do $do$
        declare
            value %3$s;
        begin
            select %1$I into value from %2$s where n = %4$s;
            perform set_config(''types_assignment.got'', value::text, true);
        end $do$');
grant select on assigned, ways to regress_types_assignment_all, regress_types_assignment_none;
grant select, insert, update on targets to regress_types_assignment_all, regress_types_assignment_none;
insert into targets default values;

create function outcome(way text, relation text, source name, target text, n integer) returns text language plpgsql as
$$
declare
    statement text := format((select w.statement from ways w where w.name = way), source, relation, target, n, target, target || '[]');
    got text;
begin
    if way in ('variable', 'select into') then
        execute statement;
        got := current_setting('types_assignment.got');
    else
        execute statement into got;
    end if;
    -- Taken back with all that it changed.
    raise sqlstate 'PASS1' using message = coalesce(got, 'null');
exception
    when sqlstate 'PASS1' then
        return sqlerrm;
    when others then
        return sqlstate;
end
$$;

-- Those that differ from the base type's.
set role regress_types_assignment_all;
select w.name, count(*) > 300 as many, count(*) filter (where o.encrypted <> '42501') > 200 as most_succeed,
    count(*) filter (where o.encrypted is distinct from o.plain) as different
from assigned a cross join ways w cross join generate_series(1, 2) as r (number)
cross join lateral (select outcome(w.name, 'e', a.column, a.type, r.number) as encrypted, outcome(w.name, 'p', a.column, a.type, r.number) as plain) o
group by w.n, w.name order by w.n;
select w.name, a.base, a.type, r.number, o.*
from assigned a cross join ways w cross join generate_series(1, 2) as r (number)
cross join lateral (select outcome(w.name, 'e', a.column, a.type, r.number) as encrypted, outcome(w.name, 'p', a.column, a.type, r.number) as plain) o
where o.encrypted is distinct from o.plain
order by w.n, a.base, a.type, r.number;
-- Whatever output shows.
set pg_encrypt.reveal = off;
select w.name, a.base, a.type, r.number, o.*
from assigned a cross join ways w cross join generate_series(1, 2) as r (number)
cross join lateral (select outcome(w.name, 'e', a.column, a.type, r.number) as encrypted, outcome(w.name, 'p', a.column, a.type, r.number) as plain) o
where o.encrypted is distinct from o.plain
order by w.n, a.base, a.type, r.number;
reset pg_encrypt.reveal;

-- Without decrypt nothing is assigned.
set role regress_types_assignment_none;
select w.name, o.outcome, count(*) > 150 as many
from assigned a cross join ways w
cross join lateral (select outcome(w.name, 'e', a.column, a.type, 1)) o
group by w.n, w.name, o.outcome order by w.n, o.outcome;

reset role;
-- The other way: what is assigned to the base type becomes the same value, NULL where PostgreSQL's cast makes that of it.
create table s (
    number integer, boolean boolean, inet inet, cidr cidr, byte "char", name name, character char(5), varchar varchar(5), text text,
    money money, oid oid, json json, jsonb jsonb, smallint smallint, integer integer, bigint bigint, numeric numeric, real real,
    double double precision, date date, time time, timetz timetz, timestamp timestamp, timestamptz timestamptz, interval interval,
    uuid uuid, bytea bytea, macaddr macaddr
);
insert into s values
    (1, 't', '10.1.2.3', '10.1.0.0/16', 'x', 'name', 'a ', 'a ', 'text', '12.50', '7', '{"a":  1}', '{"a":  1}', '7', '8', '9', '1.50', '2.5',
     '3.5', '2000-02-29', '01:02', '01:02+03', '2001-02-03 04:05', '2001-02-03 04:05+06', '1 day 1 hour',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\x00ff', '08:00:2b:01:02:03'),
    (2, 'f', '::1', '::1', '', '', '', '', '', '0', '4000000000', 'null', 'null', '-1', '100000', '10000000000', '1e20', 'NaN',
     '-Infinity', 'infinity', '24:00', '00:00-01', '-infinity', 'infinity', '-1 day',
     '00000000-0000-0000-0000-000000000000', '', '00:00:00:00:00:00');
create function stored(relation text, target name, source name, number integer) returns text language plpgsql as
$$
declare
    stored text;
begin
    execute format('insert into %1$I (%2$I) select %3$I from s where number = %4$s returning %2$I::%5$s::text', relation, target, source, number,
                   (select format_type(atttypid, null) from pg_attribute where attrelid = 'p'::regclass and attname = target))
    into stored;
    raise sqlstate 'PASS1' using message = coalesce(stored, 'null');
exception
    when sqlstate 'PASS1' then
        return sqlerrm;
    when others then
        return sqlstate;
end
$$;
create view assignable as
select target.attname as target, source.attname as source
from pg_attribute target, pg_attribute source
where target.attrelid = 'p'::regclass and target.attnum > 1 and source.attrelid = 's'::regclass and source.attnum > 1
  and (target.atttypid in ('text'::regtype, 'varchar'::regtype)
       or exists (select from pg_cast c where c.castsource = source.atttypid and c.casttarget = target.atttypid and c.castcontext in ('i', 'a')));
set pg_encrypt.reveal = on;
select count(*) > 150 as many, count(*) filter (where o.plain in ('22003', 'null')) as exceptional
from assignable a cross join generate_series(1, 2) as r (number)
cross join lateral (select stored('p', a.target, a.source, r.number) as plain) o;
select a.target, a.source, r.number, o.*
from assignable a cross join generate_series(1, 2) as r (number)
cross join lateral (select stored('e', a.target, a.source, r.number) as encrypted, stored('p', a.target, a.source, r.number) as plain) o
where o.encrypted is distinct from o.plain
order by 1, 2, 3;
reset pg_encrypt.reveal;
set role regress_types_assignment_none;

-- JSON: a cast decrypts or fails, what writes JSON shows what output shows.
\set VERBOSITY sqlstate
select j::json from e where n = 1;
select i4::json from e where n = 1;
select json_typeof(to_json(j)), json_typeof(to_json(i4)), json_typeof(json_build_array(j) -> 0) from e where n = 1;
set role regress_types_assignment_all;
select j::json, i4::json, to_json(j), json_build_array(j) from e where n = 1;
set pg_encrypt.reveal = off;
select j::json, i4::json, json_typeof(to_json(j)), json_typeof(json_build_array(j) -> 0) from e where n = 1;
reset pg_encrypt.reveal;
-- What a function returns.
create function pg_temp.label(wanted integer) returns text language sql as $$ select f from types_assignment.e where n = wanted $$;
select pg_temp.label(1), pg_temp.label(2);
set role regress_types_assignment_none;
select pg_temp.label(1);
set role regress_types_assignment_all;
-- Joined with a text.
select 'x' || e.f || 'y' = 'x' || p.f || 'y' as boolean, 'x' || e.d || 'y' = 'x' || p.d || 'y' as date,
    e.m || '' = p.m || '' as numeric, e.t || '' = p.t || '' as text
from e join p using (n) order by n;
set role regress_types_assignment_none;
select f || 'y' from e where n = 1;
select 'x' || d from e where n = 1;
reset role;
set client_min_messages = error;
drop schema types_assignment cascade;
drop owned by regress_types_assignment_all, regress_types_assignment_none;
drop role regress_types_assignment_all, regress_types_assignment_none;
