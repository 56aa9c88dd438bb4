-- default settings only: the plans of catalog lookups are PostgreSQL's, and compiling them takes minutes
-- Tables of so many columns that those of both together are more than PostgreSQL takes in one list.
set client_min_messages = error;
create schema mwide;
set search_path = mwide, public;
select count(encrypt.create_key('migration_wide'));
set pg_encrypt.reveal = on;
do $$ begin
    execute (select format('create table wide (id integer primary key, %s)', string_agg(format('c%s text', i), ', ' order by i))
             from generate_series(1, 900) i);
end $$;
insert into wide (id, c1, c900) values (1, 'a', 'z'), (2, null, 'y');
call encrypt.migrate('wide', '{c1, c900}', key => 'migration_wide', search => '{c1}');
insert into wide (id, c1, c900) values (3, 'c', 'x'), (4, 'd', 'w');
update wide set c900 = upper(c900), id = id + 10 where id <> 3;
delete from wide where c1 = 'd';
select id, c1, c2, c900 from wide order by 1;
select migration_id as m from encrypt.migrations where live = 'wide'::regclass \gset
call encrypt.verify(:m);
select verification ->> 'passed' as passed, verification ->> 'rows' as rows from encrypt.migrations where migration_id = :m;
call encrypt.rollback_migration(:m);
select id, c1, c2, c900 from wide order by 1;
drop schema mwide cascade;
