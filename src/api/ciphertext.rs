//! Type `encrypt.ciphertext`.

use crate::error::Error;
use crate::hex;
use crate::pg::datum::{cstring_bytes, cstring_from, message_bytes, varlena_from};
use crate::sql_function;
use pg_encrypt_core::envelope::{Envelope, FormatError};

sql_function! {
    /// Reads bytea's hex form and checks that it is an envelope.
    fn ciphertext_in(call) {
        let Some(text) = call.datum(0).map(cstring_bytes) else { return Ok(None) };
        let bytes = hex::decode(text).ok_or(Error::NotHex)?;
        Envelope::parse(&bytes)?;
        Ok(Some(varlena_from(&bytes)?))
    }
}

sql_function! {
    /// Writes bytea's hex form, whatever `bytea_output` says: a dump must be readable anywhere.
    fn ciphertext_out(call) {
        Ok(Some(cstring_from(&hex::encode(call.bytes(0)))?))
    }
}

sql_function! {
    /// Binary input: the envelope's bytes, checked.
    fn ciphertext_recv(call) {
        let Some(bytes) = call.datum(0).map(message_bytes) else { return Ok(None) };
        Envelope::parse(bytes)?;
        Ok(Some(varlena_from(bytes)?))
    }
}

sql_function! {
    /// Explicit cast: bytes that are an envelope stay as they are.
    fn ciphertext_from_bytea(call) {
        Envelope::parse(call.bytes(0))?;
        Ok(call.datum(0))
    }
}

sql_function! {
    fn key_id(call) {
        let envelope = Envelope::parse(call.bytes(0))?;
        Ok(Some(envelope.header().key_id.get().into()))
    }
}

sql_function! {
    fn is_ciphertext(call) {
        let is_envelope = match Envelope::parse(call.bytes(0)) {
            Ok(_) => true,
            Err(
                FormatError::UnknownFormat(_)
                | FormatError::Truncated { .. }
                | FormatError::UnknownType(_)
                | FormatError::InvalidKeyId(_),
            ) => false,
        };
        Ok(Some(is_envelope.into()))
    }
}
