//! The text of the setting `pg_encrypt.root_key`, parsed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::command::{self, CommandLine};
use crate::env::{self, VariableName};
use crate::local::LocalProvider;
use crate::passphrase::{self, PassphraseParameters};
use crate::{Patience, ProviderError, RootKeyProvider, file};

/// Name of the key file in the data directory that is used when no location is set.
pub const EMBEDDED_KEY_FILE: &str = "pg_encrypt_root.key";

/// Where the root key is.
///
/// The text is `scheme:rest`, with nothing decoded or expanded in `rest`. `Display` and `Debug` leave out
/// what may be a secret, the arguments of a command: they are for people and do not parse back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootLocation {
    /// `file:/path`
    File(AbsolutePath),
    /// `command:/path ARG ...`
    Command(CommandLine),
    /// `env:NAME`
    Environment(VariableName),
    /// `passphrase-file:/path`
    PassphraseFile(AbsolutePath),
}

impl RootLocation {
    /// Reads the text of a location. Looks at nothing but the text, so that the check of a setting can use
    /// it.
    ///
    /// # Errors
    /// What is wrong with the text, without repeating it: a key pasted in the wrong place is a common
    /// mistake.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        // No file name or argument needs them, and they forge lines in a log.
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(LocationError::ControlCharacter);
        }
        let (scheme, rest) = text.split_once(':').ok_or(LocationError::Scheme)?;
        match scheme {
            "file" => AbsolutePath::parse(rest).map(Self::File),
            "command" => CommandLine::parse(rest).map(Self::Command),
            "env" => VariableName::parse(rest).map(Self::Environment),
            "passphrase-file" => AbsolutePath::parse(rest).map(Self::PassphraseFile),
            _ => Err(LocationError::Scheme),
        }
    }

    /// The location that holds when none is set: [`EMBEDDED_KEY_FILE`] in the data directory.
    ///
    /// # Errors
    /// [`LocationError::NotAbsolute`] if `data_directory` is a relative path.
    pub fn embedded(data_directory: &Path) -> Result<Self, LocationError> {
        AbsolutePath::new(data_directory.join(EMBEDDED_KEY_FILE)).map(Self::File)
    }

    /// Whether [`open`](Self::open) needs [`PassphraseParameters`].
    #[must_use]
    pub fn needs_parameters(&self) -> bool {
        matches!(self, Self::PassphraseFile(_))
    }

    /// Goes to the location and returns a provider of the root key found there.
    ///
    /// `stored` are the parameters kept with the keys, for a location that [needs
    /// them](Self::needs_parameters); the others ignore them.
    ///
    /// # Errors
    /// [`ProviderError::Interrupted`] if `patience` ended, otherwise what is wrong at the location. Nothing
    /// is ever created here: a missing key is an error.
    pub fn open(
        &self,
        stored: Option<&PassphraseParameters>,
        patience: &mut dyn Patience,
    ) -> Result<Box<dyn RootKeyProvider>, ProviderError> {
        let root = match self {
            Self::File(path) => {
                file::read_root(path.as_path()).map_err(|problem| ProviderError::KeyFile {
                    path: path.clone(),
                    problem,
                })?
            }
            Self::Command(line) => command::read_root(line, patience)?,
            Self::Environment(name) => {
                env::read_root(name).map_err(|problem| ProviderError::Environment {
                    name: name.clone(),
                    problem,
                })?
            }
            Self::PassphraseFile(path) => passphrase::read_root(path, stored, patience)?,
        };
        Ok(Box::new(LocalProvider::new(&root)))
    }
}

impl FromStr for RootLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        Self::parse(text)
    }
}

impl fmt::Display for RootLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Command(line) => write!(f, "command:{line}"),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::PassphraseFile(path) => write!(f, "passphrase-file:{path}"),
        }
    }
}

/// A path that does not depend on a working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// Takes a path that begins with a slash.
    ///
    /// # Errors
    /// [`LocationError::NotAbsolute`] for any other.
    pub fn new(path: PathBuf) -> Result<Self, LocationError> {
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(LocationError::NotAbsolute)
        }
    }

    pub(crate) fn parse(path: &str) -> Result<Self, LocationError> {
        // "file://host/path" would otherwise silently mean "/host/path".
        if path.starts_with("//") {
            return Err(LocationError::Authority);
        }
        Self::new(PathBuf::from(path))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Why a text is not the location of a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// No scheme, or not one of those there are.
    #[error(
        "a root key's location begins with one of \"file:\", \"command:\", \"env:\" and \"passphrase-file:\""
    )]
    Scheme,
    /// A line break or the like.
    #[error("a root key's location can't contain control characters")]
    ControlCharacter,
    /// A relative path, or none.
    #[error("the path in a root key's location must be absolute")]
    NotAbsolute,
    /// A path with two slashes at its beginning, as in a URL with a host.
    #[error("the path in a root key's location must begin with one slash, not two")]
    Authority,
    /// Not a portable name of a variable.
    #[error(
        "the name after \"env:\" must consist of letters, digits and underscores, and not begin with a digit"
    )]
    VariableName,
    /// 64 hexadecimal digits where a name belongs.
    #[error("a root key's location must not be the key itself")]
    KeyInLocation,
    /// A command line with a `'` or `"` too many.
    #[error("a quotation mark in the command line has no counterpart")]
    UnclosedQuote,
}

impl LocationError {
    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Scheme | Self::NotAbsolute | Self::Authority => {
                "write for example file:/etc/pg_encrypt/root.key or command:/usr/local/bin/print-root-key"
            }
            Self::ControlCharacter => "write the location in one line",
            Self::VariableName => "write for example env:PG_ENCRYPT_ROOT_KEY",
            Self::KeyInLocation => {
                "settings are visible and logged: make a new key, put it in a file, and name the file"
            }
            Self::UnclosedQuote => {
                "put an argument that contains one kind of quotation mark between two of the other"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ROOT_HEX;

    fn parse(text: &str) -> Result<String, LocationError> {
        RootLocation::parse(text).map(|location| location.to_string())
    }

    #[test]
    fn every_scheme_is_read() {
        for text in [
            "file:/etc/pg_encrypt/root.key",
            "file:/with space/ü:x?y#z%20",
            "command:/usr/local/bin/get-root-key",
            "env:PG_ENCRYPT_ROOT_KEY",
            "env:_x1",
            "passphrase-file:/etc/pg_encrypt/passphrase",
        ] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_not_a_location_is_refused() {
        for (text, error) in [
            ("", LocationError::Scheme),
            ("/etc/root.key", LocationError::Scheme),
            ("File:/etc/root.key", LocationError::Scheme),
            (" file:/etc/root.key", LocationError::Scheme),
            ("vault:https://host:8200/transit/root", LocationError::Scheme),
            (ROOT_HEX, LocationError::Scheme),
            ("file:", LocationError::NotAbsolute),
            ("file:root.key", LocationError::NotAbsolute),
            ("file:~/root.key", LocationError::NotAbsolute),
            ("file://host/root.key", LocationError::Authority),
            ("file:///etc/root.key", LocationError::Authority),
            ("file:/etc/root.key\n", LocationError::ControlCharacter),
            ("file:/etc/root\0.key", LocationError::ControlCharacter),
            ("file:/etc/\u{9b}31mroot.key", LocationError::ControlCharacter),
            ("command:", LocationError::NotAbsolute),
            ("command:   ", LocationError::NotAbsolute),
            ("command:bin/get", LocationError::NotAbsolute),
            ("command:/bin/get 'x", LocationError::UnclosedQuote),
            ("env:", LocationError::VariableName),
            ("env:1X", LocationError::VariableName),
            ("env:A-B", LocationError::VariableName),
            ("env:A=B", LocationError::VariableName),
            ("env:Ä", LocationError::VariableName),
            ("passphrase-file:x", LocationError::NotAbsolute),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_not_taken_for_a_name() {
        let key = ROOT_HEX.replacen("80", "a0", 1);
        let error = RootLocation::parse(&format!("env:{key}")).unwrap_err();
        assert_eq!(error, LocationError::KeyInLocation);
        assert!(!format!("{error} {error:?} {}", error.hint()).contains(&key));
    }

    #[test]
    fn the_unknown_scheme_learns_the_known_ones() {
        let message = RootLocation::parse("kms:x").unwrap_err().to_string();
        for scheme in ["file:", "command:", "env:", "passphrase-file:"] {
            assert!(message.contains(scheme), "{message}");
        }
    }

    #[test]
    fn arguments_of_a_command_are_not_displayed() {
        let location = RootLocation::parse("command:/bin/get --pin 31415 'two words'").unwrap();
        assert_eq!(location.to_string(), "command:/bin/get (and 3 arguments)");
        assert!(!format!("{location:?}").contains("31415"));
    }

    #[test]
    fn the_default_is_a_file_in_the_data_directory() {
        let location = RootLocation::embedded(Path::new("/var/lib/postgresql/15/main")).unwrap();
        assert_eq!(
            location.to_string(),
            "file:/var/lib/postgresql/15/main/pg_encrypt_root.key"
        );
        assert_eq!(
            RootLocation::embedded(Path::new("data")),
            Err(LocationError::NotAbsolute)
        );
    }
}
