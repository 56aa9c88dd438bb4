//! The root key: where it is configured to be, and the file that is made when nothing is configured.

use crate::catalog::{keys, root_parameters};
use crate::error::{self, Error};
use crate::guc;
use crate::pg::server;
use crate::pg::wait::{self, LatchPatience};
use pg_encrypt_providers::{
    EMBEDDED_KEY_FILE, PassphraseParameters, ProviderError, RootKeyProvider, RootLocation, create_key_file,
};

/// Opens the configured root key. The caller drops it as soon as it has wrapped or unwrapped what it wanted.
pub fn open() -> Result<Box<dyn RootKeyProvider>, Error> {
    open_location(&location()?)
}

/// Opens the root key at a location that is not, or not yet, the configured one.
pub fn open_at(location: &str) -> Result<Box<dyn RootKeyProvider>, Error> {
    open_location(&location.parse()?)
}

/// As [`open_at`], to wrap keys that were under another root key. What a passphrase needs is made if it is not there.
pub fn open_new_at(location: &str) -> Result<Box<dyn RootKeyProvider>, Error> {
    let location = location.parse()?;
    make_parameters(&location)?;
    open_location(&location)
}

fn open_location(location: &RootLocation) -> Result<Box<dyn RootKeyProvider>, Error> {
    let parameters = match location.needs_parameters() {
        true => root_parameters::stored()?
            .map(|text| text.parse::<PassphraseParameters>())
            .transpose()?,
        false => None,
    };
    loop {
        match location.open(parameters.as_ref(), &mut LatchPatience) {
            // Raises if the statement is to end. Else the server wanted something else of the process, which is done now.
            Err(ProviderError::Interrupted(_)) => wait::check_for_interrupts(),
            opened => return opened.map_err(|error| failed(error, Error::Root)),
        }
    }
}

fn make_parameters(location: &RootLocation) -> Result<(), Error> {
    if location.needs_parameters() && root_parameters::stored()?.is_none() {
        root_parameters::store(&PassphraseParameters::generate()?.to_string())?;
    }
    Ok(())
}

/// Opens the configured root key for a first key. Where nothing is configured, nothing is there and no key needs it,
/// a root key file is made in the data directory, and the user is told what that is worth.
pub fn open_or_create() -> Result<Box<dyn RootKeyProvider>, Error> {
    if guc::root_key().is_some() {
        make_parameters(&location()?)?;
        return open();
    }
    let path = server::data_directory()
        .ok_or(Error::DataDirectoryUnknown)?
        .join(EMBEDDED_KEY_FILE);
    if !path.exists() {
        // Two first keys at once: the second one waits here and then finds the file and the first key.
        keys::lock_against_changes()?;
        match keys::count_wrapped()? {
            0 if !path.exists() => {
                create_key_file(&path)?;
                warn_about_embedded_root();
            }
            0 => {}
            keys => return Err(Error::RootMissing { keys }),
        }
    }
    open()
}

/// What became of a request to the provider. If it ended because the user cancelled, this raises PostgreSQL's own
/// error; the provider has cleaned up.
pub fn failed(error: ProviderError, other: impl FnOnce(ProviderError) -> Error) -> Error {
    wait::check_for_interrupts();
    other(error)
}

fn location() -> Result<RootLocation, Error> {
    match guc::root_key() {
        Some(text) => {
            // The setting's check hook has refused what is not UTF-8.
            Ok(text.to_string_lossy().parse()?)
        }
        None => Ok(RootLocation::embedded(
            server::data_directory().ok_or(Error::DataDirectoryUnknown)?,
        )?),
    }
}

fn warn_about_embedded_root() {
    error::warn(
        &format!("created root key file \"{EMBEDDED_KEY_FILE}\" in the data directory"),
        "It protects dumps and backups that leave it out, but not copies of the data directory, which contain it. \
         For production, keep the root key elsewhere and set pg_encrypt.root_key before creating keys.",
    );
}
