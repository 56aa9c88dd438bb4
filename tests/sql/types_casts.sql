-- Casts from encrypted types to what the base type is assigned to, and values in JSON made from rows.
set client_min_messages = error;
create schema types_casts;
set search_path = types_casts;
create role regress_types_casts;
select encrypt.create_key('types_casts') is not null as made;
do $$
declare
    base regtype;
begin
    foreach base in array
        '{text,bytea,int2,int4,int8,numeric,float4,float8,date,time,timestamp,timestamptz,interval,uuid,jsonb,bool}'::regtype[]
    loop
        perform encrypt.create_type(format('enc_%s', (select typname from pg_type where oid = base)), base, 'types_casts');
    end loop;
end
$$;
reset client_min_messages;
set pg_encrypt.reveal = on;
set datestyle = iso;
set timezone = 'Europe/Berlin';
create table e (
    n integer, t enc_text, b enc_bytea, i2 enc_int2, i4 enc_int4, i8 enc_int8, m enc_numeric, f4 enc_float4, f8 enc_float8,
    d enc_date, c enc_time, ts enc_timestamp, z enc_timestamptz, v enc_interval, u enc_uuid, j enc_jsonb, f enc_bool
);
create table p (
    n integer, t text, b bytea, i2 int2, i4 int4, i8 int8, m numeric, f4 float4, f8 float8,
    d date, c time, ts timestamp, z timestamptz, v interval, u uuid, j jsonb, f bool
);
insert into e values
    (1, 'a "text"', '\x00ff', '-7', '70000', '-9007199254740993', '1.50', '0.1', '1e300', '2000-02-29', '01:02:03.5',
     '2001-02-03 04:05:06', '2001-02-03 04:05:06+00', '1 day 2 hours', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
     '{"a": [1, null]}', 't'),
    (2, '', '', '0', '0', '0', 'NaN', 'Infinity', 'NaN', 'infinity', '24:00', '-infinity', 'infinity', '0',
     '00000000-0000-0000-0000-000000000000', 'null', 'f'),
    (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null);
insert into p select n, t, b, i2, i4, i8, m, f4, f8, d, c, ts, z, v, u, j, f from e;

-- No cast between base types that PostgreSQL makes on assignment is missing; to text there is one for every type.
select b.castsource::regtype as base, b.casttarget::regtype as missing
from encrypt.types t
join pg_cast b on b.castsource = t.base and b.castcontext in ('i', 'a') and b.castsource <> b.casttarget
where t.key_name = 'types_casts' and b.casttarget <> 'text'::regtype
  and b.casttarget in (select base from encrypt.types where key_name = 'types_casts')
  and not exists (select from pg_cast c where c.castsource = t.type_oid and c.casttarget = b.casttarget)
order by 1, 2;
-- None is implicit but the one to the base type, or operators would be ambiguous; and from text to varchar, which has none.
select t.base::regtype, c.casttarget::regtype from pg_cast c join encrypt.types t on t.type_oid = c.castsource
where t.key_name = 'types_casts' and c.castcontext = 'i' and c.casttarget <> t.base;

select i2::numeric, i4::bigint, i8::numeric(20,1), m::integer, f4::double precision, f8::real from e where n = 2 and f8 is null;
select i2::numeric, i2::integer, i4::bigint, i4::double precision, i8::numeric(20,1), m::integer, m::real, f4::double precision,
    f8::numeric from e where n = 1;
select d::timestamp, d::timestamptz, c::interval, ts::date, ts::time, ts::timestamptz, z::date, z::time, z::timestamp, v::time
from e where n = 1;
create table wide (i2 integer, i4 bigint, i8 numeric(20,0), m double precision, d timestamp, z date);
insert into wide select i2, i4, i8, m, d, z from e;
select * from wide;
\set VERBOSITY sqlstate
select i8::integer from e where n = 1;
select m::integer from e where n = 2;
select f8::real from e where n = 1;
\set VERBOSITY default

-- JSON: as of the plain columns.
select e.n, row_to_json(e)::text = row_to_json(p)::text as row_to_json, to_jsonb(e) = to_jsonb(p) as to_jsonb,
    to_json(e.m)::text = to_json(p.m)::text as to_json, json_agg(e.j)::text = json_agg(p.j)::text as json_agg,
    jsonb_build_object('f', e.f, 'z', e.z) = jsonb_build_object('f', p.f, 'z', p.z) as build_object,
    json_build_array(e.i8, e.d)::text = json_build_array(p.i8, p.d)::text as build_array,
    array_to_json(array[e.i4, null])::text = array_to_json(array[p.i4, null])::text as array_to_json
from e join p using (n) group by e.n, e, p, e.m, p.m, e.f, p.f, e.z, p.z, e.i8, p.i8, e.d, p.d, e.i4, p.i4 order by e.n;
select row_to_json(e) from e order by n;
-- Where a value is not shown, its hex as a string.
set pg_encrypt.reveal = off;
select key, left(value #>> '{}', 4) from e, json_each(row_to_json(e)) where e.n = 1 and key <> 'n' and value #>> '{}' !~ '^\\xe3';
select left(min(value #>> '{}'), 4), left(max(value #>> '{}'), 4) from e, json_each(row_to_json(e)) where e.n = 1 and key <> 'n';
select json_typeof(to_json(i4)) from e where n = 1;
-- And a cast still needs the privilege.
reset pg_encrypt.reveal;
grant usage on schema types_casts to regress_types_casts;
grant select on e to regress_types_casts;
set role regress_types_casts;
select json_typeof(to_json(i4)), left(to_json(j) #>> '{}', 4) from e where n = 1;
select i4::bigint from e;
select z::date from e;
reset role;

-- Functions that encrypt refuse what is encrypted already, in arrays too. Over text they take the decrypted value, as all
-- functions of text do.
select encrypt.decrypt_column(encrypt.encrypt_column(t, 'types_casts')) from e order by n;
select encrypt.encrypt_column(array[i4], 'types_casts') from e;
create domain domain_over as enc_int4;
select encrypt.encrypt_column(i4::domain_over, 'types_casts') from e;
select encrypt.encrypt_deterministic(j, 'types_casts') from e;
select encrypt.encrypt_column(array[encrypt.encrypt_column('x'::text, 'types_casts')], 'types_casts');
select encrypt.encrypt_column(encrypt.encrypt_column('x'::text, 'types_casts'), 'types_casts');
select encrypt.encrypt_column(t::text, 'types_casts') is null as null from e order by n;
-- Operator classes in plaintext order and hash classes are complete. The class in token order has equality with text, and
-- comparators for it, but no order: it serves equality only, and operators of text alone would concern every text column.
select opcname, amname, amvalidate(c.oid) from pg_opclass c join pg_am a on a.oid = opcmethod
where opcnamespace = 'encrypt'::regnamespace order by 1, 2;
set client_min_messages = error;
drop schema types_casts cascade;
drop owned by regress_types_casts;
drop role regress_types_casts;
