//! Making and dropping encrypted types.
//!
//! The statements are the templates beside this file. Names in them come from the catalog or from a parsed, checked
//! name, and go through one quoting type; nothing else of the caller's gets into the text.

mod bases;
mod names;

use crate::catalog::types::{self, NewType};
use crate::error::Error;
use crate::keyring;
use crate::pg::{acl, schema, settings, sql, typeio};
use bases::Base;
use names::{Names, TypeName};
use pg_encrypt_core::key::KeyId;
use pg_encrypt_core::normalize::Normalizer;
use pg_encrypt_core::random::os_random;
use pg_encrypt_core::typed::TypeRef;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

const TYPE: &str = include_str!("type.sql");
const PLAIN: &str = include_str!("plain.sql");
const PLAIN_HASH: &str = include_str!("plain_hash.sql");
const PLAIN_HASH_NAMES: &str = include_str!("plain_hash_names.sql");
const PLAIN_ROWS: &str = include_str!("plain_rows.sql");
const PLAIN_FAMILY: &str = "create operator family {class plain} using btree;";
const SEARCHABLE: &str = include_str!("searchable.sql");
const SEARCHABLE_PLAIN: &str = include_str!("searchable_plain.sql");
const CAST_FROM: &str = include_str!("cast_from.sql");
const CAST_TO: &str = include_str!("cast_to.sql");
const CAST_TO_OTHER: &str = include_str!("cast_to_other.sql");
const CAST_TO_JSON: &str = include_str!("cast_to_json.sql");

/// The two types that come with the extension, in schema `encrypt`, under the key of this name.
pub const DEFAULT_KEY: &str = "default";

/// Settings while the statements run: names that are not qualified are PostgreSQL's, nobody needs to be told that a type
/// is a shell before it is complete, and compiling a lookup that runs once takes longer than the lookup.
const PINNED: [(&CStr, &CStr); 3] = [
    (c"jit", c"off"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"client_min_messages", c"warning"),
];

/// What a user asks for.
pub struct Wish<'a> {
    pub name: &'a str,
    pub base: Oid,
    pub key_name: &'a str,
    pub searchable: bool,
    pub normalizer: Normalizer,
    pub accept_leakage: bool,
    /// The base type's modifier, as between parentheses.
    pub modifier: Option<&'a str>,
}

/// Makes a type and enters it into the registry. Returns its OID.
///
/// SQL runs it with the owner's rights and the caller's path. The path is used for one thing, where a name without a
/// schema goes; all else runs under a pinned one.
pub fn create(wish: &Wish<'_>) -> Result<Oid, Error> {
    let caller_schema = schema::creation_schema();
    settings::with(&PINNED, || {
        create_under_pinned_path(wish, caller_schema.as_deref())
    })
}

fn create_under_pinned_path(wish: &Wish<'_>, caller_schema: Option<&str>) -> Result<Oid, Error> {
    let base = bases::check(wish)?;
    let index_key = index_key(wish)?;
    let name = TypeName::parse(wish.name, caller_schema)?;
    let creator = acl::outer_user()?;
    if !acl::may_create_in(creator, name.schema_oid()) {
        return Err(Error::NoTypePrivilege {
            schema: name.schema().to_owned(),
            role: acl::role_name(creator).unwrap_or_default(),
        });
    }
    if name.exists() {
        return Err(Error::TypeExists {
            name: name.qualified(),
        });
    }
    create_objects(&name, base, wish.searchable, wish.normalizer)?;
    let type_oid = name.type_oid()?;
    register(type_oid, base, wish.key_name, wish.normalizer, index_key)?;
    Ok(type_oid)
}

/// Makes the objects of a type that comes with the extension; its registry row comes with its key.
pub fn create_builtin(name: &str, base: Oid, searchable: bool) -> Result<(), Error> {
    let name = TypeName::in_our_schema(name)?;
    settings::with(&PINNED, || {
        create_objects(&name, Base::new(base), searchable, Normalizer::Exact)
    })
}

/// Enters the types that come with the extension when their key is made. Not earlier: their numbers must not be drawn
/// by CREATE EXTENSION, which runs before a dump brings the real ones back.
pub fn register_builtins(key_name: &str) -> Result<(), Error> {
    if key_name != DEFAULT_KEY {
        return Ok(());
    }
    let index_key = keyring::active_index_key(key_name)?;
    for (name, index_key) in [("encrypted_text", None), ("searchable_text", Some(index_key))] {
        let type_oid = TypeName::in_our_schema(name)?.type_oid()?;
        if types::by_oid(type_oid)?.is_none() {
            let base = Base::new(pg_sys::TEXTOID);
            register(type_oid, base, key_name, Normalizer::Exact, index_key)?;
        }
    }
    Ok(())
}

/// Drops a type and its objects. Refused while a column, domain, function or view uses it.
pub fn drop(type_oid: Oid) -> Result<(), Error> {
    super::domain::require(keyring::now(), type_oid)?;
    if let Some(user) = names::first_user_of(type_oid)? {
        return Err(Error::TypeInUse {
            type_name: typeio::type_name(type_oid),
            by: user,
        });
    }
    let name = names::qualified_type(type_oid)?;
    // CASCADE because a type and its functions depend on each other; all that it takes along is the type's own. What it
    // leaves behind the event trigger on dropped types removes.
    settings::with(&PINNED, || {
        sql::execute(&format!("drop type {name} cascade"), &[]).map_err(Error::from)
    })?;
    types::delete(type_oid)
}

/// Also proves that the key exists.
fn index_key(wish: &Wish<'_>) -> Result<Option<KeyId>, Error> {
    let key = keyring::active_index_key(wish.key_name)?;
    Ok(wish.searchable.then_some(key))
}

fn register(
    type_oid: Oid,
    base: Base,
    key_name: &str,
    normalizer: Normalizer,
    index_key_id: Option<KeyId>,
) -> Result<(), Error> {
    let creator = acl::outer_user()?;
    types::insert(NewType {
        type_ref: unused_type_ref()?,
        type_oid,
        base: base.declared,
        base_modifier: base.modifier,
        key_name,
        normalizer,
        index_key_id,
        created_by: &acl::role_name(creator).unwrap_or_default(),
    })
}

/// Random, so that values of another database, or of a type made after point-in-time recovery, are told apart.
fn unused_type_ref() -> Result<TypeRef, Error> {
    for _ in 0..100 {
        let number = i32::from_be_bytes(os_random::<4>()?) & i32::MAX;
        if let Some(type_ref) = TypeRef::new(number)
            && types::by_ref(type_ref)?.is_none()
        {
            return Ok(type_ref);
        }
    }
    Err(Error::KeyIdsExhausted)
}

/// Functions of the templates for plain types, of which a type has one per plain type.
const PLAIN_FUNCTIONS: [&str; 9] = [
    "eq_plain",
    "ne_plain",
    "plain_eq",
    "plain_ne",
    "hash_plain",
    "hash_plain_extended",
    "token_cmp_plain",
    "plain_cmp_token",
    "plain_token_cmp",
];

fn create_objects(
    name: &TypeName,
    base: Base,
    searchable: bool,
    normalizer: Normalizer,
) -> Result<(), Error> {
    let is_text = base.is_text();
    let base_name = typeio::type_name(base.plain);
    let mut names = Names::new(name, &base_name);
    names.set("category", if is_text { "'S'" } else { "'U'" });
    names.set("collatable", if is_text { "true" } else { "false" });
    // A plain column's equality agrees with ours only where nothing is normalised: see plain.sql.
    let hashes = normalizer == Normalizer::Exact;
    names.set("hashes", if hashes { ", hashes" } else { "" });
    names.set("eq_volatility", if searchable { "immutable" } else { "stable" });
    names.set("eq_cost", if searchable { "1" } else { "40" });

    let run = |names: &Names, template| sql::execute(&names.fill(template)?, &[]).map_err(Error::from);

    run(&names, TYPE)?;
    if searchable {
        run(&names, SEARCHABLE)?;
    } else {
        run(&names, PLAIN_FAMILY)?;
    }
    for (n, plain) in [&*base_name]
        .iter()
        .chain(bases::compared(base.plain))
        .enumerate()
    {
        names.set("plain", plain);
        for function in PLAIN_FUNCTIONS {
            names.set_function(function, &format!("{function}_{n}"));
        }
        run(&names, PLAIN)?;
        if hashes {
            run(&names, PLAIN_HASH)?;
        }
        run(&names, if searchable { SEARCHABLE_PLAIN } else { PLAIN_ROWS })?;
    }
    if is_text && hashes {
        run(&names, PLAIN_HASH_NAMES)?;
    }
    for (n, source) in bases::sources(base.plain).unwrap_or_default().iter().enumerate() {
        names.set("source", source);
        names.set_function("from_source", &format!("from_{n}"));
        run(&names, CAST_FROM)?;
    }
    if is_text {
        for (target, context) in [("character varying", "implicit"), ("character", "assignment")] {
            names.set("target", target);
            names.set("context", context);
            run(&names, CAST_TO)?;
        }
    }
    let strings = if is_text { &[][..] } else { &bases::STRINGS };
    for (n, target) in bases::targets(base.plain).iter().chain(strings).enumerate() {
        names.set("target", target);
        names.set_function("to_target", &format!("to_{n}"));
        run(&names, CAST_TO_OTHER)?;
    }
    if bases::has_json_form(base.plain) {
        // Only documents are assigned to columns of type json.
        let is_assigned = base.plain == pg_sys::JSONBOID;
        names.set("context", if is_assigned { " as assignment" } else { "" });
        run(&names, CAST_TO_JSON)?;
    }
    let kind = if searchable {
        "searchable encrypted"
    } else {
        "encrypted"
    };
    let comment = pgrx::spi::quote_literal(format!("{kind} {}", base.name()));
    sql::execute(&format!("comment on type {} is {comment}", name.qualified()), &[])?;
    Ok(())
}
