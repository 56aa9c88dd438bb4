//! Creating a key file: whole and durable, or not at all, and never in the place of another.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use pg_encrypt_core::random::{RandomError, os_random};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::material::ROOT_LEN;
use crate::shell_word::ShellWord;

/// What was being done when the creation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateStep {
    /// Opening the directory.
    Directory,
    /// Creating the file, under a temporary name.
    Create,
    /// Writing the key.
    Write,
    /// Bringing the key to the disk.
    Sync,
    /// Giving the file its name.
    Link,
    /// Bringing the name to the disk. The file exists and is complete, and is kept.
    SyncDirectory,
}

/// Why a key file was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateKeyError {
    /// There is a file, or anything else, of that name. It was not touched.
    #[error("\"{}\" already exists", path.display())]
    Exists {
        /// The path asked for.
        path: PathBuf,
    },
    /// The path is relative or names no file.
    #[error("\"{}\" is not the absolute path of a file", path.display())]
    Path {
        /// The path asked for.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("could not draw a root key: {0}")]
    Random(#[from] RandomError),
    /// The operating system refused a step.
    #[error("could not create root key file \"{}\" ({step}): {errno}", path.display())]
    Failed {
        /// The path asked for.
        path: PathBuf,
        /// The step.
        step: CreateStep,
        /// The reason.
        errno: Errno,
    },
}

impl CreateKeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Exists { path } => {
                format!(
                    "if it is a root key, use it: set pg_encrypt.root_key to 'file:{}'",
                    path.display()
                )
            }
            Self::Path { .. } => "write for example /etc/pg_encrypt/root.key".into(),
            Self::Random(_) => "repeat the statement".into(),
            Self::Failed {
                path,
                step: CreateStep::SyncDirectory,
                ..
            } => {
                format!(
                    "the file is complete, but might not survive a crash: run sync {}",
                    ShellWord(path)
                )
            }
            Self::Failed { path, .. } => {
                let directory = path.parent().unwrap_or(path);
                format!(
                    "the server's user must be able to write to {}, with space left",
                    ShellWord(directory)
                )
            }
        }
    }
}

impl std::fmt::Display for CreateStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory => "opening its directory",
            Self::Create => "creating a temporary file",
            Self::Write => "writing",
            Self::Sync => "synchronizing",
            Self::Link => "naming",
            Self::SyncDirectory => "synchronizing its directory",
        })
    }
}

/// Creates a file at the absolute path `path` with a new random root key: 64 hexadecimal digits and a
/// newline, mode 0600, on the disk when this returns.
///
/// The file is written under a temporary name in the same directory and then linked to its own. Nobody ever
/// sees half a key, and whatever already has the name, a dangling symbolic link included, stays as it is.
///
/// # Errors
/// After any error but one at [`CreateStep::SyncDirectory`] the directory is as it was before.
pub fn create_key_file(path: &Path) -> Result<(), CreateKeyError> {
    let (Some(directory), Some(name), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
        return Err(CreateKeyError::Path {
            path: path.to_owned(),
        });
    };
    let root = Zeroizing::new(os_random::<ROOT_LEN>()?);
    let suffix = os_random::<8>()?;
    let failed = |step| {
        move |errno| match errno {
            Errno::EXIST if step == CreateStep::Link => CreateKeyError::Exists {
                path: path.to_owned(),
            },
            errno => CreateKeyError::Failed {
                path: path.to_owned(),
                step,
                errno,
            },
        }
    };

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(failed(CreateStep::Directory))?;
    let temporary = Temporary::create(&directory, &suffix).map_err(failed(CreateStep::Create))?;
    write(&temporary.file, &root).map_err(failed(CreateStep::Write))?;
    rustix::fs::fsync(&temporary.file).map_err(failed(CreateStep::Sync))?;
    // link(2) and not rename(2), which replaces. RENAME_NOREPLACE would not, but NFS lacks it.
    rustix::fs::linkat(&directory, &temporary.name, &directory, name, AtFlags::empty())
        .map_err(failed(CreateStep::Link))?;
    drop(temporary);
    // From here on the key may be in use, and removing it again could lose data: an error is only reported.
    rustix::fs::fsync(&directory).map_err(failed(CreateStep::SyncDirectory))
}

/// A new file that loses its name when dropped.
struct Temporary<'a> {
    directory: &'a OwnedFd,
    name: String,
    file: OwnedFd,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a OwnedFd, suffix: &[u8; 8]) -> Result<Self, Errno> {
        let name = format!(".pg_encrypt_key_{:016x}.tmp", u64::from_be_bytes(*suffix));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(directory, &name, flags, mode)?;
        let temporary = Self {
            directory,
            name,
            file,
        };
        // The umask may have taken bits away.
        rustix::fs::fchmod(&temporary.file, mode)?;
        Ok(temporary)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Nothing better can be done about a failure; what stays behind is as unreadable as the key file.
        let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}

fn write(file: impl AsFd, root: &[u8; ROOT_LEN]) -> Result<(), Errno> {
    let mut line = Zeroizing::new([b'\n'; 2 * ROOT_LEN + 1]);
    base16ct::lower::encode(root, &mut line[..2 * ROOT_LEN]).map_err(|_| Errno::INVAL)?;
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
