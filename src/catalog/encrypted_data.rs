//! What of this database would be lost with the extension: columns that hold ciphertext, and domains over its types.

use crate::error::Error;
use crate::pg::sql;
use pg_encrypt_core::key::KeyId;
use pgrx::pg_sys::Oid;

/// Where encrypted data is.
pub struct EncryptedData {
    /// The first few places, as PostgreSQL describes objects.
    pub examples: Vec<String>,
    pub count: i64,
}

/// How many places an error names.
const EXAMPLES: i64 = 5;

/// Every column (of tables, partitions, materialized views, foreign tables and composite types) whose type is
/// `encrypt.ciphertext` or an encrypted type, an array, range, domain or composite of one, and every such domain.
///
/// Encrypted types are known by their analyze function, not from the registry, which does not have the types that come
/// with the extension before their key is made.
pub fn find() -> Result<EncryptedData, Error> {
    let rows = sql::query(
        "with recursive holds (type_oid) as (
             select t.oid from pg_catalog.pg_type t
             where t.oid = 'encrypt.ciphertext'::pg_catalog.regtype
                 or t.typanalyze = 'encrypt._typanalyze'::pg_catalog.regproc
           union
             select over.type_oid
             from holds
             cross join lateral (
                 select t.typarray from pg_catalog.pg_type t where t.oid = holds.type_oid
                 union all
                 select t.oid from pg_catalog.pg_type t where t.typbasetype = holds.type_oid
                 union all
                 select r.rngtypid from pg_catalog.pg_range r where r.rngsubtype = holds.type_oid
                 union all
                 select c.reltype from pg_catalog.pg_attribute a
                 join pg_catalog.pg_class c on c.oid = a.attrelid
                 where a.atttypid = holds.type_oid and a.attnum > 0 and not a.attisdropped
             ) as over (type_oid)
             where over.type_oid <> 0
         ), places (classid, objid, objsubid) as (
             select 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, a.attnum::integer
             from pg_catalog.pg_attribute a
             join pg_catalog.pg_class c on c.oid = a.attrelid
             join holds on holds.type_oid = a.atttypid
             where c.relkind in ('r', 'p', 'm', 'f', 'c') and a.attnum > 0 and not a.attisdropped
           union all
             select 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 0
             from pg_catalog.pg_type t
             join holds on holds.type_oid = t.oid
             where t.typtype = 'd'
         )
         select d.place, pg_catalog.count(*) over ()
         from places
         cross join lateral pg_catalog.pg_describe_object(classid, objid, objsubid) as d (place)
         order by d.place collate \"C\"
         limit $1",
        &[EXAMPLES.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<i64>(2)?)),
    )?;
    let count = rows.first().and_then(|(_, count)| *count).unwrap_or(0);
    Ok(EncryptedData {
        examples: rows.into_iter().filter_map(|(place, _)| place).collect(),
        count,
    })
}

/// A column with a value under a key, described as PostgreSQL describes objects; `None` if no column that can be seen
/// from here has one. Values within arrays and composites, and in other databases, can't.
///
/// Reads every column of type `encrypt.ciphertext` and of the encrypted types, which takes as long as that takes; only
/// the first bytes of a value are read.
pub fn column_with_key(key_id: KeyId) -> Result<Option<String>, Error> {
    let columns = sql::query(
        "select pg_catalog.format('select exists (select from only %I.%I where encrypt._key_id_of(%I) = $1)',
                                  n.nspname, c.relname, a.attname),
                pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, a.attnum)
         from pg_catalog.pg_attribute a
         join pg_catalog.pg_class c on c.oid = a.attrelid
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         join pg_catalog.pg_type t on t.oid = a.atttypid
         where c.relkind in ('r', 'm') and a.attnum > 0 and not a.attisdropped
           and (c.relpersistence <> 't' or c.relnamespace = pg_catalog.pg_my_temp_schema())
           and (t.oid = 'encrypt.ciphertext'::pg_catalog.regtype
                or t.typanalyze = 'encrypt._typanalyze'::pg_catalog.regproc)
         order by c.oid, a.attnum",
        &[],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    )?;
    for (probe, place) in columns {
        if holds(&probe.unwrap_or_default(), key_id.get().into())? {
            return Ok(place);
        }
    }
    Ok(None)
}

/// Whether dropping one of these extensions would drop ours: it is ours, or ours requires it.
pub fn is_dropped_with(extensions: &[String]) -> Result<bool, Error> {
    holds(
        "select exists (
             select from pg_catalog.pg_extension ours
             join pg_catalog.pg_extension dropped on dropped.extname = any ($1)
             where ours.extname = 'pg_encrypt' and (dropped.oid = ours.oid or exists (
                 select from pg_catalog.pg_depend d
                 where d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.objid = ours.oid
                     and d.refclassid = d.classid and d.refobjid = dropped.oid)))",
        extensions.to_vec().into(),
    )
}

/// Whether one of these roles owns the extension.
pub fn is_owned_by(roles: &[Oid]) -> Result<bool, Error> {
    holds(
        "select exists (select from pg_catalog.pg_extension
                        where extname = 'pg_encrypt' and extowner = any ($1))",
        roles.to_vec().into(),
    )
}

fn holds(statement: &str, argument: sql::Argument<'_>) -> Result<bool, Error> {
    let holds = sql::query_first(statement, &[argument], |row| row.get::<bool>(1))?;
    Ok(holds.flatten().unwrap_or(false))
}
