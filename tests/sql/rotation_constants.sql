-- default settings only: what is counted and parsed again depends on no plan; the test sets the one it needs
-- Literals that became values when they were written, in defaults, views and prepared statements, and values inside of arrays and
-- rows: a version of the key is not retired while anything holds or goes on making values under it.
set client_min_messages = error;
create schema rotation_constants;
set search_path = rotation_constants;
select encrypt.create_key('rotation_constants') is not null as made;
select encrypt.create_type('note_enc', key => 'rotation_constants');
select encrypt.create_type('email_enc', key => 'rotation_constants', searchable => true);
select encrypt.create_type('count_enc', 'integer', 'rotation_constants');
reset client_min_messages;
set pg_encrypt.reveal = on;
create table t (k integer, note note_enc default 'none', email email_enc, counted count_enc default 7);

-- In sessions: prepared, and in PL/pgSQL. The statement is parsed again when keys change.
create function is_active(value anyelement) returns boolean language sql stable as
$$
    select encrypt._key_id_of(value) = (select key_id from encrypt.keys where name = 'rotation_constants' and state = 'active' and purpose = 'column')
$$;
prepare prepared as insert into t (k, note, email) values (1, 'literal', 'literal') returning is_active(note) and is_active(email) as is_active;
create function fill() returns trigger language plpgsql as $$ begin new.email := coalesce(new.email, 'nobody'); return new; end $$;
create trigger fill before insert on t for each row execute function fill();
set plan_cache_mode = force_generic_plan;
execute prepared;
insert into t (k) values (2) returning is_active(email), is_active(note), is_active(counted);
create function rotated() returns boolean language sql as $$ select encrypt.rotate_key('rotation_constants') is not null $$;
select rotated();
execute prepared;
insert into t (k) values (3) returning is_active(email), is_active(counted);
-- A default is stored with its value; a typed constant is encrypted by each INSERT.
insert into t (k) values (4) returning is_active(note);

-- In the catalog: whatever holds a constant.
create function retire() returns text language plpgsql as
$$
declare
    said text;
    detail text;
    hint text;
begin
    perform encrypt.retire_key(
        (select key_id from encrypt.keys
         where name = 'rotation_constants' and state = 'rotating' and purpose = 'column' order by version limit 1));
    return 'retired';
exception when object_not_in_prerequisite_state then
    get stacked diagnostics said = message_text, detail = pg_exception_detail, hint = pg_exception_hint;
    return concat_ws(E'\n', regexp_replace(said, '\d{3,}', 'ID'), nullif(detail, ''), hint);
end
$$;
create procedure reencrypt() language plpgsql as
$$
declare
    job integer := encrypt.start_reencryption('rotation_constants');
begin
    call encrypt.run_job(job);
end
$$;
set client_min_messages = warning;
call reencrypt();
reset client_min_messages;
\pset format unaligned
\pset tuples_only on
select retire();
alter table t alter note set default text 'none';
insert into t (k) values (5) returning is_active(note);
select retire();
-- Under the version that is active now, to be found after the next rotation.
create view constant_view as select k from t where note = 'none';
create domain constant_domain as note_enc default 'none' check (value <> 'forbidden');
create function constant_function(n note_enc default 'none') returns bigint begin atomic select count(*) from t where note = n or note = 'some'; end;
create function constant_old() returns bigint language sql as $$ select count(*) from t where note = 'some' $$;
create table checked (k integer, email email_enc, note note_enc, notes note_enc[] default '{none,some}', check (note <> 'forbidden'));
create index on checked (k) where email <> 'nobody';
create policy constant_policy on checked using (note = 'shared') with check (email <> 'nobody');
create trigger constant_trigger before update on checked for each row when (new.note <> 'forbidden') execute function suppress_redundant_updates_trigger();
create rule constant_rule as on delete to checked do also insert into t (k, note) values (6, 'deleted');
select rotated();
select retire();
drop view constant_view;
drop domain constant_domain;
drop function constant_function;
alter table t alter note drop default;
drop table checked;
set client_min_messages = warning;
call reencrypt();
reset client_min_messages;
select retire();

-- Inside of arrays, rows and ranges, and domains over these: counted, but no job's.
create type pair as (k integer, note note_enc);
create type span as range (subtype = email_enc, subtype_opclass = email_enc_ops);
create domain notes as note_enc[];
create domain note as note_enc check (value is not null);
create table inside (
    k integer, many note_enc[], pair pair, pairs pair[], span span, notes notes, note note, plain text[], other integer, named text default 'x'
);
insert into inside values
    (1, '{a,b,null}', row(1, 'a'), array[row(1, 'a')::pair, null, row(2, 'b')::pair], '[a,a]', '{c}', 'd', '{e}', 1),
    (2, null, null, null, null, '{}', 'd', null, 2),
    (3, array(select repeat(md5(n::text), 40) from generate_series(1, 20) n), null, null, 'empty', null, 'd', null, 3);
select relation, "column", "values" from encrypt.key_usage('rotation_constants') where relation = 'inside'::regclass;
select rotated();
set client_min_messages = warning;
call reencrypt();
reset client_min_messages;
select retire();
update inside set many = many::text::note_enc[], pair = pair::text::pair, pairs = pairs::text::pair[], span = span::text::span,
    notes = notes::text::notes;
select retire();
select many[1:3], pair, pairs, span, notes, note from inside where other = 1;
select many[20] = repeat(md5('20'), 40) from inside where other = 3;

-- A client that may not decrypt writes back what it read before the version was retired. It is not destroyed then.
drop table inside;
create table stale (note note_enc);
insert into stale values ('kept');
set pg_encrypt.reveal = off;
select note::bytea::text as stored from stale \gset
set pg_encrypt.reveal = on;
select rotated();
set client_min_messages = warning;
call reencrypt();
reset client_min_messages;
select retire();
update stale set note = :'stored';
create function destroy() returns text language plpgsql as
$$
declare
    hint text;
begin
    perform encrypt.destroy_key(
        (select key_id from encrypt.keys
         where name = 'rotation_constants' and state = 'retired' and purpose = 'column' order by version desc limit 1), 'rotation_constants');
    return 'destroyed';
exception when object_not_in_prerequisite_state then
    get stacked diagnostics hint = pg_exception_hint;
    return concat_ws(E'\n', regexp_replace(sqlerrm, '\d{3,}', 'ID'), hint);
end
$$;
select destroy();
set pg_encrypt.allow_retired_keys = on;
update stale set note = note::text::note_enc;
reset pg_encrypt.allow_retired_keys;
select destroy();
select * from stale;
\pset format aligned
\pset tuples_only off
set client_min_messages = error;
drop schema rotation_constants cascade;
