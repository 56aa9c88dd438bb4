//! `command:/path ARG ...`, a root key that a program prints.

mod child;
mod line;

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Access, FileType};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::material::{self, MaterialProblem, ROOT_LEN};
use crate::provider::SLICE;
use crate::shell_word::ShellWord;
use crate::{Interrupted, Patience, ProviderError};

use child::Running;
pub use line::CommandLine;

/// How long a command may take, from its start to its end.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes a command may print.
pub const MAX_COMMAND_OUTPUT: usize = 4096;

/// Why a command gives no root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandProblem {
    /// There is no such program.
    #[error("does not exist")]
    Missing,
    /// The path names a directory or something else that is no program.
    #[error("is not a regular file")]
    NotRegular,
    /// The program belongs to someone other than the server's user or root.
    #[error("belongs to user {uid}, neither the server's user nor root")]
    Owner {
        /// The owner's number.
        uid: u32,
    },
    /// The group or everybody may write to the program: they choose the root key, and what the server runs.
    #[error("is writable by group or world (mode {mode:04o})")]
    Writable {
        /// The permission bits.
        mode: u32,
    },
    /// The server's user may not execute the program.
    #[error("is not executable")]
    NotExecutable,
    /// The operating system could not start the program.
    #[error("could not be started: {0}")]
    Start(Errno),
    /// The operating system could not tell what the program does or prints.
    #[error("could not be waited for: {0}")]
    Wait(Errno),
    /// The program ran longer than [`COMMAND_TIMEOUT`].
    #[error("did not end within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The program printed more than [`MAX_COMMAND_OUTPUT`].
    #[error("printed more than {MAX_COMMAND_OUTPUT} bytes")]
    TooMuchOutput,
    /// The program reported a failure.
    #[error("exited with status {0}")]
    Failed(i32),
    /// A signal, not ours, ended the program.
    #[error("was terminated by signal {0}")]
    Killed(i32),
    /// What the program printed.
    #[error("succeeded, but its output {0}")]
    Output(#[from] MaterialProblem),
}

impl CommandProblem {
    pub(crate) fn hint(self, program: &Path) -> Cow<'static, str> {
        let program = ShellWord(program);
        match self {
            Self::Missing => "correct the setting, or install the program".into(),
            Self::NotRegular => "name the program itself".into(),
            Self::Owner { .. } => format!("if the program can be trusted: chown root {program}").into(),
            Self::Writable { .. } => {
                format!("check that the program is what it should be, then: chmod go-w {program}").into()
            }
            Self::NotExecutable => format!("let the server's user execute it: chmod 0755 {program}").into(),
            Self::Start(_) => {
                "check the program, the interpreter its first line names, and the limits of the server's user"
                    .into()
            }
            Self::Wait(_) => "repeat the statement".into(),
            Self::Timeout(_) | Self::Failed(_) | Self::Killed(_) => {
                format!("run it as the server's user: env -i PATH=/usr/bin:/bin LANG=C {program} ...").into()
            }
            Self::TooMuchOutput => "print the root key and nothing else".into(),
            Self::Output(problem) => problem.hint().into(),
        }
    }
}

/// Why there is no output.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Problem(#[from] CommandProblem),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Runs the command and reads the root key it prints.
pub(crate) fn read_root(
    line: &CommandLine,
    patience: &mut dyn Patience,
) -> Result<Zeroizing<[u8; ROOT_LEN]>, ProviderError> {
    run(line, COMMAND_TIMEOUT, patience)
        .and_then(|output| Ok(material::from_bytes(output.bytes()).map_err(CommandProblem::Output)?))
        .map_err(|stop| match stop {
            Stop::Problem(problem) => ProviderError::Command {
                line: line.clone(),
                problem,
            },
            Stop::Interrupted(interrupted) => interrupted.into(),
        })
}

/// What a command printed.
struct Output {
    // One byte more than allowed shows that there was too much. On the heap, because moving an array copies
    // it.
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
}

impl Output {
    fn new() -> Self {
        Self {
            buffer: Zeroizing::new(vec![0; MAX_COMMAND_OUTPUT + 1]),
            filled: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Reads once from a pipe that has something to read; false at its end.
    fn read(&mut self, pipe: &ChildStdout) -> Result<bool, CommandProblem> {
        match rustix::io::read(pipe, &mut self.buffer[self.filled..]) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.filled += n;
                if self.filled > MAX_COMMAND_OUTPUT {
                    Err(CommandProblem::TooMuchOutput)
                } else {
                    Ok(true)
                }
            }
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(CommandProblem::Wait(errno)),
        }
    }
}

/// Runs the command to its end and returns what it printed, if it succeeded.
///
/// The end is the end of the program itself: what it started and left running is killed, and may hold the
/// output open. A program that leaves its process group escapes that; nobody waits for it, though.
fn run(line: &CommandLine, timeout: Duration, patience: &mut dyn Patience) -> Result<Output, Stop> {
    let deadline = Instant::now() + timeout;
    check_program(line.program().as_path())?;
    let (mut running, stdout) = Running::start(line).map_err(CommandProblem::Start)?;
    let mut output = Output::new();
    let mut pipe = Some(stdout);
    // Once the pipe is closed there is nothing to poll but time, and the end is near: short waits first.
    let mut wait_for_end = Duration::from_millis(1);
    let status = loop {
        patience.pause(Duration::ZERO)?;
        if let Some(status) = running.status().map_err(CommandProblem::Wait)? {
            break status;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CommandProblem::Timeout(timeout).into());
        }
        let slice = if pipe.is_some() { SLICE } else { wait_for_end };
        let readable = poll(pipe.as_ref(), slice.min(left))?;
        match &pipe {
            Some(open) if readable => {
                if !output.read(open)? {
                    pipe = None;
                }
            }
            Some(_) => {}
            None => wait_for_end = SLICE.min(wait_for_end * 2),
        }
    };
    // What was printed just before the end. Anything a survivor of the group still writes does not count.
    while let Some(open) = &pipe {
        if !poll(Some(open), Duration::ZERO)? || !output.read(open)? {
            break;
        }
    }
    check_status(status)?;
    Ok(output)
}

/// Waits at most `slice` for output, or for a signal: cancelling a statement sends one, and poll(2) is never
/// restarted.
fn poll(pipe: Option<&ChildStdout>, slice: Duration) -> Result<bool, CommandProblem> {
    let timeout = Timespec::try_from(slice).map_err(|_| CommandProblem::Wait(Errno::INVAL))?;
    let ready = match pipe {
        Some(pipe) => rustix::event::poll(
            &mut [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)],
            Some(&timeout),
        ),
        None => rustix::event::poll(&mut [], Some(&timeout)),
    };
    match ready {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(CommandProblem::Wait(errno)),
    }
}

/// Refuses a program that others could have replaced, as sshd does for its AuthorizedKeysCommand.
fn check_program(program: &Path) -> Result<(), CommandProblem> {
    let stat = rustix::fs::stat(program).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => CommandProblem::Missing,
        errno => CommandProblem::Start(errno),
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(CommandProblem::NotRegular);
    }
    let uid = stat.st_uid;
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(CommandProblem::Owner { uid });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(CommandProblem::Writable { mode });
    }
    // Told apart here, because exec says EACCES, as it says ENOENT, about the program's interpreter too.
    rustix::fs::access(program, Access::EXEC_OK).map_err(|_| CommandProblem::NotExecutable)
}

fn check_status(status: ExitStatus) -> Result<(), CommandProblem> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(CommandProblem::Failed(code)),
        (None, Some(signal)) => Err(CommandProblem::Killed(signal)),
        (None, None) => Err(CommandProblem::Wait(Errno::INVAL)),
    }
}

#[cfg(test)]
mod isolation_tests;
#[cfg(test)]
mod tests;
