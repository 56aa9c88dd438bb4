-- Values that somebody changed or moved: what an owner of the files or the table can do, and what is noticed.
set client_min_messages = error;
create schema types_tampering;
set search_path = types_tampering;
select encrypt.create_key('types_tampering') is not null as made;
select encrypt.create_type('email_enc', key => 'types_tampering', searchable => true);
select encrypt.create_type('other_enc', key => 'types_tampering', searchable => true);
reset client_min_messages;
create table t (k integer, e email_enc);
insert into t values (1, 'bob@example.com'), (2, 'eve@example.com');
create table o (e other_enc);
insert into o values ('bob@example.com');
set pg_encrypt.reveal = off;

-- What becomes of stored bytes that were changed: a SQLSTATE, or how they are read.
create function hex(value anyelement) returns text language sql as $$select substr(format('%s', value), 3)$$;
create function outcome(stored text) returns text language plpgsql as
$$
declare
    read text;
begin
    execute format('select (%L::types_tampering.email_enc)::text', '\x' || stored) into read;
    return case read when 'bob@example.com' then 'as it was' else 'taken as plaintext' end;
exception when others then
    return sqlstate;
end
$$;
create function flipped(stored text, byte integer) returns text language sql as
$$select encode(set_byte(b, byte, get_byte(b, byte) # 1), 'hex') from (select decode(stored, 'hex') as b) s$$;
select outcome(hex(e)) from t where k = 1;
-- Format and flags: no value any more, hence a plaintext. Type number and token flag: another type. All else: altered.
select outcome(flipped(hex(e), byte)), min(byte) as first, max(byte) as last, count(*)
from t, generate_series(0, length(hex(e)) / 2 - 1) byte where k = 1 group by 1 order by 2;
-- Truncated, and longer.
select outcome(left(hex(e), 2 * n)), min(n), max(n) from t, generate_series(0, 76) n where k = 1 group by 1 order by 2;
select outcome(hex(e) || '00') from t where k = 1;

-- A token of another value, so that it would be found in its place; the number of another type; a whole other value.
create function set_part(stored text, first integer, part text) returns text language sql as
$$select left(stored, 2 * first) || part || substr(stored, 2 * first + length(part) + 1)$$;
select outcome(set_part(hex(a.e), 6, substr(hex(b.e), 13, 32))) from t a, t b where a.k = 1 and b.k = 2;
select outcome(set_part(hex(o.e), 2, substr(hex(t.e), 5, 8))) from o, t where k = 1;
select outcome(hex(e)) from o;
select outcome(hex(e)) = 'taken as plaintext' as other_value from t where k = 2;

-- In the table: a value that was altered is stored, since storing asks for no key, and stops whoever reads it.
do $$begin
    execute format('insert into t values (3, %L)', '\x' || flipped((select hex(e) from t where k = 1), 70));
end$$;
\set VERBOSITY terse
select e::text from t where k = 3;
set pg_encrypt.reveal = on;
select e from t where k = 3;
select k from t where lower(e) = 'x' and k = 3;
-- Found by its token, which was not altered; its envelope is read by nobody.
select k from t where e = 'bob@example.com' order by k;
delete from t where k = 3;

-- A value in a column of another type: moved there in the files or, here, by an input function that is told the other's number.
-- What it holds is not read as if it were a value of the column's base.
set client_min_messages = error;
select encrypt.create_type('note_enc', key => 'types_tampering');
select encrypt.create_type('number_enc', 'bigint', 'types_tampering');
select encrypt.create_type('code_enc', 'uuid', 'types_tampering');
select encrypt.create_type('amount_enc', 'numeric', 'types_tampering');
reset client_min_messages;
create table misplaced (k integer, e email_enc, n note_enc, i number_enc, u code_enc, m amount_enc);
insert into misplaced values
    (1, _email_enc_in('five', 'other_enc'::regtype, -1), _note_enc_in('5', 'number_enc'::regtype, -1),
        _number_enc_in('five', 'note_enc'::regtype, -1), _code_enc_in('five', 'note_enc'::regtype, -1),
        _amount_enc_in('five', 'email_enc'::regtype, -1)),
    (2, 'five', 'five', 5, '5b6ba13f-79ac-4b0c-b2ab-f9f79bb7dd6c', 5);
create function outcome_of(expression text) returns text language plpgsql as
$$
begin
    execute format('select count(x::text) from (select %s as x from types_tampering.misplaced order by k) s', expression);
    return 'done';
exception when others then
    return sqlstate;
end
$$;
select expression, outcome_of(expression)
from (values ('e'), ('n'), ('i'), ('u'), ('m'), ('length(e)'), ('length(n)'), ('i + 1'), ('u::uuid'), ('m + 1'), ('e::varchar'), ('n::name'),
             ('i::integer'), ('m::real'), ('to_json(i)'), ('to_json(m)'), ('e || n'), ('row(n)::text'), ($$format('%s', i)$$)) x (expression);
select expression, outcome_of(expression)
from (values ($$n = 'five'$$), ('i = 5'), ($$u = '5b6ba13f-79ac-4b0c-b2ab-f9f79bb7dd6c'$$), ('m = 5'), ($$n = text 'five'$$),
             ($$text 'five' = n$$), ($$i = smallint '5'$$), ($$n < 'five'$$), ('i < 5'), ($$i < '5'$$), ($$u < '5b6ba13f-79ac-4b0c-b2ab-f9f79bb7dd6c'$$),
             ($$m < '5'$$), ($$e < 'five'$$), ($$greatest(n, 'five')$$), ($$array[i] < '{5}'$$), ('rank() over (order by n)'),
             ('rank() over (order by i desc)'), ('rank() over (order by u)'), ('rank() over (order by m)'), ('rank() over (order by e)'))
     x (expression);
-- Tokens of other types are equal to none of this one.
select k, e = 'five', e = text 'five' from misplaced order by k;
drop table misplaced;

-- A key that is not there.
set pg_encrypt.reveal = off;
select outcome(set_part(hex(e), 24, '7fffffff')) from t where k = 1;
set client_min_messages = error;
drop schema types_tampering cascade;
