//! The errors of this layer.

use std::borrow::Cow;

use pg_encrypt_core::wrap::WrapError;

use crate::command::CommandProblem;
use crate::env::{EnvironmentProblem, VariableName};
use crate::file::KeyFileProblem;
use crate::passphrase::PassphraseProblem;
use crate::{AbsolutePath, CommandLine, Interrupted};

/// Why the root key could not be reached or used.
///
/// Messages and hints name places, sizes and numbers of the operating system, and never what was read there:
/// neither contents, nor arguments of a command, nor what it wrote to its standard error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderError {
    /// `file:`
    #[error("root key file \"{path}\" {problem}")]
    KeyFile {
        /// The file.
        path: AbsolutePath,
        /// What is wrong with it.
        problem: KeyFileProblem,
    },
    /// `env:`
    #[error("root key variable \"{name}\" {problem}")]
    Environment {
        /// The variable.
        name: VariableName,
        /// What is wrong with it.
        problem: EnvironmentProblem,
    },
    /// `command:`
    #[error("root key command \"{}\" {problem}", line.program())]
    Command {
        /// The command.
        line: CommandLine,
        /// What is wrong with it.
        problem: CommandProblem,
    },
    /// `passphrase-file:`
    #[error("passphrase file \"{path}\" {problem}")]
    Passphrase {
        /// The file.
        path: AbsolutePath,
        /// What is wrong with it.
        problem: PassphraseProblem,
    },
    /// A root key in memory did not wrap or unwrap.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The caller did not want to wait longer.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ProviderError {
    /// What to do about it, if there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::KeyFile { path, problem } => Some(problem.hint(path.as_path())),
            Self::Environment { problem, .. } => Some(problem.hint().into()),
            Self::Command { line, problem } => Some(problem.hint(line.program().as_path())),
            Self::Passphrase { path, problem } => Some(problem.hint(path.as_path())),
            Self::Wrap(WrapError::AuthenticationFailed) => {
                Some("compare the root_id stored with the key with that of the root key in use".into())
            }
            Self::Wrap(WrapError::UnknownFormat(_) | WrapError::Length { .. }) => {
                Some("restore the stored key from a backup, or use the provider that wrapped it".into())
            }
            Self::Wrap(WrapError::Random(_)) | Self::Interrupted(_) => None,
        }
    }
}
