//! Input, output and casts of encrypted types.

use crate::error::Error;
use crate::hex;
use crate::keyring::{self, Recently};
use crate::pg::call::Call;
use crate::pg::datum::{cstring_bytes, cstring_from, message_bytes, varlena_bytes, varlena_from};
use crate::pg::site::Site;
use crate::pg::typeio::{self, Refused};
use crate::pg::{encoding, literal, proc, server_log};
use crate::sql_function;
use crate::types::domain::{self, Domain};
use crate::types::maker::{Asked, Maker, adopt};
use crate::types::opener::Opener;
use crate::types::{Found, value};
use pg_encrypt_core::typed::{FORMAT_TYPED, TypeRef, TypedValue};
use pgrx::pg_sys::{self, Oid};

sql_function! {
    /// Text input. A stored value's own hex is taken as it is; anything else is a plaintext and sealed at once.
    fn type_in(call) {
        let Some(text) = call.datum(0).map(cstring_bytes) else { return Ok(None) };
        let type_oid = call.oid(1);
        let now = keyring::now();
        if let Some(stored) = hex::decode_typed(text) {
            return adopt(now, type_oid, &stored).map(Some);
        }
        let maker = call.site::<InputSite>().maker.of(now, Asked::Type(type_oid))?;
        let domain = &maker.domain;
        if domain.base.is_plain_text() && domain.fits_all() {
            return maker.seal(text).map(Some);
        }
        let base = typeio::input(text, domain.base.type_oid).map_err(|refused| invalid(refused, type_oid))?;
        // A column is compared with what the statement says, not with what the column would make of it.
        if !domain.fits_all() && literal::is_in_condition() {
            let plaintext = domain.base.encode(base);
            return maker.seal(&plaintext).map(Some);
        }
        maker.seal_base(base).map(Some)
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
        let maker = call.site::<InputSite>().maker.of(now, Asked::Type(type_oid))?;
        let base = typeio::receive(message, maker.domain.base.type_oid)
            .ok_or_else(|| Error::BadMessage { wanted: typeio::type_name(type_oid) })?;
        maker.seal_base(base).map(Some)
    }
}

sql_function! {
    /// Text output: the plaintext where it is revealed, else the stored value in hex.
    fn type_out(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let bytes = varlena_bytes(value);
        let stored = TypedValue::parse(bytes)?;
        let opener = call.site::<OutputSite>().opener(call, &stored)?;
        if !opener.reveals()? {
            return Ok(Some(cstring_from(&hex::encode(bytes))?));
        }
        // PostgreSQL may have asked for the detail of an error, which it also logs.
        server_log::keep_details_out();
        if opener.domain.base.is_plain_text() {
            return opener.open_cstring(&stored).map(Some);
        }
        let opened = opener.open(&stored)?;
        Ok(Some(cstring_from(typeio::output(opened.base_datum()?, opened.domain.base.type_oid))?))
    }
}

sql_function! {
    /// Binary output: the base type's binary form where it is revealed. Else the stored value: in hex where clients
    /// expect text, raw where they expect bytes of the base type.
    fn type_send(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let bytes = varlena_bytes(value);
        let stored = TypedValue::parse(bytes)?;
        let opener = call.site::<OutputSite>().opener(call, &stored)?;
        if opener.reveals()? {
            let opened = opener.open(&stored)?;
            if opened.domain.base.is_plain_text() && encoding::is_clients() {
                // The binary form of text is its bytes, which a bytea holds as a text does.
                return opened.base_datum().map(Some);
            }
            return Ok(Some(typeio::send(opened.base_datum()?, opened.domain.base.type_oid)));
        }
        match opener.domain.base.is_plain_text() {
            true => Ok(Some(varlena_from(&hex::encode(bytes))?)),
            false => Ok(Some(varlena_from(bytes)?)),
        }
    }
}

sql_function! {
    /// Implicit cast to the base type: decrypts, whatever output reveals.
    fn type_to_base(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let stored = TypedValue::parse(varlena_bytes(value))?;
        call.site::<OutputSite>().opener(call, &stored)?.open(&stored)?.base_datum().map(Some)
    }
}

sql_function! {
    /// Assignment cast to a type that the base type can be assigned to, or to a string: decrypts and converts, whatever output
    /// reveals.
    fn type_to_target(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let stored = TypedValue::parse(varlena_bytes(value))?;
        let site = call.site::<OutputSite>();
        let target = *site.target.get_or_insert_with(|| proc::result(call.function()));
        let opened = site.opener(call, &stored)?.open(&stored)?;
        let from = opened.domain.base.type_oid;
        typeio::convert(opened.base_datum()?, from, target)
            .map_err(|refused| Error::RefusedByType { refused, wanted: typeio::type_name(target) })
    }
}

sql_function! {
    /// What to_json makes of a value: as output, but numbers as numbers, documents as documents. A cast in a statement
    /// decrypts, as all casts do; to_json and its kin look the function up and call it without an expression.
    fn type_to_json(call) {
        let Some(value) = call.datum(0) else { return Ok(None) };
        let bytes = varlena_bytes(value);
        let stored = TypedValue::parse(bytes)?;
        let opener = call.site::<OutputSite>().opener(call, &stored)?;
        if !call.is_in_expression() && !opener.reveals()? {
            return Ok(Some(typeio::to_json(varlena_from(&hex::encode(bytes))?, pg_sys::TEXTOID)));
        }
        let opened = opener.open(&stored)?;
        Ok(Some(typeio::to_json(opened.base_datum()?, opened.domain.base.type_oid)))
    }
}

sql_function! {
    /// Assignment cast from the base type: seals.
    fn type_from_base(call) {
        let Some(base) = call.datum(0) else { return Ok(None) };
        let maker = call.site::<InputSite>().maker.of(keyring::now(), Asked::Function(call.function()))?;
        maker.seal_or_adopt(base).map(Some)
    }
}

sql_function! {
    /// Assignment cast from a type that can be assigned to the base type: converts and seals.
    fn type_from_source(call) {
        let Some(source) = call.datum(0) else { return Ok(None) };
        let site = call.site::<InputSite>();
        let from = site.source_type(call)?;
        let maker = site.maker.of(keyring::now(), Asked::Function(call.function()))?;
        let domain = &maker.domain;
        let base = typeio::convert(source, from, domain.base.type_oid)
            .map_err(|refused| invalid(refused, domain.type_oid))?;
        base.map(|base| maker.seal_or_adopt(base)).transpose()
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
    maker: Found<Maker>,
    source: Option<Oid>,
}

/// What a call site that reads values remembers.
#[derive(Default)]
struct OutputSite {
    recently: Recently,
    opener: Found<Opener>,
    /// The type that the function belongs to, once a value of it was seen.
    own: Option<TypeRef>,
    target: Option<Oid>,
}

impl Site for InputSite {}
impl Site for OutputSite {}

impl InputSite {
    fn source_type(&mut self, call: &Call<'_>) -> Result<Oid, Error> {
        if self.source.is_none() {
            self.source = proc::signature(call.function()).get(1).copied();
        }
        self.source.ok_or(Error::NoDomain {
            function: call.function().to_u32(),
        })
    }
}

impl OutputSite {
    /// What opens a value of the type that the function belongs to.
    ///
    /// A value names its type, and need not be of the one that it is said to be: files can be edited, and anyone may call the
    /// input function of a type with the number of another. What it holds is then no datum of this type's base.
    #[inline(always)]
    fn opener(&mut self, call: &Call<'_>, value: &TypedValue<'_>) -> Result<&mut Opener, Error> {
        let opener = self.opener.of(self.recently.now(), value.type_ref)?;
        if self.own != Some(value.type_ref) {
            check_own_type(call.function(), &opener.domain)?;
            self.own = Some(value.type_ref);
        }
        Ok(opener)
    }
}

/// Whether a value's domain is that of the type that a function takes.
#[inline(never)]
fn check_own_type(function: Oid, domain: &Domain) -> Result<(), Error> {
    match proc::arguments(function).first() {
        Some(own) if *own != domain.type_oid => Err(Error::OtherType {
            type_name: typeio::type_name(*own),
        }),
        _ => Ok(()),
    }
}

/// A plaintext that the base type refuses. Its own message would quote it.
fn invalid(refused: Refused, type_oid: Oid) -> Error {
    Error::InvalidInput {
        refused,
        wanted: typeio::type_name(type_oid),
    }
}
