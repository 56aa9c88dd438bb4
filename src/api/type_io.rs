//! Input, output and casts of encrypted types.

use crate::error::Error;
use crate::hex;
use crate::keyring::{self, Now, Recently};
use crate::pg::call::Call;
use crate::pg::datum::{cstring_bytes, cstring_from, message_bytes, varlena_bytes, varlena_from};
use crate::pg::literal;
use crate::pg::server_log;
use crate::pg::site::Site;
use crate::pg::typeio::{self, Refused};
use crate::sql_function;
use crate::types::domain::{self, Domain};
use crate::types::reveal::{Revealing, is_revealed};
use crate::types::value::{self, Opening, Sealing};
use pg_encrypt_core::envelope::TypeCode;
use pg_encrypt_core::typed::{FORMAT_TYPED, TypedValue};
use pgrx::pg_sys::{self, Datum, Oid};

sql_function! {
    /// Text input. A stored value's own hex is taken as it is; anything else is a plaintext and sealed at once.
    fn type_in(call) {
        let Some(text) = call.datum(0).map(cstring_bytes) else { return Ok(None) };
        let type_oid = call.oid(1);
        let now = keyring::now();
        if let Some(stored) = hex::decode_typed(text) {
            return adopt(now, type_oid, &stored).map(Some);
        }
        let site = call.site::<InputSite>();
        let domain = site.domain(now, type_oid)?;
        if domain.base.is_plain_text() && domain.fits_all() {
            return value::seal(&mut site.sealing, now, &domain, text).map(Some);
        }
        let base = typeio::input(text, domain.base.type_oid).map_err(|refused| invalid(refused, type_oid))?;
        // A column is compared with what the statement says, not with what the column would make of it.
        if !domain.fits_all() && literal::is_in_condition() {
            return value::seal(&mut site.sealing, now, &domain, &domain.base.encode(base)).map(Some);
        }
        seal(site, now, &domain, base).map(Some)
    }
}

sql_function! {
    /// Binary input: a stored value, raw or in hex, or the base type's binary form.
    fn type_recv(call) {
        let Some(message) = call.datum(0).map(message_bytes) else { return Ok(None) };
        let type_oid = call.oid(1);
        let now = keyring::now();
        if message.first() == Some(&FORMAT_TYPED) && TypedValue::parse(message).is_ok() {
            return adopt(now, type_oid, message).map(Some);
        }
        if let Some(stored) = hex::decode_typed(message) {
            return adopt(now, type_oid, &stored).map(Some);
        }
        let site = call.site::<InputSite>();
        let domain = site.domain(now, type_oid)?;
        let base = typeio::receive(message, domain.base.type_oid)
            .ok_or_else(|| Error::BadMessage { wanted: typeio::type_name(type_oid) })?;
        seal(site, now, &domain, base).map(Some)
    }
}

sql_function! {
    /// Text output: the plaintext where it is revealed, else the stored value in hex.
    fn type_out(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let stored = TypedValue::parse(varlena_bytes(value))?;
        let site = call.site::<OutputSite>();
        let now = site.recently.now();
        let (domain, key) = site.opening.of(now, stored.type_ref)?;
        if !is_revealed(&mut site.revealing, now, domain)? {
            return Ok(Some(cstring_from(&hex::encode(varlena_bytes(value)))?));
        }
        // PostgreSQL may have asked for the detail of an error, which it also logs.
        server_log::keep_details_out();
        if domain.base.is_plain_text() {
            return value::open_cstring(domain, key, now, &stored).map(Some);
        }
        let opened = value::open_in(domain, key, now, &stored)?;
        Ok(Some(cstring_from(typeio::output(opened.base_datum()?, domain.base.type_oid))?))
    }
}

sql_function! {
    /// Binary output: the base type's binary form where it is revealed. Else the stored value: in hex where clients
    /// expect text, raw where they expect bytes of the base type.
    fn type_send(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let bytes = varlena_bytes(value);
        let stored = TypedValue::parse(bytes)?;
        let site = call.site::<OutputSite>();
        let now = site.recently.now();
        let (domain, key) = site.opening.of(now, stored.type_ref)?;
        if is_revealed(&mut site.revealing, now, domain)? {
            let opened = value::open_in(domain, key, now, &stored)?;
            return Ok(Some(typeio::send(opened.base_datum()?, domain.base.type_oid)));
        }
        match domain.base.is_plain_text() {
            true => Ok(Some(varlena_from(&hex::encode(bytes))?)),
            false => Ok(Some(varlena_from(bytes)?)),
        }
    }
}

sql_function! {
    /// Implicit cast to the base type: decrypts, whatever output reveals.
    fn type_to_base(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let site = call.site::<OutputSite>();
        let now = site.recently.now();
        let opened = value::open(&mut site.opening, now, value)?;
        opened.base_datum().map(Some)
    }
}

sql_function! {
    /// Assignment cast to a type that the base type can be assigned to: decrypts and converts, whatever output reveals.
    fn type_to_target(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let site = call.site::<OutputSite>();
        let now = site.recently.now();
        let opened = value::open(&mut site.opening, now, value)?;
        let target = *site.target.get_or_insert_with(|| crate::pg::proc::result(call.function()));
        let from = opened.domain.base.type_oid;
        typeio::convert(opened.base_datum()?, from, target)
            .map(Some)
            .map_err(|refused| Error::RefusedByType { refused, wanted: typeio::type_name(target) })
    }
}

sql_function! {
    /// What to_json makes of a value: as output, but numbers as numbers, documents as documents.
    fn type_to_json(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let bytes = varlena_bytes(value);
        let stored = TypedValue::parse(bytes)?;
        let site = call.site::<OutputSite>();
        let now = site.recently.now();
        let (domain, key) = site.opening.of(now, stored.type_ref)?;
        if !is_revealed(&mut site.revealing, now, domain)? {
            return Ok(Some(typeio::to_json(varlena_from(&hex::encode(bytes))?, pg_sys::TEXTOID)));
        }
        let opened = value::open_in(domain, key, now, &stored)?;
        Ok(Some(typeio::to_json(opened.base_datum()?, domain.base.type_oid)))
    }
}

sql_function! {
    /// Assignment cast from the base type: seals.
    fn type_from_base(call) {
        let Some(base) = call.datum(0) else { return Ok(None) };
        let now = keyring::now();
        let site = call.site::<InputSite>();
        let domain = site.domain_of_function(now, call)?;
        seal_or_adopt(site, now, &domain, base).map(Some)
    }
}

sql_function! {
    /// Assignment cast from a type that can be assigned to the base type: converts and seals.
    fn type_from_source(call) {
        let Some(source) = call.datum(0) else { return Ok(None) };
        let now = keyring::now();
        let site = call.site::<InputSite>();
        let domain = site.domain_of_function(now, call)?;
        let from = site.source_type(call)?;
        let base = typeio::convert(source, from, domain.base.type_oid)
            .map_err(|refused| invalid(refused, domain.type_oid))?;
        seal_or_adopt(site, now, &domain, base).map(Some)
    }
}

sql_function! {
    /// The token of a value of any searchable type, as bytea.
    fn type_token(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let type_oid = typeio::base_type(call.argument_type(0));
        // An encrypted type has our output function; anything else has other bytes in it. It need not be in the registry:
        // a parallel restore may build an index on tokens before it restores that.
        if domain::by_oid(keyring::now(), type_oid)?.is_none() && !typeio::has_output_function(type_oid, type_out) {
            return Err(Error::NotAnEncryptedType { type_name: typeio::type_name(type_oid) });
        }
        match value::stored_token(value)? {
            Some(token) => Ok(Some(varlena_from(&token)?)),
            None => Err(Error::NotSearchable),
        }
    }
}

/// What a call site that makes values remembers.
#[derive(Default)]
struct InputSite {
    now: Now,
    domain: Option<Domain>,
    source: Option<Oid>,
    sealing: Sealing,
}

/// What a call site that reads values remembers.
#[derive(Default)]
struct OutputSite {
    recently: Recently,
    opening: Opening,
    revealing: Revealing,
    target: Option<Oid>,
}

impl Site for InputSite {}
impl Site for OutputSite {}

impl InputSite {
    #[inline]
    fn domain(&mut self, now: Now, type_oid: Oid) -> Result<Domain, Error> {
        self.remember(
            now,
            |domain| domain.type_oid == type_oid,
            || domain::require(now, type_oid),
        )
    }

    #[inline]
    fn domain_of_function(&mut self, now: Now, call: &Call<'_>) -> Result<Domain, Error> {
        self.remember(now, |_| true, || domain::by_function(now, call.function()))
    }

    #[inline]
    fn remember(
        &mut self,
        now: Now,
        is_it: impl FnOnce(&Domain) -> bool,
        find: impl FnOnce() -> Result<Domain, Error>,
    ) -> Result<Domain, Error> {
        match &self.domain {
            Some(domain) if self.now == now && is_it(domain) => Ok(*domain),
            _ => {
                self.now = now;
                Ok(*self.domain.insert(find()?))
            }
        }
    }

    fn source_type(&mut self, call: &Call<'_>) -> Result<Oid, Error> {
        if self.source.is_none() {
            self.source = crate::pg::proc::signature(call.function()).get(1).copied();
        }
        self.source.ok_or(Error::NoDomain {
            function: call.function().to_u32(),
        })
    }
}

/// Seals a base value, unless it is what output shows to roles that may not decrypt. Clients that declare their parameters
/// as text write such a value back through a cast and not through the input function; sealed again, it would be lost to
/// everybody who reads it.
fn seal_or_adopt(site: &mut InputSite, now: Now, domain: &Domain, base: Datum) -> Result<Datum, Error> {
    match domain.base.code {
        TypeCode::Text if domain.base.is_plain_text() => {
            let plaintext = varlena_bytes(base);
            if let Some(stored) = hex::decode_typed(plaintext) {
                return adopt(now, domain.type_oid, &stored);
            }
        }
        TypeCode::Bytea => {
            let plaintext = varlena_bytes(base);
            if plaintext.first() == Some(&FORMAT_TYPED) && TypedValue::parse(plaintext).is_ok() {
                return adopt(now, domain.type_oid, plaintext);
            }
        }
        _ => (),
    }
    seal(site, now, domain, base)
}

/// Seals a base value, made to fit the base type's modifier.
#[inline]
fn seal(site: &mut InputSite, now: Now, domain: &Domain, base: Datum) -> Result<Datum, Error> {
    let plaintext = domain.base.encode(domain.fit(base));
    value::seal(&mut site.sealing, now, domain, &plaintext)
}

/// A plaintext that the base type refuses. Its own message would quote it.
fn invalid(refused: Refused, type_oid: Oid) -> Error {
    Error::InvalidInput {
        refused,
        wanted: typeio::type_name(type_oid),
    }
}

/// Takes a stored value as it is, if it is one of this type. A type that is not in the registry yet is being restored:
/// then only the form is checked, which needs no key.
fn adopt(now: Now, type_oid: Oid, stored: &[u8]) -> Result<Datum, Error> {
    let value = TypedValue::parse(stored)?;
    match domain::by_oid(now, type_oid).or_else(none_before_install)? {
        Some(domain) if domain.type_ref != value.type_ref => Err(Error::OtherType {
            type_name: typeio::type_name(type_oid),
        }),
        Some(domain) if domain.is_searchable() != value.token.is_some() => Err(Error::OtherType {
            type_name: typeio::type_name(type_oid),
        }),
        _ => Ok(varlena_from(stored)?),
    }
}

/// pg_upgrade restores statistics, most common values included, before it restores our tables: no type is known then.
fn none_before_install(error: Error) -> Result<Option<Domain>, Error> {
    match error {
        Error::NotInstalled => Ok(None),
        other => Err(other),
    }
}
