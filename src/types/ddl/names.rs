//! Names in generated statements: parsed once, quoted in one place.

use crate::catalog::SCHEMA;
use crate::error::Error;
use crate::pg::{schema, sql, typeio};
use pgrx::pg_sys::Oid;
use pgrx::spi::{quote_identifier, quote_qualified_identifier};
use std::collections::HashMap;

/// Longest name of a type: its functions append up to 22 bytes, and PostgreSQL's names have 63.
const MAX_NAME: usize = 40;

/// The name of a type that is to be made, with its schema.
pub struct TypeName {
    schema: String,
    schema_oid: Oid,
    name: String,
}

impl TypeName {
    /// Reads `name` or `schema.name`, quoted as in SQL. Without a schema, the caller's.
    pub fn parse(text: &str, caller_schema: Option<&str>) -> Result<Self, Error> {
        let bad = || Error::BadTypeName {
            name: text.to_owned(),
        };
        let parts = sql::query_first("select pg_catalog.parse_ident($1)", &[text.into()], |row| {
            row.get::<Vec<String>>(1)
        })?
        .flatten()
        .ok_or_else(bad)?;
        let (schema, name) = match <[String; 2]>::try_from(parts) {
            Ok([schema, name]) => (schema, name),
            Err(parts) => match <[String; 1]>::try_from(parts) {
                Ok([name]) => (caller_schema.ok_or_else(bad)?.to_owned(), name),
                Err(_) => return Err(bad()),
            },
        };
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(bad());
        }
        Self::new(schema, name)
    }

    /// The name of a type of the extension's own.
    pub fn in_our_schema(name: &str) -> Result<Self, Error> {
        Self::new(SCHEMA.to_string_lossy().into_owned(), name.to_owned())
    }

    fn new(schema: String, name: String) -> Result<Self, Error> {
        let schema_oid = schema::schema_oid(&schema).ok_or(Error::NoSuchSchema { name: schema.clone() })?;
        Ok(Self {
            schema,
            schema_oid,
            name,
        })
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub fn schema_oid(&self) -> Oid {
        self.schema_oid
    }

    /// Quoted, with schema.
    pub fn qualified(&self) -> String {
        quote_qualified_identifier(&self.schema, &self.name)
    }

    pub fn exists(&self) -> bool {
        self.oid().is_some()
    }

    pub fn type_oid(&self) -> Result<Oid, Error> {
        self.oid().ok_or_else(|| Error::NotAnEncryptedType {
            type_name: self.qualified(),
        })
    }

    fn oid(&self) -> Option<Oid> {
        typeio::type_oid_in(self.schema_oid, &self.name)
    }
}

/// What the placeholders of a template stand for.
pub struct Names {
    schema: String,
    type_name: String,
    values: HashMap<String, String>,
}

impl Names {
    pub fn new(name: &TypeName, base: &str) -> Self {
        let mut names = Self {
            schema: name.schema.clone(),
            type_name: name.name.clone(),
            values: HashMap::new(),
        };
        names.set("type", &name.qualified());
        names.set("schema", &quote_identifier(&name.schema));
        names.set("base", base);
        names
    }

    /// Sets a placeholder to a text that is SQL already.
    pub fn set(&mut self, placeholder: &str, sql: &str) {
        self.values.insert(placeholder.to_owned(), sql.to_owned());
    }

    /// Makes `{fn placeholder}` stand for the function with another suffix than the placeholder's own name.
    pub fn set_function(&mut self, placeholder: &str, suffix: &str) {
        let function = self.function(suffix);
        self.values.insert(format!("fn {placeholder}"), function);
    }

    /// The statements of a template.
    pub fn fill(&self, template: &str) -> Result<String, Error> {
        let mut filled = String::with_capacity(template.len() * 2);
        for line in template.lines() {
            // Comments explain the template; placeholders in them are no placeholders.
            if line.trim_start().starts_with("--") {
                continue;
            }
            let mut rest = line;
            while let Some((before, after)) = rest.split_once('{') {
                let (placeholder, after) = after.split_once('}').ok_or(Error::BadTemplate {
                    placeholder: after.to_owned(),
                })?;
                filled.push_str(before);
                filled.push_str(&self.value(placeholder)?);
                rest = after;
            }
            filled.push_str(rest);
            filled.push('\n');
        }
        Ok(filled)
    }

    fn value(&self, placeholder: &str) -> Result<String, Error> {
        if let Some(value) = self.values.get(placeholder) {
            return Ok(value.clone());
        }
        match placeholder.split_once(' ') {
            Some(("fn", suffix)) => Ok(self.function(suffix)),
            Some(("class", suffix)) => Ok(quote_qualified_identifier(
                &self.schema,
                &format!("{}_{suffix}", self.type_name),
            )),
            _ => Err(Error::BadTemplate {
                placeholder: placeholder.to_owned(),
            }),
        }
    }

    /// Functions of a type begin with an underscore: they are not for calling.
    fn function(&self, suffix: &str) -> String {
        quote_qualified_identifier(&self.schema, &format!("_{}_{suffix}", self.type_name))
    }
}

/// A type's name in a statement.
pub fn qualified_type(type_oid: Oid) -> Result<String, Error> {
    let name = sql::query_first(
        "select pg_catalog.format('%I.%I', n.nspname, t.typname)
         from pg_catalog.pg_type t
         join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) t.typnamespace
         where t.oid operator(pg_catalog.=) $1",
        &[type_oid.into()],
        |row| row.get::<String>(1),
    )?;
    name.flatten().ok_or_else(|| Error::NotAnEncryptedType {
        type_name: typeio::type_name(type_oid),
    })
}

/// Something that depends on the type, or on its array type, and is not one of the type's own objects; described as
/// PostgreSQL describes objects.
pub fn first_user_of(type_oid: Oid) -> Result<Option<String>, Error> {
    let user = sql::query_first(
        "select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
         from pg_catalog.pg_depend d
         join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) $1
         where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
           and d.refobjid operator(pg_catalog.=) any (array[t.oid, t.typarray])
           and d.deptype operator(pg_catalog.=) 'n'
           and not (d.classid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                    and exists (select from pg_catalog.pg_proc p
                                where p.oid operator(pg_catalog.=) d.objid
                                  and p.probin operator(pg_catalog.~) '/pg_encrypt'))
           and d.classid operator(pg_catalog.<>) all (array[
                   'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                   'pg_catalog.pg_opclass'::pg_catalog.regclass, 'pg_catalog.pg_amop'::pg_catalog.regclass,
                   'pg_catalog.pg_amproc'::pg_catalog.regclass, 'pg_catalog.pg_opfamily'::pg_catalog.regclass]::oid[])
         limit 1",
        &[type_oid.into()],
        |row| row.get::<String>(1),
    )?;
    Ok(user.flatten())
}
