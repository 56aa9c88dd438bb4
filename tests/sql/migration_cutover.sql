-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Cutover, rollback and finalize: what hangs on a table is the same before and after, on both ways.
set client_min_messages = error;
\set SHOW_CONTEXT never
-- Numbers are in messages.
select setval('encrypt.migrations_migration_id_seq', 7000) is not null as numbered;
create schema migration_cutover;
set search_path = migration_cutover;
create role regress_cutover_owner;
create role regress_cutover_app;
create role regress_cutover_reader;
grant all on schema migration_cutover to regress_cutover_owner;
grant usage on schema migration_cutover to regress_cutover_app, regress_cutover_reader;
select encrypt.create_key('migration_cutover') is not null as made;
set pg_encrypt.reveal = on;

-- Everything that hangs on the tables of the schema, by name. What dual write adds is left out, and so are the shadows.
create function snapshot() returns setof text language sql as
$$
    with tables as (
        select c.* from pg_class c
        where c.relnamespace = 'migration_cutover'::regnamespace and c.relkind in ('r', 'p', 'v')
          and c.relname !~ '_(encrypted|plaintext)' and c.relname !~ '^snapshot'
    )
    select format('%s: owner %s, acl %s, kind %s, rls %s %s, identity %s, options %s, comment %s, partition %s', c.oid::regclass,
                  c.relowner::regrole, (select array_agg(x::text order by x::text) from unnest(coalesce(c.relacl, acldefault('r', c.relowner))) x), c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
                  c.reloptions, obj_description(c.oid, 'pg_class'), pg_get_expr(c.relpartbound, c.oid))
    from tables c
    union all
    select format('%s column %s %s: %s, not null %s, identity %s, generated %s, default %s, acl %s, target %s, storage %s, comment %s',
                  c.oid::regclass, row_number() over (partition by c.oid order by a.attnum), a.attname,
                  format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                  pg_get_expr(d.adbin, d.adrelid), a.attacl, coalesce(a.attstattarget, -1),
                  case when a.attname <> 'email' then a.attstorage end, col_description(c.oid, a.attnum))
    from tables c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    union all
    select format('%s constraint %s: %s, valid %s, comment %s, triggers %s', o.conrelid::regclass, o.conname,
                  pg_get_constraintdef(o.oid), o.convalidated, obj_description(o.oid, 'pg_constraint'),
                  (select array_agg(format('%s %s', t.tgfoid::regproc, t.tgenabled) order by t.tgfoid::regproc::text)
                   from pg_trigger t where t.tgconstraint = o.oid))
    from pg_constraint o where o.conrelid in (select oid from tables) and o.conname !~ '_(encrypted|plaintext)'
      and o.contype <> 'n'
      -- Copies of a key per partition of the table that it references have names of PostgreSQL's choice.
      and not exists (select from pg_constraint above where above.oid = o.conparentid and above.conrelid = o.conrelid)
    union all
    select format('index %s, replica identity %s, clustered %s, comment %s', pg_get_indexdef(i.indexrelid), i.indisreplident,
                  i.indisclustered, obj_description(i.indexrelid, 'pg_class'))
    from pg_index i where i.indrelid in (select oid from tables)
    union all
    select format('%s trigger %s, enabled %s, comment %s', t.tgrelid::regclass, pg_get_triggerdef(t.oid), t.tgenabled,
                  obj_description(t.oid, 'pg_trigger'))
    from pg_trigger t where t.tgrelid in (select oid from tables) and not t.tgisinternal and t.tgname !~ '_encrypt_'
    union all
    select format('%s policy %s: %s %s %s, using %s, check %s', p.polrelid::regclass, p.polname, p.polpermissive, p.polcmd,
                  p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    from pg_policy p where p.polrelid in (select oid from tables)
    union all
    select format('view %s: %s', c.oid::regclass, pg_get_viewdef(c.oid)) from tables c where c.relkind = 'v'
    union all
    select format('publication %s: %s (%s) where %s', p.pubname, r.prrelid::regclass, r.prattrs, pg_get_expr(r.prqual, r.prrelid))
    from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where p.pubname ~ '^migration_cutover'
    union all
    select pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s where s.stxrelid in (select oid from tables)
    union all
    select format('sequence %s of %s.%s at %s', s.oid::regclass, d.refobjid::regclass, a.attname, q.last_value)
    from pg_class s join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid and d.deptype in ('a', 'i')
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    join pg_sequences q on q.schemaname = 'migration_cutover' and q.sequencename = s.relname
    where s.relkind = 'S' and d.refobjid in (select oid from tables)
    union all
    select format('%s may %s %s', r.rolname, p.privilege, c.oid::regclass)
    from tables c, pg_roles r, unnest('{select,insert,update,delete,truncate,references,trigger}'::text[]) as p (privilege)
    where r.rolname ~ '^regress_cutover' and has_table_privilege(r.oid, c.oid, p.privilege)
$$;
create table snapshot_before (line text);
-- Lines with < were there before, lines with > are there now.
create function changes() returns setof text language sql as
$$
    select '< ' || line from (select line from snapshot_before except select * from snapshot()) b
    union all
    select '> ' || line from (select * from snapshot() as s (line) except select line from snapshot_before) a
    order by 1
$$;

create table groups (group_id integer primary key, name text);
create table users (
    id bigint generated always as identity (start 100 increment 10) primary key,
    nr serial,
    email text not null,
    note text default 'n' check (length(note) < 100),
    note_length integer generated always as (length(note)) stored,
    group_id integer references groups on delete cascade,
    boss bigint,
    constraint users_boss foreign key (boss) references users on update cascade deferrable initially deferred
);
alter table users owner to regress_cutover_owner;
create unique index users_email on users (email);
create index users_note on users (note) where group_id > 0;
create statistics users_statistics on group_id, note from users;
alter table users alter note set statistics 77, alter note set storage external, set (fillfactor = 80);
alter table users replica identity using index users_pkey;
comment on table users is 'people';
comment on column users.email is 'address';
comment on index users_note is 'an index';
comment on constraint users_boss on users is 'a key';
grant select, insert on users to regress_cutover_app;
grant update (note) on users to regress_cutover_app;
create table orders (order_id integer primary key, user_id bigint references users on delete set null);
alter table orders add constraint orders_again foreign key (user_id) references users on update cascade deferrable;

create function stamp() returns trigger language plpgsql as $$begin new.note := coalesce(new.note, 'stamped'); return new; end$$;
create table log (what text);
-- From 18 on triggers after a cascade run as the table's owner.
grant insert on log to regress_cutover_owner;
create function note_it() returns trigger language plpgsql as $$begin insert into migration_cutover.log values (tg_op || ' ' || tg_name); return null; end$$;
create trigger stamp before insert on users for each row execute function stamp();
create trigger logged after insert or delete on users for each row execute function note_it();
create trigger off after insert on users for each row when (new.note = 'x') execute function note_it();
create trigger always after update of note on users for each statement execute function note_it();
create constraint trigger later after insert on users deferrable initially deferred for each row execute function note_it();
alter table users disable trigger off, enable always trigger always;
comment on trigger logged on users is 'logs';

create view active with (security_barrier) as select id, email, note as remark from users where group_id > 0;
alter view active owner to regress_cutover_owner;
grant select on active to regress_cutover_app with grant option;
grant update (remark) on active to regress_cutover_reader;
comment on view active is 'some';
comment on column active.remark is 'renamed';
create view lowered as select a.*, lower(a.email) as low, g.name from active a left join groups g on g.group_id = 1;
alter view lowered alter remark set default 'from the view';
grant select on lowered to regress_cutover_reader;
alter table users enable row level security;
create policy own on users for select to regress_cutover_app using (group_id = 1);
create publication migration_cutover for table users (id, note) where (id > 0);

insert into groups values (1, 'one'), (2, 'two');
insert into users (email, group_id) select 'user' || g || '@example.com', 1 from generate_series(1, 50) g;
insert into orders values (1, 100), (2, 110), (3, null);
update users set boss = 100;

-- Steps in the wrong order, by the wrong role, in a transaction.
select encrypt.start_migration('users', '{email}', 'migration_cutover', '{email}') as m \gset
\set VERBOSITY terse
call encrypt.cutover(:m);
call encrypt.finalize_migration(:m);
call encrypt.cutover(-1);
call encrypt.cutover(:m, '0');
set role regress_cutover_app;
call encrypt.cutover(:m);
call encrypt.rollback_migration(:m);
call encrypt.finalize_migration(:m);
select encrypt.pause_migration(:m);
select encrypt._await_job(:m, 1);
select * from encrypt.leftover_plaintext('users');
reset role;
begin;
call encrypt.cutover(:m);
rollback;
select encrypt.pause_migration(:m);

-- Rolled back before cutover there is no trace.
insert into snapshot_before select * from snapshot();
call encrypt.rollback_migration(:m);
select * from changes();
select relname from pg_class where relnamespace = 'migration_cutover'::regnamespace and relname ~ 'encrypt' order by 1;
select typname from pg_type where typnamespace = 'migration_cutover'::regnamespace and typname ~ 'enc' order by 1;
select phase, shadow is null as no_shadow from encrypt.migrations where migration_id = :m;

-- There.
call encrypt.migrate('users', '{email}', 'migration_cutover', '{email}');
select migration_id as m from encrypt.migrations where ended_at is null and key_name = 'migration_cutover' \gset
select table_name, phase, next_step = format('call encrypt.finalize_migration(%s);', :m) as next from encrypt.migration_progress where migration_id = :m;
select * from changes();

-- Statements of the application, and one that was prepared before.
call encrypt.rollback_migration(:m);
select * from changes();
prepare by_email (text) as select id, nr from users where email = $1;
prepare add (text) as insert into users (email, group_id) values ($1, 2) returning id, nr, note;
execute by_email('user7@example.com');
call encrypt.migrate('users', '{email}', 'migration_cutover', '{email}');
select migration_id as m from encrypt.migrations where ended_at is null and key_name = 'migration_cutover' \gset
execute by_email('user7@example.com');
truncate log;
execute add('new@example.com');
-- The triggers fired once, not on the plaintext table again.
select * from log order by 1;
select low, name from lowered where email = 'user7@example.com';
update users set id = default where email = 'user7@example.com';
select count(*) from users where email = 'user7@example.com';
-- Cascades reach both tables.
delete from groups where group_id = 2;
select count(*) from users where group_id = 2;
insert into groups values (2, 'two');
delete from users where email = 'user1@example.com' and boss is null;
update users set boss = null where email = 'user1@example.com';
set constraints all immediate;
update users set boss = 110 where boss = 100;
delete from users where id = 100;
select * from orders order by 1;
insert into users (email, boss) values ('wrong@example.com', -1);
insert into orders values (4, -1);
select count(*) from users u full join users_plaintext p on p.id = u.id
where (u.nr, u.email::text, u.note, u.note_length, u.group_id, u.boss)
    is distinct from (p.nr, p.email, p.note, p.note_length, p.group_id, p.boss);
-- What is not noticed to have changed would be lost on the way back.
alter table users add column extra integer;
\set VERBOSITY default
call encrypt.rollback_migration(:m);
-- Both tables have it from now on, but what was written to it before may be in one only.
alter table users_plaintext add column extra integer;
call encrypt.rollback_migration(:m);
set session_replication_role = replica;
alter table users disable trigger users_encrypt_delete;
reset session_replication_role;
call encrypt.rollback_migration(:m);
alter table users enable trigger users_encrypt_delete;
\set VERBOSITY terse
alter table users drop column extra;
alter table users_plaintext drop column extra;
call encrypt.verify(:m);
create index extra on users (group_id, nr);
call encrypt.rollback_migration(:m);
create index extra_too on users_plaintext (group_id, nr);
create function strange() returns bigint language sql begin atomic select count(*) from users; end;
\set VERBOSITY default
call encrypt.rollback_migration(:m);
\set VERBOSITY terse
drop function strange();
-- What changed and can follow does.
grant delete on users to regress_cutover_reader;
comment on table users is 'other people';
alter table users alter note set statistics 78;
create view third as select count(*) from users;
alter table users disable trigger stamp;
truncate snapshot_before;
insert into snapshot_before select * from snapshot();
call encrypt.rollback_migration(:m);
select * from changes();
select count(*) from users;

-- Altered between start and cutover.
select encrypt.start_migration('users', '{email}', 'migration_cutover', '{email}') as m \gset
call encrypt.backfill(:m);
call encrypt.verify(:m);
alter table users_encrypted drop constraint users_note_check;
call encrypt.cutover(:m);
alter table users_encrypted add constraint users_note_check check (length(note) < 100);
set session_replication_role = replica;
alter table users disable trigger users_encrypt_delete;
reset session_replication_role;
call encrypt.cutover(:m);
alter table users enable trigger users_encrypt_delete;
set default_transaction_isolation = 'repeatable read';
call encrypt.cutover(:m);
reset default_transaction_isolation;

-- To the end.
select place from encrypt.leftover_plaintext('users') where place ~ 'table';
create view in_the_way as select count(*) from users_plaintext;
call encrypt.finalize_migration(:m);
drop view in_the_way;
truncate snapshot_before;
insert into snapshot_before select * from snapshot();
call encrypt.finalize_migration(:m);
select * from changes();
select relname from pg_class where relnamespace = 'migration_cutover'::regnamespace and relname ~ 'plaintext' order by 1;
select phase, clean_from <= pg_current_wal_lsn() as clean, shadow is null as no_shadow
from encrypt.migrations where migration_id = :m;
select place from encrypt.leftover_plaintext('users') where place !~ 'segments|log|pg_catalog|slot' order by 1;
execute add('last@example.com');
call encrypt.rollback_migration(:m);

-- Partitions, keys of them and to them, a trigger that is switched off on one.
create table parts (id integer, at date, email text, group_id integer references groups, primary key (id, at)) partition by range (at);
create table parts_old partition of parts for values from ('2020-01-01') to ('2021-01-01');
create table parts_new partition of parts for values from ('2021-01-01') to ('2030-01-01') partition by list (id);
create table parts_new_1 partition of parts_new for values in (1, 2);
create table parts_new_rest partition of parts_new default;
create table part_lines (id integer, at date, foreign key (id, at) references parts on delete cascade);
create trigger logged after insert on parts for each row execute function note_it();
alter table parts_old disable trigger logged;
create index parts_group on parts (group_id);
insert into parts select g, date '2020-06-01' + 200 * g, 'p' || g, 1 from generate_series(1, 10) g;
insert into part_lines select id, at from parts where id < 5;
truncate snapshot_before;
insert into snapshot_before select * from snapshot();
call encrypt.migrate('parts', '{email}', 'migration_cutover');
select migration_id as m from encrypt.migrations where ended_at is null and key_name = 'migration_cutover' \gset
select * from changes();
insert into parts values (11, '2020-02-02', 'p11', 2), (2, '2022-02-02', 'p2', null);
delete from parts where id = 1;
select count(*) from part_lines;
insert into part_lines values (99, '2020-01-01');
select tableoid::regclass, id, email from parts order by id, at;
select count(*) from parts e full join parts_plaintext p using (id, at) where e.email::text is distinct from p.email;
call encrypt.rollback_migration(:m);
select * from changes();
call encrypt.migrate('parts', '{email}', 'migration_cutover');
select migration_id as m from encrypt.migrations where ended_at is null and key_name = 'migration_cutover' \gset
call encrypt.finalize_migration(:m);
select relname from pg_class where relnamespace = 'migration_cutover'::regnamespace and relname ~ '_(plaintext|encrypted)' order by 1;

set client_min_messages = error;
drop publication migration_cutover;
drop schema migration_cutover cascade;
drop role regress_cutover_owner, regress_cutover_app, regress_cutover_reader;
