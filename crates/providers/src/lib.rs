//! Where the root key comes from.
//!
//! The root key wraps the data keys and never enters a table. A [`RootLocation`], parsed from the text of the
//! setting `pg_encrypt.root_key`, names the place; [`RootLocation::open`] goes there and returns a
//! [`RootKeyProvider`], which identifies the root key and wraps and unwraps data keys with it.
//!
//! | location | source of the root key |
//! |---|---|
//! | `file:/path` | a file with 32 raw bytes or 64 hexadecimal digits ([`RootLocation::embedded`] is one of these) |
//! | `command:/path ARG ...` | what a program prints, in the same form |
//! | `env:NAME` | 64 hexadecimal digits in an environment variable; for development |
//! | `passphrase-file:/path` | Argon2id of a passphrase, with [`PassphraseParameters`] that the caller stores |
//!
//! Everything here runs inside a PostgreSQL backend: it starts no thread, installs no signal handler, waits
//! only in slices between which the caller's [`Patience`] may end the operation, and names no secret in an
//! error. Linux only, as are the extension's other protections of key memory.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod command;
mod create_key_file;
mod env;
mod error;
mod file;
mod local;
mod location;
mod material;
mod passphrase;
mod provider;
mod secret_file;
mod shell_word;
#[cfg(test)]
mod testing;

pub use command::{COMMAND_TIMEOUT, CommandLine, CommandProblem, MAX_COMMAND_OUTPUT};
pub use create_key_file::{CreateKeyError, CreateStep, create_key_file};
pub use env::{EnvironmentProblem, VariableName};
pub use error::ProviderError;
pub use file::KeyFileProblem;
pub use location::{AbsolutePath, EMBEDDED_KEY_FILE, LocationError, RootLocation};
pub use material::MaterialProblem;
pub use passphrase::{ParametersError, PassphraseParameters, PassphraseProblem};
pub use provider::{Interrupted, Patience, RootKeyProvider};
pub use secret_file::FileProblem;

/// Error numbers of the operating system, as they appear in this crate's errors.
pub use rustix::io::Errno;
