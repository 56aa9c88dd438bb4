-- default settings only: catalogs do not depend on them
-- Every object of the extension with what makes it safe: volatility, strictness, privileges, pinned paths, comments,
-- enabled triggers, and that dumps carry its tables. One query per kind; a new object adds a line.
set search_path = pg_catalog;
\pset format unaligned
\pset fieldsep ' | '
\pset footer off

create temp view member as
select d.classid, d.objid
from pg_depend d
where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  and d.refobjid = (select oid from pg_extension where extname = 'pg_encrypt');

-- Functions: how they are called. Internal ones, whose names begin with _, are listed only if anybody can call them.
select p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as function, pg_get_function_result(p.oid) as returns
from pg_proc p join pg_temp.member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
where p.proname !~ '^_'
order by p.oid::regprocedure::text collate "C";

-- Functions: what they promise and who may call them. Leakproof must never be true of one that takes a ciphertext.
select p.oid::regprocedure as function,
       case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end as volatility,
       case when p.proisstrict then 'strict' else 'called on null' end as nulls,
       case p.proparallel when 's' then 'safe' when 'r' then 'restricted' else 'unsafe' end as parallel,
       case when p.proleakproof then 'leakproof' else '-' end as leakproof,
       case when p.prosecdef then 'definer' else 'invoker' end as security,
       coalesce(array_to_string(p.proconfig, '; '), '-') as settings,
       case when exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                         where a.grantee = 0 and a.privilege_type = 'EXECUTE') then 'public' else 'owner' end as execute
from pg_proc p join pg_temp.member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
where p.proname !~ '^_' or has_function_privilege('public', p.oid, 'execute')
order by p.oid::regprocedure::text collate "C";

-- SECURITY DEFINER with other settings than the pinned path, or open to everybody. create_type needs the caller's path to know
-- where to create, and trusts nothing else that it finds there (shown by test privileges). Steps of a migration and
-- leftover_plaintext are for the owner of the table, which they ask for first; _job_workers shows numbers only.
select p.oid::regprocedure
from pg_proc p join pg_temp.member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
where p.prosecdef
  and (p.proconfig is distinct from array['search_path=pg_catalog, pg_temp']
       or exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0))
order by 1;

-- Must be empty: decryption that the planner may fold into a plan, or evaluate before a security barrier.
select p.oid::regprocedure
from pg_proc p join pg_temp.member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
where (p.proname ~ '^(decrypt|blind_index)' and p.provolatile = 'i') or p.proleakproof
order by 1;

-- Must be empty: encryption that could be called once for several rows.
select p.oid::regprocedure
from pg_proc p join pg_temp.member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
where p.proname ~ '^(re)?encrypt_' and p.provolatile <> 'v'
order by 1;

-- Types. Arrays come along with their element types.
select t.oid::regtype as type, t.typtype as kind, t.typlen as length, t.typalign as alignment, t.typstorage as storage,
       obj_description(t.oid, 'pg_type') is not null as commented
from pg_type t join pg_temp.member m on m.classid = 'pg_type'::regclass and m.objid = t.oid
where t.typcategory <> 'A' and t.typrelid = 0
order by t.oid::regtype::text collate "C";

-- Operators. None is called =, < or the like for ciphertexts.
select o.oid::regoperator as operator, o.oprcode as function, o.oprcom::regoperator as commutator,
       o.oprnegate::regoperator as negator, o.oprrest as restrict, o.oprjoin as join,
       o.oprcanmerge as merges, o.oprcanhash as hashes, obj_description(o.oid, 'pg_operator') is not null as commented
from pg_operator o join pg_temp.member m on m.classid = 'pg_operator'::regclass and m.objid = o.oid
order by o.oid::regoperator::text collate "C";

-- Operator classes.
select a.amname as method, o.opcintype::regtype as type, o.opcname as class, o.opcdefault as is_default,
       obj_description(o.oid, 'pg_opclass') is not null as commented
from pg_opclass o
join pg_temp.member m on m.classid = 'pg_opclass'::regclass and m.objid = o.oid
join pg_am a on a.oid = o.opcmethod
order by 1, o.opcintype::regtype::text collate "C", 3;

-- Casts: e explicit, a on assignment, i implicit.
select c.castsource::regtype as source, c.casttarget::regtype as target, c.castcontext as context,
       c.castmethod as method
from pg_cast c join pg_temp.member m on m.classid = 'pg_cast'::regclass and m.objid = c.oid
order by c.castsource::regtype::text collate "C", c.casttarget::regtype::text collate "C";

-- Tables and views, and what PUBLIC may do with all of their columns.
select c.oid::regclass as relation, c.relkind as kind, c.relpersistence as persistence, c.relrowsecurity as rls,
       coalesce((select string_agg(lower(a.privilege_type), ', ' order by a.privilege_type)
                 from aclexplode(c.relacl) a where a.grantee = 0), '-') as public,
       obj_description(c.oid, 'pg_class') is not null as commented
from pg_class c join pg_temp.member m on m.classid = 'pg_class'::regclass and m.objid = c.oid
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
order by c.oid::regclass::text collate "C";

-- Columns. Whoever can't read the whole table may read those with a privilege of their own.
select c.oid::regclass as relation, a.attnum as n, a.attname as "column",
       format_type(a.atttypid, a.atttypmod) as type,
       coalesce((select l.collname from pg_collation l where l.oid = a.attcollation and l.collname <> 'default'), '-')
           as "collation",
       case when a.attnotnull then 'not null' else '-' end as nulls,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '-') as "default",
       coalesce((select string_agg(lower(x.privilege_type), ', ' order by x.privilege_type)
                 from aclexplode(a.attacl) x where x.grantee = 0), '-') as public,
       col_description(c.oid, a.attnum) is not null as commented
from pg_class c
join pg_temp.member m on m.classid = 'pg_class'::regclass and m.objid = c.oid
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relkind in ('r', 'p', 'v', 'm', 'f')
order by c.oid::regclass::text collate "C", a.attnum;

-- Constraints (NOT NULL is shown with the columns) and indexes.
select n.conrelid::regclass as relation, n.conname as "constraint", pg_get_constraintdef(n.oid) as definition
from pg_constraint n join pg_temp.member m on m.classid = 'pg_class'::regclass and m.objid = n.conrelid
where n.contype <> 'n'
order by n.conrelid::regclass::text collate "C", n.conname;

select i.indrelid::regclass as relation, pg_get_indexdef(i.indexrelid) as index
from pg_index i join pg_temp.member m on m.classid = 'pg_class'::regclass and m.objid = i.indrelid
where i.indrelid::regclass::text !~ 'pg_toast'
order by i.indrelid::regclass::text collate "C", pg_get_indexdef(i.indexrelid) collate "C";

-- Triggers. A: always, under session_replication_role = replica and for apply workers too.
select t.tgrelid::regclass as relation, t.tgname as trigger, t.tgenabled as enabled, t.tgfoid::regproc as function,
       case when t.tgtype & 1 <> 0 then 'row' else 'statement' end as level,
       case when t.tgtype & 2 <> 0 then 'before' else 'after' end as timing,
       array_to_string(array[case when t.tgtype & 4 <> 0 then 'insert' end, case when t.tgtype & 8 <> 0 then 'delete' end,
                             case when t.tgtype & 16 <> 0 then 'update' end,
                             case when t.tgtype & 32 <> 0 then 'truncate' end], ', ') as events
from pg_trigger t join pg_temp.member m on m.classid = 'pg_class'::regclass and m.objid = t.tgrelid
where not t.tgisinternal
order by t.tgrelid::regclass::text collate "C", t.tgname;

-- Event triggers.
select e.evtname as event_trigger, e.evtevent as event, e.evtenabled as enabled, e.evtfoid::regproc as function
from pg_event_trigger e join pg_temp.member m on m.classid = 'pg_event_trigger'::regclass and m.objid = e.oid
order by 1;

-- What pg_dump carries, and under which condition.
select c.oid::regclass as relation, coalesce(nullif(e.extcondition[n.i], ''), '-') as condition
from pg_extension e
cross join generate_subscripts(e.extconfig, 1) as n(i)
join pg_class c on c.oid = e.extconfig[n.i]
where e.extname = 'pg_encrypt'
order by c.oid::regclass::text collate "C";

-- Tables and sequences whose rows a dump leaves out: those of jobs, which work on this server's files, and pairs of OIDs.
select c.oid::regclass
from pg_class c
join pg_temp.member m on m.classid = 'pg_class'::regclass and m.objid = c.oid
where c.relkind in ('r', 'p', 'S')
  and not exists (select from pg_extension e where e.extname = 'pg_encrypt' and c.oid = any (e.extconfig))
order by 1;

-- Must be empty: members in other schemas.
select i.type, i.identity
from pg_temp.member m cross join pg_identify_object(m.classid, m.objid, 0) i
where i.schema is not null and i.schema <> 'encrypt'
order by 1, 2;

-- Must be empty: functions, tables and views without a comment, internal functions left out.
select i.type, i.identity
from pg_temp.member m cross join pg_identify_object(m.classid, m.objid, 0) i
where m.classid in ('pg_proc'::regclass, 'pg_class'::regclass) and i.type <> 'index' and i.identity !~ '^encrypt\._'
  and obj_description(m.objid, m.classid::regclass::name) is null
order by 1, i.identity collate "C";

-- The extension itself: its schema is fixed, and only superusers create it.
select e.extrelocatable, n.nspname, v.superuser, v.trusted
from pg_extension e
join pg_namespace n on n.oid = e.extnamespace
join pg_available_extension_versions v on v.name = e.extname and v.version = e.extversion
where e.extname = 'pg_encrypt';
