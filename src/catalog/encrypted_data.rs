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

/// A column with values under a key.
pub struct Use {
    /// As PostgreSQL describes objects.
    pub place: String,
    pub values: i64,
    /// Whether a job moves them to the active version.
    pub is_moved_by_job: bool,
    /// How they get there.
    pub advice: String,
}

/// Every column that can be seen from here and holds values under a key, or tokens of registered columns, and everything in the
/// catalog with such a constant, with exact counts. What is in other databases can't be seen.
///
/// Reads every column of type `encrypt.ciphertext`, of the encrypted types and of what consists of these, which takes as long as
/// that takes; of single values only the first bytes are read.
pub fn uses_of(key_id: KeyId) -> Result<Vec<Use>, Error> {
    let found = sql::query(
        "select place, \"values\", is_moved_by_job, advice from encrypt._uses_of_key($1)",
        &[key_id.get().into()],
        |row| {
            Ok(Use {
                place: row.get::<String>(1)?.unwrap_or_default(),
                values: row.get::<i64>(2)?.unwrap_or(0),
                is_moved_by_job: row.get::<bool>(3)?.unwrap_or(false),
                advice: row.get::<String>(4)?.unwrap_or_default(),
            })
        },
    )?;
    Ok(found)
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
