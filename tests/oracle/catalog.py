"""What the catalogs say of a schema, by name: to be compared before and after."""

from __future__ import annotations

import psycopg

from session import rows
from shapes import SCHEMA

# Each query gives (what it is, what it is like). Everything in the schema is listed, so that what was left behind shows.
QUERIES = {
    "relation": """
        select c.relname, concat_ws(' | ', c.relkind, c.relpersistence, c.relowner::regrole, c.relacl, c.reloptions, c.relreplident,
               c.relrowsecurity, c.relforcerowsecurity, am.amname, c.relispartition, pg_get_expr(c.relpartbound, c.oid),
               pg_get_partkeydef(c.oid), i.inhparent::regclass)
        from pg_class c left join pg_am am on am.oid = c.relam left join pg_inherits i on i.inhrelid = c.oid
        where c.relnamespace = %(schema)s::regnamespace and c.relkind <> 't'""",
    "column": """
        select c.relname || '.' || a.attname, concat_ws(' | ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation, a.attcompression, a.attacl,
               coalesce(nullif(a.attstattarget, -1)::text, '-'), 
               -- some builds of PostgreSQL number the versions of columns there
               array(select o from unnest(a.attoptions) o where o not like 'pg_attver=%%'), a.attislocal, a.attinhcount)
        from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'p', 'v') and a.attnum > 0 and not a.attisdropped""",
    "column order": """
        select c.relname, string_agg(a.attname, ', ' order by a.attnum)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'p', 'v') and a.attnum > 0 and not a.attisdropped
        group by c.relname""",
    "constraint": """
        select conrelid::regclass || '.' || conname, concat_ws(' | ', pg_get_constraintdef(oid), convalidated, condeferrable,
               conislocal, coninhcount)
        from pg_constraint o where connamespace = %(schema)s::regnamespace
          -- PostgreSQL's own copies of a foreign key, one for each partition that it refers to, have any names.
          and not exists (select from pg_constraint above where above.oid = o.conparentid and above.conrelid = o.conrelid)""",
    "index": """
        select indexrelid::regclass, concat_ws(' | ', pg_get_indexdef(indexrelid), indisvalid, indisready, indisclustered,
               indisreplident)
        from pg_index join pg_class c on c.oid = indexrelid where c.relnamespace = %(schema)s::regnamespace""",
    "trigger": """
        select tgrelid::regclass || '.' || tgname, concat_ws(' | ', pg_get_triggerdef(t.oid), tgenabled)
        from pg_trigger t join pg_class c on c.oid = tgrelid
        where c.relnamespace = %(schema)s::regnamespace and not tgisinternal""",
    "sequence": """
        select s.seqrelid::regclass, concat_ws(' | ', seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle,
               d.refobjid::regclass, d.refobjsubid > 0, d.deptype)
        from pg_sequence s join pg_class c on c.oid = s.seqrelid
        left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
        where c.relnamespace = %(schema)s::regnamespace""",
    "statistics": "select stxname, pg_get_statisticsobjdef(oid) from pg_statistic_ext where stxnamespace = %(schema)s::regnamespace",
    "policy": """
        select polrelid::regclass || '.' || polname, concat_ws(' | ', polcmd, polpermissive, polroles::regrole[],
               pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        from pg_policy join pg_class c on c.oid = polrelid where c.relnamespace = %(schema)s::regnamespace""",
    "publication": "select pubname || ' ' || tablename, schemaname from pg_publication_tables where schemaname = %(schema)s",
    "comment": """
        select c.relname || coalesce('.' || a.attname, ''), d.description
        from pg_description d join pg_class c on d.classoid = 'pg_class'::regclass and d.objoid = c.oid
        left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
        where c.relnamespace = %(schema)s::regnamespace""",
    "type": """
        select t.typname, concat_ws(' | ', t.typtype, t.typowner::regrole, t.typacl)
        from pg_type t left join pg_class c on c.oid = t.typrelid
        where t.typnamespace = %(schema)s::regnamespace""",
    "function": "select oid::regprocedure, prosrc from pg_proc where pronamespace = %(schema)s::regnamespace",
    "operator class": "select opcname, opcintype::regtype from pg_opclass where opcnamespace = %(schema)s::regnamespace",
    "operator family": "select opfname, opfmethod from pg_opfamily where opfnamespace = %(schema)s::regnamespace",
    "operator": "select oid::regoperator, oprcode from pg_operator where oprnamespace = %(schema)s::regnamespace",
    "registered type": "select type_oid, base from encrypt.types t where type_oid::text like %(schema)s || '.%%'",
    "registered statement": "select relation || event || level, statements from encrypt.sync_statements",
}

Snapshot = dict[tuple[str, str], str]


def snapshot(connection: psycopg.Connection) -> Snapshot:
    found = {}
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("set local search_path = pg_catalog")
        for kind, query in QUERIES.items():
            for name, like in rows(connection, query, {"schema": SCHEMA}):
                found[kind, name] = str(like)
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    problems = [f"{kind} {name} is gone" for kind, name in before.keys() - after.keys()]
    problems += [f"{kind} {name} was not there: {after[kind, name][:200]}" for kind, name in after.keys() - before.keys()]
    problems += [f"{kind} {name} was {before[kind, name]} and is {after[kind, name]}"
                 for kind, name in before.keys() & after.keys() if before[kind, name] != after[kind, name]]
    return sorted(problems)


def changes_of_encryption(before: Snapshot, after: Snapshot, migrated: set[str]) -> list[str]:
    """As `changes`, except for what encrypting columns is about: their types, and indexes and defaults of these."""
    brought = {"type", "function", "operator class", "operator family", "operator", "registered type"}

    def is_index_now(kind: str, name: str) -> bool:
        # A unique constraint of an encrypted column becomes a unique index on its tokens.
        return kind == "constraint" and any(name.endswith(f"_{column}_key") for column in migrated)

    def kept(snapshot: Snapshot) -> Snapshot:
        return {(kind, name): "" if kind == "index" or (kind == "column" and name.split(".", 1)[1] in migrated) else like
                for (kind, name), like in snapshot.items() if kind not in brought and not is_index_now(kind, name)}

    return changes(kept(before), kept(after))
