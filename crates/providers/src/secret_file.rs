//! Reading a small file that only its owner may read: the rules that key files and passphrase files share.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::shell_word::ShellWord;

/// Why a file can't be trusted or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// The last component of the path is a symbolic link: whoever may write beside it chooses the key.
    #[error("is a symbolic link")]
    Symlink,
    /// The path names a directory.
    #[error("is a directory")]
    Directory,
    /// The path names a FIFO, a socket or a device.
    #[error("is not a regular file")]
    NotRegular,
    /// The file belongs to someone other than the server's user or root.
    #[error("belongs to user {uid}, neither the server's user nor root")]
    Owner {
        /// The owner's number.
        uid: u32,
    },
    /// The group or everybody has some access.
    #[error("has group or world access (mode {mode:04o})")]
    Access {
        /// The permission bits.
        mode: u32,
    },
    /// The file has 0 bytes.
    #[error("is empty")]
    Empty,
    /// The file has a size that its content can't have.
    #[error("has a wrong size of {size} bytes")]
    Size {
        /// The size found.
        size: u64,
    },
    /// The file was written to in the moment it was read.
    #[error("changed while it was being read")]
    Changed,
    /// The operating system refused to open the file.
    #[error("could not be opened: {0}")]
    Open(Errno),
    /// The operating system could not read the file.
    #[error("could not be read: {0}")]
    Read(Errno),
}

impl FileProblem {
    /// What to do about it, where `path` is the file's.
    pub(crate) fn hint(self, path: &Path) -> Cow<'static, str> {
        match self {
            Self::Missing => {
                "restore the file from its backup, or correct the setting: a new key can't unwrap \
                              what the old one wrapped"
                    .into()
            }
            Self::Symlink => "name the file itself, not a link to it".into(),
            Self::Directory | Self::NotRegular => "name a regular file".into(),
            Self::Owner { .. } => format!(
                "if the file is yours, make the server's user its owner: chown postgres {}",
                ShellWord(path)
            )
            .into(),
            Self::Access { .. } => format!(
                "consider who may have read it, then run: chmod 0600 {}",
                ShellWord(path)
            )
            .into(),
            Self::Empty | Self::Size { .. } => "restore the file from its backup".into(),
            Self::Changed => {
                "repeat the statement; replace the file by renaming another, never by writing into it".into()
            }
            Self::Open(_) | Self::Read(_) => format!(
                "check the file and the directories above it: namei -l {}",
                ShellWord(path)
            )
            .into(),
        }
    }
}

/// Reads the file at `path` whole, if it is a regular file of one of `sizes` bytes that only its owner may
/// access and that belongs to the server's user or to root.
///
/// All checks are on the open descriptor, so what is checked is what is read. Symbolic links above the last
/// component are followed: system directories contain some, and who may replace a directory may do anything.
pub(crate) fn read(path: &Path, sizes: RangeInclusive<u64>) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    CheckedFile::open(path, sizes)?.read()
}

/// An open file that passed the checks, and what it looked like then.
struct CheckedFile {
    file: OwnedFd,
    stat: Stat,
    size: usize,
}

impl CheckedFile {
    fn open(path: &Path, sizes: RangeInclusive<u64>) -> Result<Self, FileProblem> {
        // O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => FileProblem::Missing,
            // open(2): what O_NOFOLLOW gives for a link, and the kernel for too many of them.
            Errno::LOOP => FileProblem::Symlink,
            // open(2): a socket.
            Errno::NXIO => FileProblem::NotRegular,
            errno => FileProblem::Open(errno),
        })?;
        let stat = rustix::fs::fstat(&file).map_err(FileProblem::Read)?;
        let size = check(&stat, sizes)?;
        Ok(Self { file, stat, size })
    }

    fn read(self) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
        let content = read_past(&self.file, self.size).map_err(FileProblem::Read)?;
        let stat = rustix::fs::fstat(&self.file).map_err(FileProblem::Read)?;
        // A writer that reads the clock in the same tick as the last one goes unnoticed on older kernels;
        // half a key does not, whatever the clock says.
        if content.len() != self.size || version(&self.stat) != version(&stat) {
            return Err(FileProblem::Changed);
        }
        Ok(content)
    }
}

/// The order is from the coarsest error to the finest: the mode of a directory is of no interest.
fn check(stat: &Stat, sizes: RangeInclusive<u64>) -> Result<usize, FileProblem> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(FileProblem::Directory),
        _ => return Err(FileProblem::NotRegular),
    }
    let uid = stat.st_uid;
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(FileProblem::Owner { uid });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileProblem::Access { mode });
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size == 0 {
        return Err(FileProblem::Empty);
    }
    if !sizes.contains(&size) {
        return Err(FileProblem::Size { size });
    }
    usize::try_from(size).map_err(|_| FileProblem::Size { size })
}

/// Reads `size` bytes and, if there are any, one more that shows that the file has grown.
fn read_past(file: impl AsFd, size: usize) -> Result<Zeroizing<Vec<u8>>, Errno> {
    // The buffer has its final size from the start: growing it would leave a copy behind that nobody wipes.
    let mut content = Zeroizing::new(vec![0; size + 1]);
    let mut filled = 0;
    while filled < content.len() {
        match rustix::io::read(&file, &mut content[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// What differs between two looks at a file that was written to in between. Not the time of the last change
/// of status: replacing the file by renaming another changes that too, and whoever has the old one open reads
/// a whole key.
fn version(stat: &Stat) -> (i64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

#[cfg(test)]
mod tests;
