//! What a command becomes between fork and exec, and how it ends. The only unsafe code of this crate.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Signal, WaitId, WaitIdOptions};

use super::CommandLine;

/// How long a killed process may take to disappear. SIGKILL works at once on everything but a process that
/// waits inside the kernel; such a one is left to the kernel and becomes a zombie until the backend ends.
const REAP: Duration = Duration::from_millis(100);

/// A running command, the leader of its own process group. Dropping it kills the group and reaps the leader,
/// also when a panic or a PostgreSQL error unwinds through the caller.
pub(super) struct Running {
    child: Child,
    pid: Pid,
    reaped: bool,
}

impl Running {
    /// Starts `line` with an empty standard input, no standard error and the returned standard output.
    ///
    /// There is no shell, except that execvp(3) gives a script without an interpreter line to `/bin/sh`.
    /// Descriptors, signal dispositions and the environment of the server are not passed on. The working
    /// directory is `/`, so that what a command leaves behind does not land in the data directory.
    pub(super) fn start(line: &CommandLine) -> Result<(Self, ChildStdout), Errno> {
        let mut command = Command::new(line.program().as_path());
        command
            .args(line.arguments())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Its own group, so that what it started can be killed with it.
            .process_group(0);
        prepare(&mut command);
        let mut child = command.spawn().map_err(errno_of)?;
        let stdout = child.stdout.take().ok_or(Errno::BADF)?;
        let pid = Pid::from_child(&child);
        Ok((
            Self {
                child,
                pid,
                reaped: false,
            },
            stdout,
        ))
    }

    /// Returns the exit status if the command has ended, after killing what it left running in its group.
    ///
    /// Waits for this one process and never for any child: other parts of the server have children too (`COPY
    /// FROM PROGRAM`), and must find their statuses. PostgreSQL leaves SIGCHLD at its default in backends and
    /// background workers, so the status of ours stays until it is fetched here.
    pub(super) fn status(&mut self) -> Result<Option<ExitStatus>, Errno> {
        // WNOWAIT: as long as the leader is not reaped its number can't be given to another process, and the
        // group that is killed is certainly ours.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match rustix::process::waitid(WaitId::Pid(self.pid), look) {
                Ok(None) => return Ok(None),
                Ok(Some(_)) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.kill_group();
        let status = self.child.try_wait().map_err(errno_of)?;
        self.reaped = status.is_some();
        Ok(status)
    }

    fn kill_group(&self) {
        // The only possible failure is that nothing is left to kill.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Not SIGTERM first: a program that ignores it would win time that a cancelled statement does not
        // have.
        self.kill_group();
        let deadline = Instant::now() + REAP;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

/// Arranges for [`in_child`] to run in the new process.
#[allow(unsafe_code)]
fn prepare(command: &mut Command) {
    let server = rustix::process::getpid();
    let last_signal = libc::SIGRTMAX();
    let descriptors = open_descriptors();
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe functions may be called,
    // because the process may have been forked while another thread (a library's) held a lock. in_child makes
    // system calls only, allocates nothing, and does not panic. What it captures are integers.
    unsafe { command.pre_exec(move || in_child(server, last_signal, descriptors)) };
}

/// An upper bound of the numbers of open descriptors. PostgreSQL keeps within max_files_per_process, which it
/// compares with the soft limit; the cap is for limits of millions, as containers have them.
fn open_descriptors() -> i32 {
    const CAP: u64 = 65_536;
    let soft = rustix::process::getrlimit(Resource::Nofile)
        .current
        .unwrap_or(CAP);
    i32::try_from(soft.min(CAP)).unwrap_or(i32::MAX)
}

#[allow(unsafe_code)]
fn in_child(server: Pid, last_signal: i32, descriptors: i32) -> io::Result<()> {
    // A backend that is killed, or leaves by _exit after SIGQUIT, runs no destructor. This covers the program
    // alone: what it started loses its reader, and nothing can tell it more.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(server) {
        // It died before the signal was asked for.
        return Err(Errno::SRCH.into());
    }
    for signal in 1..=last_signal {
        // SAFETY: signal(2) with SIG_DFL installs no code. exec resets handlers, but what the server ignores
        // (SIGPIPE for one) stays ignored. SIGKILL, SIGSTOP and the C library's own signals refuse, which is
        // right.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // Only now: a signal that was waiting must not find a handler of the server. std leaves the mask as it
    // is. SAFETY: the set is initialized by the first call, and the second reads it and returns no old one.
    unsafe {
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
    close_on_exec(descriptors)
}

/// Marks every descriptor from 3 on to be closed by exec. PostgreSQL 15 does not do so for its data files and
/// the client's socket, and a program that stays behind would keep the connection open. They are marked, not
/// closed, because std reports a failed exec through one of them.
#[allow(unsafe_code)]
fn close_on_exec(descriptors: i32) -> io::Result<()> {
    // By number: the C library has the function only since glibc 2.34.
    // SAFETY: close_range(2) with these arguments changes nothing but close-on-exec flags.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        close_on_exec_singly(descriptors)
    }
}

/// The same for Linux before 5.11, which lacks the call or the flag.
#[allow(unsafe_code)]
fn close_on_exec_singly(descriptors: i32) -> io::Result<()> {
    for descriptor in 3..descriptors {
        // SAFETY: F_SETFD touches nothing but the flag, and fails with EBADF on what is not open.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
