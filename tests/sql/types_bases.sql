-- Each base type: input, output, equality with its own and other types, order, min and max, casts.
set client_min_messages = error;
create schema types_bases;
set search_path = types_bases;
select encrypt.create_key('types_bases') is not null as made;
do $$
declare
    base regtype;
begin
    foreach base in array '{text,bytea,int4,int8,numeric,date,timestamptz,uuid,jsonb,bool}'::regtype[] loop
        perform encrypt.create_type(format('%I', 'enc_' || base), base, key => 'types_bases');
        if base not in ('jsonb'::regtype) then
            perform encrypt.create_type(format('%I', 'find_' || base), base, key => 'types_bases', searchable => true,
                                        accept_leakage => true);
        end if;
    end loop;
end
$$;
reset client_min_messages;
set pg_encrypt.reveal = on;
set datestyle = iso;
set timezone = 'UTC';

create table t (
    n serial,
    t enc_text, b enc_bytea, i4 enc_integer, i8 enc_bigint, m enc_numeric, d enc_date, z "enc_timestamp with time zone",
    u enc_uuid, j enc_jsonb, f enc_boolean
);
create table f (
    n serial,
    t find_text, b find_bytea, i4 find_integer, i8 find_bigint, m find_numeric, d find_date, z "find_timestamp with time zone",
    u find_uuid, f find_boolean
);
-- As text, so that every value goes through the input functions of both.
insert into t (t, b, i4, i8, m, d, z, u, j, f) values
    ('', '\x', '0', '0', '0', '2000-01-01', '2000-01-01 00:00:00+00', '00000000-0000-0000-0000-000000000000', '{}', 'f'),
    ('é日本', '\x00ff', '2147483647', '9223372036854775807', '1.50', 'infinity', 'infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '{"b": 1, "a": [null, 1.0]}', 't'),
    (repeat('x', 100), '\xe3', '-2147483648', '-9223372036854775808', 'NaN', '-infinity', '-infinity', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '"text"', 'yes'),
    (E'a\tb\\', 'abc', ' 42 ', '-1', '-0.000', '0044-03-15 BC', '1969-07-20 20:17:40.123456+02', 'a0eebc999c0b4ef8bb6d6bb9bd380a11', 'null', 'off');
insert into f (t, b, i4, i8, m, d, z, u, f) select t::text, b::bytea, i4::integer, i8::bigint, m::numeric, d::date,
    z::timestamptz, u::uuid, f::boolean from t order by n;
insert into t default values;
insert into f default values;
select n, left(t::text, 5) as t, b, i4, i8, m, d, z, u, j, f from t order by n;
select count(*) as same from t join f using (n)
where t.t::text = f.t and t.b::bytea = f.b and t.i4::integer = f.i4 and t.i8::bigint = f.i8 and t.m::numeric = f.m
  and t.d::date = f.d and t.z::timestamptz = f.z and t.u::uuid = f.u and t.f::boolean = f.f;

-- Equality by decrypting and by token; what prints differently may be equal.
select n from t where m = 1.5 or m = -0.0 order by n;
select n from f where m = 1.5 or m = -0.0 order by n;
select n from f where m = 'NaN' or i8 = -1 or u = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11' or b = '\xe3' or t = '' order by n;
select n from t where j = '{"a": [null, 1], "b": 1.00}' order by n;
select n from t where f and not f is null or d = '0044-03-15 BC' order by n;
select n from f where f and not f is null or d = '0044-03-15 BC' or z = '1969-07-20 18:17:40.123456+00' order by n;
-- With numbers of every width, constants too wide for the type included.
select n from f where i8 = 0::smallint and i8 = 0::integer and i8 = 0::bigint and i4 = 0::smallint and i4 = 0::bigint
  and m = 0::smallint and m = 0::integer and m = 0::bigint;
select n from f where i4 = 9223372036854775807 or i4 = 4294967296 or i4 <> 4294967296 order by n;
select n from f where i8 in (0, -1) or i4 = any (array[42]::smallint[]) order by n;
select n from t where i4 = 42 and i8 = -1 and m = 0;
-- With dates and timestamps.
select n from f where z = date '2000-01-01';
select n from f where z = timestamp '2000-01-01 00:00:00';

-- Order, smallest and largest.
select array_agg(n order by t, n) as t, array_agg(n order by b, n) as b, array_agg(n order by i4) as i4, array_agg(n order by m, n) as m,
       array_agg(n order by d desc) as d, array_agg(n order by z nulls first) as z, array_agg(n order by u, n) as u,
       array_agg(n order by j) as j, array_agg(n order by f, n) as f from t;
select array_agg(n order by t, n) as t, array_agg(n order by b, n) as b, array_agg(n order by i4) as i4, array_agg(n order by m, n) as m,
       array_agg(n order by d desc) as d, array_agg(n order by z nulls first) as z, array_agg(n order by u, n) as u,
       array_agg(n order by f, n) as f from f;
select min(i4), max(i4), sum(i8::bigint), avg(i4), min(d), max(z), max(m), min(t) = '', bool_or(f), count(distinct u) from t;
select n from t where i4 < 42 and i8 >= 0 or d between '-infinity' and '1999-01-01' order by n;

-- Functions and operators of the base type.
select i4 / 2, i8 % 2, -m, d + 1, z + interval '1 day', u::text, j ->> 'a', j @> '{"b": 1}', length(b), not f, t || '!' from t where n = 2;

-- Casts: assignment from what the base type takes, and no further.
insert into f (i4, i8, m, d, z, t) values (7::smallint, 7.4::numeric, 7::bigint, timestamp '2001-02-03 04:05:06', date '2001-02-03', 'x'::char(3));
select i4, i8, m, d, z, t from f where i4 = 7;
\set VERBOSITY sqlstate
insert into f (i4) values (3000000000);
insert into f (i4) values ('3000000000');
insert into f (i4) values (3.0e10::numeric);
insert into f (u) values ('no uuid');
insert into f (d) values ('2000-02-30');
insert into t (j) values ('{');
insert into f (i4) values (true);
insert into f (f) values (1);
select i4::text::integer, i4::integer::text from t where n = 4;
-- Settings change what is printed, not what is stored.
set datestyle = german;
set timezone = 'Asia/Tokyo';
set bytea_output = escape;
select b, d, z from t where n = 2 or n = 4 order by n;
set client_min_messages = error;
drop schema types_bases cascade;
