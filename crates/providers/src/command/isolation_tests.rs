//! What a command must not get from the server, and what must not be left of it.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::tests::{LONG, SOON, output, sh};
use super::*;
use crate::testing::Endless;

/// Whether a process runs. What has ended counts as gone even if its new parent has not reaped it yet.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// A killed process needs a moment to disappear.
fn ends(pid: i32) -> bool {
    let deadline = Instant::now() + SOON;
    while runs(pid) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Waits for a script to write process numbers, one in each line, and a line "ready".
fn pids_in(path: &Path) -> Vec<i32> {
    let deadline = Instant::now() + SOON;
    loop {
        let content = fs::read_to_string(path).unwrap_or_default();
        if let Some(lines) = content.strip_suffix("ready\n") {
            return lines.lines().map(|line| line.parse().unwrap()).collect();
        }
        assert!(Instant::now() < deadline, "{content:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A script that runs for a minute with a child, both deaf to the polite signals, and tells their numbers to
/// `path`.
fn stubborn(path: &Path) -> String {
    let path = path.display();
    format!(
        "trap \"\" TERM INT HUP; sleep 60 & echo $! > {path}; echo $$ >> {path}; echo ready >> {path}; wait"
    )
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let line = CommandLine::parse(r#"/usr/bin/printf '%s|' $HOME * \n "a b" '' ;"#).unwrap();
    assert_eq!(output(&line).unwrap(), br"$HOME|*|\n|a b||;|");
}

#[test]
fn the_environment_is_clean() {
    let printed = String::from_utf8(output(&CommandLine::parse("/usr/bin/env").unwrap()).unwrap()).unwrap();
    let mut variables: Vec<_> = printed.lines().collect();
    variables.sort_unstable();
    assert_eq!(variables, ["LANG=C", "PATH=/usr/bin:/bin"]);
}

#[test]
fn standard_streams_and_working_directory_are_neutral() {
    assert_eq!(
        output(&CommandLine::parse("/bin/cat").unwrap()).unwrap(),
        b"",
        "standard input is empty"
    );
    assert_eq!(output(&sh("pwd")).unwrap(), b"/\n");
    let seen = output(&sh("readlink /proc/$$/fd/0 /proc/$$/fd/2")).unwrap();
    assert_eq!(seen, b"/dev/null\n/dev/null\n");
}

#[test]
fn descriptors_are_not_passed_on() {
    // dup(2) clears the close-on-exec flag that std has set.
    let _inheritable = rustix::io::dup(fs::File::open("/dev/null").unwrap()).unwrap();
    // The fourth is the directory that ls reads.
    assert_eq!(
        output(&CommandLine::parse("/bin/ls /proc/self/fd").unwrap()).unwrap(),
        b"0\n1\n2\n3\n"
    );
}

/// A set of signals in the text of `/proc/PID/status`: bit n-1 is signal n.
fn signal_set(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
fn signals_are_as_a_new_program_expects_them() {
    // SAFETY: nothing in the tests sends or awaits these signals, and the mask is this thread's alone.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
        let mut mask = std::mem::zeroed();
        libc::sigemptyset(&mut mask);
        libc::sigaddset(&mut mask, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &mask, std::ptr::null_mut());
    }
    let ours = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert_ne!(
        signal_set(&ours, "SigBlk:") & 1 << (libc::SIGUSR1 - 1),
        0,
        "the mask of this thread is set"
    );
    assert_ne!(
        signal_set(&ours, "SigIgn:") & 1 << (libc::SIGUSR2 - 1),
        0,
        "SIGUSR2 is ignored here"
    );
    let seen = output(&CommandLine::parse("/bin/cat /proc/self/status").unwrap()).unwrap();
    let seen = String::from_utf8(seen).unwrap();
    assert_eq!(signal_set(&seen, "SigBlk:"), 0);
    // 32 and 33 are the C library's own: its posix_spawn leaves them ignored, and it lets nobody change that.
    assert_eq!(signal_set(&seen, "SigIgn:") & !(0b11 << 31), 0);
}

#[test]
fn nothing_of_a_command_survives_its_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pids");
    // Long enough for the script to get ready.
    let timeout = Duration::from_secs(2);
    let stop = run(&sh(&stubborn(&path)), timeout, &mut Endless::new()).err();
    assert_eq!(stop, Some(CommandProblem::Timeout(timeout).into()));
    let pids = pids_in(&path);
    assert_eq!(pids.len(), 2);
    assert!(pids.into_iter().all(ends));
}

/// Ends once a script is ready.
struct WhenReady<'a> {
    path: &'a Path,
    end: fn() -> Interrupted,
}

impl Patience for WhenReady<'_> {
    fn pause(&mut self, at_most: Duration) -> Result<(), Interrupted> {
        std::thread::sleep(at_most);
        let ready = fs::read_to_string(self.path).is_ok_and(|content| content.ends_with("ready\n"));
        if ready { Err((self.end)()) } else { Ok(()) }
    }
}

#[test]
fn nothing_of_a_command_survives_an_interrupt_and_the_leader_is_reaped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pids");
    let mut patience = WhenReady {
        path: &path,
        end: || Interrupted,
    };
    assert_eq!(
        run(&sh(&stubborn(&path)), LONG, &mut patience).err(),
        Some(Interrupted.into())
    );
    let pids = pids_in(&path);
    assert!(
        !Path::new(&format!("/proc/{}", pids[1])).exists(),
        "not even a zombie"
    );
    assert!(pids.into_iter().all(ends));
}

/// As an error raised by PostgreSQL does under pgrx.
#[test]
fn nothing_of_a_command_survives_unwinding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pids");
    let mut patience = WhenReady {
        path: &path,
        end: || panic!("unwinding on purpose"),
    };
    let run = AssertUnwindSafe(|| run(&sh(&stubborn(&path)), LONG, &mut patience).map(|_| ()));
    let payload = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"unwinding on purpose"));
    assert!(pids_in(&path).into_iter().all(ends));
}

#[test]
fn what_a_successful_command_leaves_running_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pids");
    let path_text = path.display();
    output(&sh(&format!(
        "sleep 60 & echo $! > {path_text}; echo ready >> {path_text}"
    )))
    .unwrap();
    assert!(pids_in(&path).into_iter().all(ends));
}

#[test]
fn children_of_others_keep_their_status() {
    let mut other = Command::new("/bin/sh").args(["-c", "exit 42"]).spawn().unwrap();
    let pid = other.id().try_into().unwrap();
    assert!(ends(pid));
    output(&sh("sleep 0.2")).unwrap();
    assert_eq!(other.wait().unwrap().code(), Some(42));
}

/// Runs this test again in a process of its own, which waits for a command and is killed meanwhile.
#[test]
fn a_command_dies_with_the_server() {
    const TOLD: &str = "PG_ENCRYPT_TEST_PIDS";
    if let Some(path) = std::env::var_os(TOLD) {
        let stop = run(&sh(&stubborn(Path::new(&path))), LONG, &mut Endless::new()).err();
        panic!("was to be killed, not to end with {stop:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pids");
    let name = "command::isolation_tests::a_command_dies_with_the_server";
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(TOLD, &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pids = pids_in(&path);
    assert!(pids.iter().all(|pid| runs(*pid)));
    server.kill().unwrap();
    server.wait().unwrap();
    // The command itself. What it started is out of reach of a dead server, and gets an end here.
    assert!(ends(pids[1]));
    let _ = kill_process(Pid::from_raw(pids[0]).unwrap(), Signal::KILL);
}
