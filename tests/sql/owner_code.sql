-- default settings only: what a migration evaluates does not depend on them
-- Code that the owner of a table wrote (casts, checks, predicates of indexes, expressions of statistics, defaults) is
-- evaluated wherever a statement on the table is planned or a constraint is validated. None of it may run with the rights of
-- whoever migrates, counts, re-encrypts or retires: a role that made a table could wait for the administrator.
set client_min_messages = error;
\set SHOW_CONTEXT never
select encrypt.create_key('owner_code') > 0 as made;
create role regress_owner_code;
create schema owner_code authorization regress_owner_code;
create table owner_code_seen (what text, who name);
grant all on owner_code_seen to public;

set role regress_owner_code;
create function owner_code.remember(what text) returns void language sql volatile as
$$ insert into public.owner_code_seen values (what, current_user) $$;
create function owner_code.note(value integer, what text) returns integer language plpgsql immutable as $$
begin
    perform owner_code.remember(what);
    return value;
end $$;
create type owner_code.part as enum ('x', 'y');
create function owner_code.number(owner_code.part) returns integer language sql immutable
    return owner_code.note(case when $1::text = 'x'::text then 1 else 2 end, 'cast');
create cast (owner_code.part as integer) with function owner_code.number(owner_code.part) as implicit;
create table owner_code.parents (id integer primary key);
insert into owner_code.parents values (1), (2);
create table owner_code.t (
    id integer primary key,
    secret text not null,
    n integer default owner_code.note(1, 'default') check (owner_code.note(n, 'check') > 0) check (owner_code.note(1, 'constant check') > 0),
    generated integer generated always as (owner_code.note(id, 'generated')) stored,
    part owner_code.part references owner_code.parents
);
create index on owner_code.t (owner_code.note(n, 'index'));
create index on owner_code.t ((owner_code.note(1, 'constant of index') + n));
create index on owner_code.t (n) where owner_code.note(1, 'predicate') > 0;
create statistics owner_code.s on (owner_code.note(1, 'statistics') + n), id from owner_code.t;
create table owner_code.children (id integer references owner_code.t check (owner_code.note(id, 'check of children') > 0));
insert into owner_code.t (id, secret, part) select i, 's' || i, 'x' from generate_series(1, 20) as i;
insert into owner_code.children select i from generate_series(1, 20) as i;
reset role;

create view owner_code_others as
select distinct what, who = current_user as by_us from owner_code_seen where who <> 'regress_owner_code' order by 1, 2;
-- PostgreSQL's planner evaluates it for whoever reads the table.
truncate owner_code_seen;
select count(*) from owner_code.t;
select * from owner_code_others;

truncate owner_code_seen;
set pg_encrypt.reveal = on;
call encrypt.migrate('owner_code.t', '{secret}', key => 'owner_code', search => '{secret}');
select * from owner_code_others;
select distinct what from owner_code_seen order by 1;
select migration_id as migration from encrypt.migrations where table_schema = 'owner_code' and ended_at is null \gset
call encrypt.rollback_migration(:migration);
select * from owner_code_others;
call encrypt.migrate('owner_code.t', '{secret}', key => 'owner_code', search => '{secret}', options => '{"expose": "columns"}');
select migration_id as migration from encrypt.migrations where table_schema = 'owner_code' and ended_at is null \gset
call encrypt.finalize_migration(:migration);
select * from owner_code_others;

-- Those that read every table with values, whoever made it. A policy that is forced on its owner hides nothing from them.
alter table owner_code.t enable row level security;
create policy few on owner_code.t using (id < 3);
alter table owner_code.t force row level security;
create index on owner_code.t (encrypt.key_id(secret_encrypted)) where owner_code.note(1, 'predicate') > 0;
select purpose, version, relation, "column", "values" from encrypt.key_usage('owner_code') order by 1, 2;
create index on owner_code.t (encrypt.key_id(secret_encrypted));
select purpose, version, relation, "column", "values" from encrypt.key_usage('owner_code') order by 1, 2;
alter table owner_code.t no force row level security;
select encrypt.rotate_key('owner_code') > 0 as rotated, encrypt.rotate_key('owner_code', 'index') > 0 as rotated;
select encrypt.start_reencryption('owner_code') as job \gset
call encrypt.run_job(:job);
select encrypt.start_reindexing('owner_code') as job \gset
call encrypt.run_job(:job);
select encrypt.retire_key(key_id) from encrypt.keys where name = 'owner_code' and state = 'rotating';
select purpose, version, state, relation, "column", "values" from encrypt.key_usage('owner_code') order by 1, 2;
select encrypt.leftover_plaintext('owner_code.t') is not null as told limit 1;
select * from owner_code_others;

-- A partition that comes during a migration.
truncate owner_code_seen;
set role regress_owner_code;
create table owner_code.p (id integer primary key, secret text) partition by range (id);
create table owner_code.p_1 partition of owner_code.p for values from (1) to (10);
reset role;
select encrypt.start_migration('owner_code.p', '{secret}', key => 'owner_code') as migration \gset
set role regress_owner_code;
create table owner_code.p_2_encrypted partition of owner_code.p_encrypted for values from (10) to (20);
create table owner_code.p_2 (id integer not null, secret text);
create index on owner_code.p_2 (id) where owner_code.note(1, 'predicate of a partition') > 0;
alter table owner_code.p attach partition owner_code.p_2 for values from (10) to (20);
reset role;
select * from owner_code_others;
insert into owner_code.p values (11, 'written to both');
select count(*) from owner_code.p_2_encrypted;
-- What it does by DDL is no part of the migration, which event triggers would leave alone.
select encrypt.create_type('owner_code.secret_enc', 'text', key => 'owner_code') is not null as made;
alter type owner_code.secret_enc owner to regress_owner_code;
set role regress_owner_code;
create table owner_code.ordered (value owner_code.secret_enc not null);
create function owner_code.store_order() returns void language plpgsql volatile as $$
begin
    alter table owner_code.ordered add primary key (value);
    perform owner_code.remember('the order was stored');
exception when feature_not_supported then
    perform owner_code.remember('the order was refused');
end $$;
create function owner_code.sneak() returns integer language plpgsql immutable as $$
begin
    perform owner_code.store_order();
    return 1;
end $$;
create table owner_code.p_3_encrypted partition of owner_code.p_encrypted for values from (20) to (30);
create table owner_code.p_3 (id integer not null, secret text);
create index on owner_code.p_3 (id) where owner_code.sneak() > 0;
alter table owner_code.p attach partition owner_code.p_3 for values from (20) to (30);
reset role;
select distinct what from owner_code_seen where what ~ 'order';
call encrypt.rollback_migration(:migration);

-- Nor may it act for whoever runs a maintenance command, which autovacuum does for a superuser.
create table owner_code_private (id integer primary key, secret text);
select encrypt.start_migration('owner_code_private', '{secret}', key => 'owner_code') as migration \gset
grant execute on function encrypt.rewrap_keys(text, text) to regress_owner_code;
set role regress_owner_code;
create function owner_code.meddle(statement text) returns void language plpgsql volatile as $$
begin
    execute statement;
    perform owner_code.remember(statement);
exception when insufficient_privilege then
    perform owner_code.remember(sqlerrm);
end $$;
create function owner_code.meddling(value integer) returns integer language plpgsql immutable as $$
begin
    perform owner_code.meddle('select encrypt.leftover_plaintext(''public.owner_code_private'')'),
            owner_code.meddle(format('select encrypt._try_step(''rollback'', %s, ''1 s'', 1, 1)',
                                     (select m.migration_id from encrypt.migrations m where m.table_name = 'owner_code_private'))),
            owner_code.meddle('select encrypt.rewrap_keys(''command:/bin/false'')');
    return value;
end $$;
create table owner_code.analyzed (id integer);
create index on owner_code.analyzed (owner_code.meddling(id));
reset role;
truncate owner_code_seen;
set role regress_owner_code;
insert into owner_code.analyzed values (1);
reset role;
select what, count(*) from owner_code_seen group by what order by what;
truncate owner_code_seen;
analyze owner_code.analyzed;
reindex table owner_code.analyzed;
select distinct what from owner_code_seen;
select phase from encrypt.migrations where migration_id = :migration;
call encrypt.rollback_migration(:migration);
revoke execute on function encrypt.rewrap_keys(text, text) from regress_owner_code;
drop table owner_code_private;

drop table owner_code_seen cascade;
drop schema owner_code cascade;
drop owned by regress_owner_code;
drop role regress_owner_code;
