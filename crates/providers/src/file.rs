//! `file:/path`, a root key in a file.

use std::borrow::Cow;
use std::path::Path;

use zeroize::Zeroizing;

use crate::material::{self, MAX_MATERIAL_LEN, MaterialProblem, ROOT_LEN};
use crate::secret_file::{self, FileProblem};

/// Why a file gives no root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileProblem {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// What it holds.
    #[error(transparent)]
    Material(#[from] MaterialProblem),
}

impl KeyFileProblem {
    pub(crate) fn hint(self, path: &Path) -> Cow<'static, str> {
        match self {
            Self::File(problem) => problem.hint(path),
            Self::Material(problem) => problem.hint().into(),
        }
    }
}

/// Reads the root key in the file at `path`.
pub(crate) fn read_root(path: &Path) -> Result<Zeroizing<[u8; ROOT_LEN]>, KeyFileProblem> {
    let content = secret_file::read(path, ROOT_LEN as u64..=MAX_MATERIAL_LEN as u64)?;
    Ok(material::from_bytes(&content)?)
}
