-- Base types smallint, real, double precision, time, timestamp and interval: input, output, equality, order, casts.
set client_min_messages = error;
create schema types_numbers_times;
set search_path = types_numbers_times;
select encrypt.create_key('types_numbers_times') is not null as made;
do $$
declare
    base regtype;
begin
    foreach base in array '{int2,float4,float8,time,timestamp,interval}'::regtype[] loop
        perform encrypt.create_type(format('%I', 'enc_' || (select typname from pg_type where oid = base)), base,
                                    key => 'types_numbers_times');
        if base <> 'interval'::regtype then
            perform encrypt.create_type(format('%I', 'find_' || (select typname from pg_type where oid = base)), base,
                                        key => 'types_numbers_times', searchable => true, accept_leakage => true);
        end if;
    end loop;
end
$$;
reset client_min_messages;
set pg_encrypt.reveal = on;
set datestyle = iso;
set timezone = 'UTC';

create table e (n integer, i2 enc_int2, f4 enc_float4, f8 enc_float8, t enc_time, ts enc_timestamp, v enc_interval);
create table f (n integer, i2 find_int2, f4 find_float4, f8 find_float8, t find_time, ts find_timestamp);
create table p (n integer, i2 int2, f4 float4, f8 float8, t time, ts timestamp, v interval);
insert into e values
    (1, '0', '0', '0', '00:00', '2000-01-01', '0'),
    (2, '32767', '-0', '-0', '24:00:00', 'infinity', '1 mon'),
    (3, '-32768', 'NaN', 'NaN', '23:59:59.999999', '-infinity', '30 days'),
    (4, ' 7 ', 'Infinity', '-Infinity', '04:05 PM', '0044-03-15 12:00:00 BC', '-1 year -2 mons +3 days 04:05:06.789'),
    (5, '-1', '0.1', '0.1', '01:02:03', '1969-07-20 20:17:40.123456', 'PT24H'),
    (6, '5', '16777216', '9007199254740993', '01:02:03.5', '2000-01-01 00:00:01', '1 day'),
    (7, null, '1e-45', '5e-324', '10:00', '2000-02-29', '720:00:00'),
    (8, null, null, null, null, null, null);
insert into p select n, i2::int2, f4::float4, f8::float8, t::time, ts::timestamp, v::interval from e;
insert into f select n, i2, f4, f8, t, ts from p;
select * from f order by n;
select n, v, i2 from e order by n;
-- What is read is what was written.
select count(*) as same from e join f using (n) join p using (n)
where (e.i2::text, e.f4::text, e.f8::text, e.t::text, e.ts::text, e.v::text)
    is not distinct from (p.i2::text, p.f4::text, p.f8::text, p.t::text, p.ts::text, p.v::text)
  and (f.i2::text, f.f4::text, f.f8::text, f.t::text, f.ts::text)
    is not distinct from (p.i2::text, p.f4::text, p.f8::text, p.t::text, p.ts::text);

-- All pairs: equality by token and by decrypting, order, hashes, with the plain type on neither, either and the other side.
select count(*) as pairs,
    count(*) filter (where (a.f4 = b.f4) is distinct from (c.f4 = d.f4)) as f4_token,
    count(*) filter (where (a.f8 = b.f8) is distinct from (c.f8 = d.f8)) as f8_token,
    count(*) filter (where (a.f4 = d.f4) is distinct from (c.f4 = d.f4)) as f4_plain,
    count(*) filter (where (a.f4 = d.f8) is distinct from (c.f4 = d.f8)) as f4_f8,
    count(*) filter (where (c.f4 = b.f8) is distinct from (c.f4 = d.f8)) as plain_f8,
    count(*) filter (where (a.i2 = d.n) is distinct from (c.i2 = d.n)) as i2_i4,
    count(*) filter (where (a.t = b.t) is distinct from (c.t = d.t)) as t,
    count(*) filter (where (a.ts = d.ts) is distinct from (c.ts = d.ts)) as ts,
    count(*) filter (where (a.f4 < b.f4, a.f8 < b.f8, a.i2 < b.i2, a.t < b.t, a.ts < b.ts)
        is distinct from (c.f4 < d.f4, c.f8 < d.f8, c.i2 < d.i2, c.t < d.t, c.ts < d.ts)) as ordered
from f a join p c using (n) cross join (f b join p d on d.n = b.n);
select
    count(*) filter (where (a.f4 = b.f4, a.f8 = b.f8, a.i2 = b.i2, a.t = b.t, a.ts = b.ts, a.v = b.v)
        is distinct from (c.f4 = d.f4, c.f8 = d.f8, c.i2 = d.i2, c.t = d.t, c.ts = d.ts, c.v = d.v)) as equality,
    count(*) filter (where (a.f4 = d.f8, d.f4 = b.f8, a.v = d.v, a.i2 = d.n)
        is distinct from (c.f4 = d.f8, d.f4 = d.f8, c.v = d.v, c.i2 = d.n)) as mixed,
    count(*) filter (where (a.f4 < b.f4, a.f8 <= b.f8, a.i2 > b.i2, a.t >= b.t, a.ts < b.ts, a.v < b.v)
        is distinct from (c.f4 < d.f4, c.f8 <= d.f8, c.i2 > d.i2, c.t >= d.t, c.ts < d.ts, c.v < d.v)) as ordered
from e a join p c using (n) cross join (e b join p d on d.n = b.n);
-- Grouping hashes tokens, or values.
select (select count(*) from (select f4 from f group by f4) as x) = (select count(*) from (select f4 from p group by f4) as x) as f4,
       (select count(*) from (select f8 from e group by f8) as x) = (select count(*) from (select f8 from p group by f8) as x) as f8,
       (select count(*) from (select v from e group by v) as x) = (select count(*) from (select v from p group by v) as x) as v;
select count(*) = (select count(*) from p a join p b on a.f8 = b.f8) as joined from f a join p b on a.f8 = b.f8;
select array_agg(n order by f8, n) as f8, array_agg(n order by f4 desc, n) as f4, array_agg(n order by v, n) as v,
       array_agg(n order by t, n) as t, array_agg(n order by ts, n) as ts from e;

-- Searches by index, with constants of other types.
create index on f (i2 find_int2_ops);
create index on f (f4 find_float4_ops);
create index on f (f8 find_float8_ops);
create index on f (t find_time_ops);
create index on f (ts find_timestamp_ops);
set enable_seqscan = off;
select n from f where i2 = 7;
select n from f where i2 = any (array[5, 32767, 100000]) order by n;
select n from f where f8 = 0 order by n;
select n from f where f8 = 0.1;
select n from f where f8 = 0.1::real;
select n from f where f4 = 0.1;
select n from f where f4 = '0.1';
select n from f where f4 = 'NaN' or f8 = '-inf' order by n;
select n from f where t = '01:02:03' or ts = '2000-02-29' order by n;
select n from f where ts = date '2000-01-01' order by n;
select n from f where ts = timestamptz '2000-01-01 00:00:00+00' order by n;
reset enable_seqscan;

-- Functions of the base type.
select i2 + 1::smallint, f4 * 2, f8 / 4, t + interval '1 hour', ts - interval '1 day', v * 2, extract(hour from t),
    date_trunc('year', ts), justify_days(v) from e where n = 6;
select sum(i2), avg(f8) filter (where n = 5), max(ts), min(t), sum(v) filter (where n in (5, 6)) from e;

-- Assignment from what the base type takes.
insert into e (n, i2, f4, f8, t, ts, v)
values (9, 7::bigint, 1.5::numeric, 2.5::real, timestamptz '2000-01-01 10:11:12+00', date '2001-02-03', time '01:02');
insert into e (n, i2, f4, f8, t, ts) values (10, 7.5::float8, 3::bigint, 4, timetz '10:11+00', timestamptz '2000-01-01 00:00+00');
select * from e where n > 8 order by n;
\set VERBOSITY sqlstate
insert into f (i2) values (32768);
insert into f (i2) values ('32768');
insert into f (f4) values ('1e39');
insert into f (t) values ('25:00');
insert into f (ts) values ('tomorrowish');
insert into e (v) values (1);
-- Settings change what is printed, not what is stored.
set datestyle = german;
set intervalstyle = iso_8601;
set timezone = 'Asia/Tokyo';
set extra_float_digits = -3;
select ts, v, f8, t from e where n = 5;
set client_min_messages = error;
drop schema types_numbers_times cascade;
