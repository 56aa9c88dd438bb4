//! `passphrase-file:/path`, a root key derived from a passphrase.
//!
//! `root key = Argon2id(passphrase, salt, m, t, p)`, 32 bytes, RFC 9106 with version 0x13, no secret and no
//! associated data. The salt and the cost are no secrets and must outlive every change of defaults, so the
//! caller keeps them with the keys they protect, as [`PassphraseParameters`].

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use pg_encrypt_core::random::{RandomError, os_random};
use zeroize::Zeroizing;

use crate::material::ROOT_LEN;
use crate::secret_file::{self, FileProblem};
use crate::{AbsolutePath, Patience, ProviderError};

/// RFC 9106, section 4, the second recommended option: 64 MiB, 3 passes, 4 lanes.
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const LANES: u32 = 4;
const SALT_LEN: usize = 16;

/// What stored parameters may ask for. Less would let someone who edits the table weaken keys that are
/// wrapped later; more would let them occupy every backend's memory and time.
const MEMORY_KIB_ACCEPTED: RangeInclusive<u32> = MEMORY_KIB..=4 * MEMORY_KIB;
const PASSES_ACCEPTED: RangeInclusive<u32> = PASSES..=8;
const LANES_ACCEPTED: RangeInclusive<u32> = 1..=16;

/// NIST SP 800-63B-4, section 3.1.1.2: the shortest password that may stand alone.
const MIN_PASSPHRASE: usize = 15;
const MAX_PASSPHRASE: usize = 1024;

/// Salt and cost of the derivation, to be stored with the keys wrapped by its result.
///
/// The text is a PHC string without a hash, `$argon2id$v=19$m=65536,t=3,p=4$` and the salt in unpadded
/// base64. Whoever loses it has lost the root key, whether or not they remember the passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseParameters {
    cost: Params,
    salt: Salt,
}

impl PassphraseParameters {
    /// Draws a new salt of 16 bytes from the operating system, with the cost of RFC 9106's second recommended
    /// option.
    ///
    /// # Errors
    /// [`ParametersError::Random`] if the operating system has no random bytes.
    pub fn generate() -> Result<Self, ParametersError> {
        let salt = os_random::<SALT_LEN>()?;
        Ok(Self {
            cost: Params::new(MEMORY_KIB, PASSES, LANES, Some(ROOT_LEN))
                .map_err(|_| ParametersError::Cost)?,
            salt: Salt::new(&salt).map_err(|_| ParametersError::Salt)?,
        })
    }
}

impl FromStr for PassphraseParameters {
    type Err = ParametersError;

    fn from_str(text: &str) -> Result<Self, ParametersError> {
        let parsed = PasswordHash::new(text).map_err(|_| ParametersError::Syntax)?;
        if parsed.hash.is_some() {
            return Err(ParametersError::Syntax);
        }
        if parsed.algorithm.as_str() != Algorithm::Argon2id.as_str()
            || parsed.version != Some(Version::V0x13.into())
        {
            return Err(ParametersError::Algorithm);
        }
        let salt = parsed
            .salt
            .filter(|salt| salt.len() >= SALT_LEN)
            .ok_or(ParametersError::Salt)?;
        let cost = |name: &str| parsed.params.get_decimal(name).ok_or(ParametersError::Cost);
        let (memory, passes, lanes) = (cost("m")?, cost("t")?, cost("p")?);
        let accepted = MEMORY_KIB_ACCEPTED.contains(&memory)
            && PASSES_ACCEPTED.contains(&passes)
            && LANES_ACCEPTED.contains(&lanes)
            // m, t and p: a fourth parameter is one whose meaning is unknown.
            && parsed.params.iter().count() == 3;
        if !accepted {
            return Err(ParametersError::Cost);
        }
        let cost = Params::new(memory, passes, lanes, Some(ROOT_LEN)).map_err(|_| ParametersError::Cost)?;
        Ok(Self { cost, salt })
    }
}

impl fmt::Display for PassphraseParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, passes, lanes) = (self.cost.m_cost(), self.cost.t_cost(), self.cost.p_cost());
        write!(
            f,
            "$argon2id$v=19$m={memory},t={passes},p={lanes}${}",
            self.salt.to_salt_string()
        )
    }
}

/// Why a text is not, or there are no, [`PassphraseParameters`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum ParametersError {
    /// Not a PHC string, or one with a hash.
    #[error("malformed passphrase parameters")]
    Syntax,
    /// Not Argon2id, version 19.
    #[error("passphrase parameters for another algorithm than Argon2id version 19")]
    Algorithm,
    /// Memory, passes or lanes missing or out of range, or an unknown parameter.
    #[error("passphrase parameters with a cost out of range")]
    Cost,
    /// No salt, or one shorter than 16 bytes.
    #[error("passphrase parameters without a salt of at least {SALT_LEN} bytes")]
    Salt,
    /// The operating system gave no random bytes for a salt.
    #[error("could not draw a salt: {0}")]
    Random(#[from] RandomError),
}

impl ParametersError {
    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Syntax | Self::Algorithm | Self::Cost | Self::Salt => {
                "restore the stored parameters from a backup: without them the root key can't be derived"
            }
            Self::Random(_) => "repeat the statement",
        }
    }
}

/// Why a passphrase gives no root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseProblem {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// A passphrase that can be guessed.
    #[error("holds a passphrase of less than {MIN_PASSPHRASE} bytes")]
    TooShort,
    /// More than one line: probably not a passphrase, and editors disagree about the ends of lines.
    #[error("holds more than one line")]
    SeveralLines,
    /// The caller has no stored parameters.
    #[error("can't be used without the salt and cost stored with the keys")]
    NoParameters,
    /// Argon2id needs memory that the operating system did not give.
    #[error("could not be used: {kib} KiB of memory for Argon2id are not available")]
    Memory {
        /// The amount needed, in KiB.
        kib: u32,
    },
    /// The library refused inputs that this crate had checked.
    #[error("could not be used: Argon2id refused its inputs")]
    Derivation,
}

impl PassphraseProblem {
    pub(crate) fn hint(self, path: &Path) -> Cow<'static, str> {
        match self {
            Self::File(problem) => problem.hint(path),
            Self::TooShort => {
                "choose a longer passphrase, for example what \"openssl rand -base64 24\" prints".into()
            }
            Self::SeveralLines => {
                "write the passphrase in one line; one newline at its end is not part of it".into()
            }
            Self::NoParameters => {
                "restore the stored parameters from a backup, or create the first key".into()
            }
            Self::Memory { .. } => {
                "raise the memory limit of the server, or use another kind of root key".into()
            }
            Self::Derivation => "restore the stored parameters from a backup".into(),
        }
    }
}

/// Reads the passphrase at `path` and derives the root key from it.
///
/// The derivation can't be interrupted: it is one computation, of about a quarter of a second with the
/// generated parameters. `patience` is asked before and after.
pub(crate) fn read_root(
    path: &AbsolutePath,
    stored: Option<&PassphraseParameters>,
    patience: &mut dyn Patience,
) -> Result<Zeroizing<[u8; ROOT_LEN]>, ProviderError> {
    let problem = |problem| ProviderError::Passphrase {
        path: path.clone(),
        problem,
    };
    let parameters = stored.ok_or(problem(PassphraseProblem::NoParameters))?;
    let content = secret_file::read(path.as_path(), 1..=MAX_PASSPHRASE as u64 + 1)
        .map_err(|file| problem(file.into()))?;
    let passphrase = passphrase(&content).map_err(problem)?;
    patience.pause(Duration::ZERO)?;
    let root = derive(passphrase, &parameters.cost, parameters.salt.as_ref()).map_err(problem)?;
    patience.pause(Duration::ZERO)?;
    Ok(root)
}

/// The passphrase is the content without one newline at its end, byte for byte: no encoding is assumed.
fn passphrase(content: &[u8]) -> Result<&[u8], PassphraseProblem> {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(PassphraseProblem::SeveralLines);
    }
    if line.len() < MIN_PASSPHRASE {
        return Err(PassphraseProblem::TooShort);
    }
    Ok(line)
}

fn derive(
    passphrase: &[u8],
    cost: &Params,
    salt: &[u8],
) -> Result<Zeroizing<[u8; ROOT_LEN]>, PassphraseProblem> {
    let blocks = cost.block_count();
    // The library's own buffer is neither wiped, nor does running out of memory end in an error with a plain
    // Vec.
    let mut memory = Zeroizing::new(Vec::new());
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| PassphraseProblem::Memory { kib: cost.m_cost() })?;
    memory.resize(blocks, Block::new());
    let mut root = Zeroizing::new([0; ROOT_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.clone())
        .hash_password_into_with_memory(passphrase, salt, root.as_mut_slice(), memory.as_mut_slice())
        .map_err(|_| PassphraseProblem::Derivation)?;
    Ok(root)
}

#[cfg(test)]
mod tests;
