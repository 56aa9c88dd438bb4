//! What a command may print, and how it may end. What it must not get or leave behind: see
//! [`super::isolation_tests`].

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::RootLocation;
use crate::testing::{Endless, ROOT_HEX, ROOT_ID, Until, is_root};

/// A command line for a script without single quotation marks.
pub(super) fn sh(script: &str) -> CommandLine {
    assert!(!script.contains('\''));
    CommandLine::parse(&format!("/bin/sh -c '{script}'")).unwrap()
}

/// A timeout that no test reaches by accident.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// Far below [`LONG`], far above what starting a shell takes on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) fn output(line: &CommandLine) -> Result<Vec<u8>, Stop> {
    run(line, LONG, &mut Endless::new()).map(|output| output.bytes().to_vec())
}

fn problem(line: &CommandLine) -> CommandProblem {
    match output(line) {
        Err(Stop::Problem(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

fn open(text: &str) -> Result<String, ProviderError> {
    let location = RootLocation::parse(text).unwrap();
    location
        .open(None, &mut Endless::new())
        .map(|provider| provider.root_id().to_owned())
}

fn program(content: &str, mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my program");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

fn problem_of_program(path: &Path) -> CommandProblem {
    problem(&CommandLine::parse(&format!("'{}'", path.display())).unwrap())
}

#[test]
fn a_key_is_read_in_each_form() {
    let raw: String = (0x80..=0x9f).map(|byte| format!("\\{byte:03o}")).collect();
    for printed in [ROOT_HEX, &format!("{ROOT_HEX}\\n"), &raw, &format!("{raw}\\n")] {
        assert_eq!(
            open(&format!("command:/usr/bin/printf '{printed}'")).unwrap(),
            ROOT_ID
        );
    }
}

#[test]
fn output_may_come_in_pieces_and_slowly() {
    let (first, second) = ROOT_HEX.split_at(20);
    let line = sh(&format!("printf {first}; sleep 0.3; printf {second}"));
    assert_eq!(output(&line).unwrap(), ROOT_HEX.as_bytes());
}

#[test]
fn output_that_is_no_key_is_refused_and_not_shown() {
    for (printed, expected) in [
        ("", MaterialProblem::Empty),
        ("swordfish", MaterialProblem::Length),
        ("0123456789abcdef0123456789abcdef", MaterialProblem::Text),
        (&"0".repeat(64), MaterialProblem::Constant),
        (&format!("{ROOT_HEX} \\n"), MaterialProblem::Length),
        (&format!("{ROOT_HEX}\\n\\n"), MaterialProblem::Length),
        (&ROOT_HEX.replace('9', "g"), MaterialProblem::NotHex),
    ] {
        let error = open(&format!("command:/usr/bin/printf '{printed}'")).unwrap_err();
        let ProviderError::Command {
            problem: CommandProblem::Output(problem),
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(*problem, expected);
        assert!(printed.is_empty() || !format!("{error} {error:?} {:?}", error.hint()).contains(printed));
    }
}

#[test]
fn a_failure_is_its_status_and_nothing_more() {
    let text = format!("command:/bin/sh -c 'echo {ROOT_HEX}; echo swordfish >&2; exit 3' hunter2");
    let error = open(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "root key command \"/bin/sh\" exited with status 3"
    );
    let shown = format!("{error:?} {:?}", error.hint());
    for secret in [ROOT_HEX, "swordfish", "hunter2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(problem(&sh("kill -KILL $$")), CommandProblem::Killed(9));
    assert_eq!(problem(&sh("exec /nonexistent")), CommandProblem::Failed(127));
}

#[test]
fn the_limit_of_output_is_exact() {
    assert_eq!(
        output(&sh("head -c 4096 /dev/zero")).unwrap().len(),
        MAX_COMMAND_OUTPUT
    );
    assert_eq!(
        problem(&sh("head -c 4097 /dev/zero")),
        CommandProblem::TooMuchOutput
    );
    // Whether it has ended by the time it is looked at, or not.
    assert_eq!(
        problem(&sh("head -c 4097 /dev/zero; sleep 60")),
        CommandProblem::TooMuchOutput
    );
    assert_eq!(problem(&sh("yes")), CommandProblem::TooMuchOutput);
}

#[test]
fn a_command_that_hangs_times_out() {
    let timeout = Duration::from_millis(400);
    for script in [
        "sleep 60",
        "exec sleep 60",
        "exec >&-; sleep 60",
        "trap \"\" TERM INT HUP; while :; do sleep 1; done",
    ] {
        let started = Instant::now();
        let stop = run(&sh(script), timeout, &mut Endless::new()).err();
        assert_eq!(stop, Some(CommandProblem::Timeout(timeout).into()), "{script}");
        assert!(
            started.elapsed() >= timeout && started.elapsed() < SOON,
            "{script}: {:?}",
            started.elapsed()
        );
    }
    assert_eq!(
        CommandProblem::Timeout(COMMAND_TIMEOUT).to_string(),
        "did not end within 10000 ms"
    );
}

#[test]
fn waiting_is_in_slices() {
    let mut patience = Endless::new();
    run(&sh("sleep 0.6; exec >&-; sleep 0.6"), LONG, &mut patience).unwrap();
    assert!(patience.calls >= 6, "{} calls", patience.calls);
    // Five slices, because the machine may be busy; without slices it would be six.
    assert!(patience.longest_gap < 5 * SLICE, "{:?}", patience.longest_gap);
}

#[test]
fn an_interrupt_ends_the_wait() {
    for script in ["sleep 60", "exec >&-; sleep 60"] {
        let started = Instant::now();
        let stop = run(
            &sh(script),
            LONG,
            &mut Until(started + Duration::from_millis(200)),
        )
        .err();
        assert_eq!(stop, Some(Interrupted.into()));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    }
    let stop = run(&sh("echo"), LONG, &mut Until(Instant::now())).err();
    assert_eq!(stop, Some(Interrupted.into()));
}

#[test]
fn the_end_is_that_of_the_program_not_of_its_output() {
    // Closes its output early.
    assert_eq!(output(&sh("printf key; exec >&-; sleep 0.2")).unwrap(), b"key");
    assert_eq!(
        problem(&sh("printf key; exec >&-; sleep 0.2; exit 7")),
        CommandProblem::Failed(7)
    );
    // Leaves its output open in a process that goes on.
    let started = Instant::now();
    assert_eq!(output(&sh("sleep 60 & printf key")).unwrap(), b"key");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn a_program_that_is_not_there_or_none_is_told_apart() {
    let missing = CommandLine::parse("/nonexistent/program").unwrap();
    assert_eq!(problem(&missing), CommandProblem::Missing);
    assert_eq!(
        problem(&CommandLine::parse("/etc/passwd/x").unwrap()),
        CommandProblem::Missing
    );
    assert_eq!(
        problem(&CommandLine::parse("/etc").unwrap()),
        CommandProblem::NotRegular
    );
    assert_eq!(
        problem(&CommandLine::parse("/dev/null").unwrap()),
        CommandProblem::NotRegular
    );

    let (_directory, path) = program("#!/bin/sh\nprintf key\n", 0o644);
    let refused = problem_of_program(&path);
    assert_eq!(refused, CommandProblem::NotExecutable);
    assert!(
        refused
            .hint(&path)
            .contains(&format!("chmod 0755 '{}'", path.display()))
    );

    let (_directory, path) = program("#!/nonexistent/interpreter\n", 0o755);
    assert_eq!(problem_of_program(&path), CommandProblem::Start(Errno::NOENT));
}

#[test]
fn a_program_that_others_may_replace_is_refused() {
    for bit in [0o020, 0o002] {
        let (_directory, path) = program("#!/bin/sh\nprintf key\n", 0o755 | bit);
        assert_eq!(
            problem_of_program(&path),
            CommandProblem::Writable { mode: 0o755 | bit }
        );
    }
    let (_directory, path) = program("#!/bin/sh\nprintf key\n", 0o755);
    let line = CommandLine::parse(&format!("'{}'", path.display())).unwrap();
    assert_eq!(output(&line).unwrap(), b"key");
    if is_root("giving a program to another user") {
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert_eq!(problem_of_program(&path), CommandProblem::Owner { uid: 65_534 });
    }
}
