//! `env:NAME`, a root key in an environment variable, for development.
//!
//! The environment of a process stays readable in its memory, is inherited by what it starts, and shows in
//! `/proc/PID/environ`, so nothing here can keep such a key secret from the server's own user.

use std::fmt;
use std::os::unix::ffi::OsStringExt;

use zeroize::Zeroizing;

use crate::LocationError;
use crate::material::{self, MaterialProblem, ROOT_LEN};

/// The name of an environment variable: ASCII letters, digits and underscores, not beginning with a digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableName(String);

impl VariableName {
    pub(crate) fn parse(name: &str) -> Result<Self, LocationError> {
        // Checked first, because a key may well be a valid name.
        if name.len() == 2 * ROOT_LEN && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(LocationError::KeyInLocation);
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match name.bytes().next() {
            Some(first) if !first.is_ascii_digit() && name.bytes().all(valid) => Ok(Self(name.to_owned())),
            _ => Err(LocationError::VariableName),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a variable gives no root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentProblem {
    /// The server was started without it.
    #[error("is not set in the server's environment")]
    Unset,
    /// What it holds.
    #[error(transparent)]
    Material(#[from] MaterialProblem),
}

impl EnvironmentProblem {
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Unset => {
                "set the variable for the server and restart it: a reload does not change its environment"
            }
            Self::Material(MaterialProblem::Constant) => MaterialProblem::Constant.hint(),
            Self::Material(_) => {
                "a variable holds 64 hexadecimal digits, as \"openssl rand -hex 32\" prints them"
            }
        }
    }
}

/// Reads the root key in the variable `name`.
pub(crate) fn read_root(name: &VariableName) -> Result<Zeroizing<[u8; ROOT_LEN]>, EnvironmentProblem> {
    let value = std::env::var_os(&name.0).ok_or(EnvironmentProblem::Unset)?;
    let value = Zeroizing::new(value.into_vec());
    Ok(material::from_hex(&value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Endless, ROOT_HEX, ROOT_ID};
    use crate::{ProviderError, RootLocation};

    fn open(name: &str, value: Option<&str>) -> Result<String, ProviderError> {
        if let Some(value) = value {
            // SAFETY: the tests of this crate read the environment through std only, which takes a lock.
            #[allow(unsafe_code)]
            unsafe {
                std::env::set_var(name, value);
            }
        }
        let location = RootLocation::parse(&format!("env:{name}")).unwrap();
        location
            .open(None, &mut Endless::new())
            .map(|provider| provider.root_id().to_owned())
    }

    fn problem(name: &str, value: Option<&str>) -> EnvironmentProblem {
        let error = open(name, value).unwrap_err();
        assert!(error.hint().is_some());
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            assert!(!format!("{error} {error:?} {:?}", error.hint()).contains(value));
        }
        match error {
            ProviderError::Environment { problem, .. } => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_variable_holds_a_key_in_hexadecimal() {
        assert_eq!(open("PG_ENCRYPT_TEST_GOOD", Some(ROOT_HEX)).unwrap(), ROOT_ID);
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(problem("PG_ENCRYPT_TEST_UNSET", None), EnvironmentProblem::Unset);
        for (name, value, expected) in [
            ("PG_ENCRYPT_TEST_EMPTY", "", MaterialProblem::Empty),
            ("PG_ENCRYPT_TEST_SHORT", &ROOT_HEX[2..], MaterialProblem::Length),
            (
                "PG_ENCRYPT_TEST_NEWLINE",
                &format!("{ROOT_HEX}\n"),
                MaterialProblem::Length,
            ),
            (
                "PG_ENCRYPT_TEST_RAW",
                "0123456789abcdef0123456789abcdef",
                MaterialProblem::Length,
            ),
            (
                "PG_ENCRYPT_TEST_OTHER",
                &ROOT_HEX.replace('8', "x"),
                MaterialProblem::NotHex,
            ),
            ("PG_ENCRYPT_TEST_ZERO", &"0".repeat(64), MaterialProblem::Constant),
        ] {
            assert_eq!(
                problem(name, Some(value)),
                EnvironmentProblem::Material(expected),
                "{name}"
            );
        }
    }
}
