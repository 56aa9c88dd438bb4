#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::process::Command;

use super::*;

/// What `ls` has open: the three standard ones and the directory it reads.
const NOTHING_INHERITED: &str = "0\n1\n2\n3\n";

fn descriptors_of_child(mark: fn(i32) -> io::Result<()>) -> String {
    let mut command = Command::new("/bin/ls");
    command.arg("/proc/self/fd").stderr(Stdio::null());
    let descriptors = open_descriptors();
    // SAFETY: what is called between fork and exec makes system calls only.
    unsafe { command.pre_exec(move || mark(descriptors)) };
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn descriptors_are_not_inherited() {
    // dup(2) clears the close-on-exec flag that std has set.
    let inheritable = rustix::io::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
    assert_ne!(
        descriptors_of_child(|_| Ok(())),
        NOTHING_INHERITED,
        "{} should show",
        inheritable.as_raw_fd()
    );
    assert_eq!(descriptors_of_child(close_on_exec), NOTHING_INHERITED);
    assert_eq!(descriptors_of_child(close_on_exec_singly), NOTHING_INHERITED);
}

#[test]
fn the_bound_of_descriptors_is_sane() {
    assert!((3..=65_536).contains(&open_descriptors()));
}
