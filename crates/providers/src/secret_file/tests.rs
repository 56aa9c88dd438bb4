use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::*;
use crate::testing::is_root;

const CONTENT: &[u8] = b"0123456789";

fn file_with(content: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

fn problem(path: &Path) -> FileProblem {
    read(path, 1..=20).map(|_| ()).unwrap_err()
}

#[test]
fn a_private_file_is_read_whole() {
    for mode in [0o600, 0o400, 0o700] {
        let (_directory, path) = file_with(CONTENT, mode);
        assert_eq!(read(&path, 1..=20).unwrap().as_slice(), CONTENT, "mode {mode:o}");
        assert_eq!(read(&path, 10..=10).unwrap().as_slice(), CONTENT, "mode {mode:o}");
    }
}

#[test]
fn any_access_of_others_is_refused() {
    for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
        let (_directory, path) = file_with(CONTENT, 0o600 | bit);
        assert_eq!(problem(&path), FileProblem::Access { mode: 0o600 | bit });
    }
    let (_directory, path) = file_with(CONTENT, 0o644);
    let problem = problem(&path);
    assert_eq!(problem.to_string(), "has group or world access (mode 0644)");
    assert!(
        problem
            .hint(&path)
            .contains(&format!("chmod 0600 {}", path.display()))
    );
}

#[test]
fn what_is_not_there_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(problem(&directory.path().join("none")), FileProblem::Missing);
    assert_eq!(problem(&directory.path().join("none/none")), FileProblem::Missing);
    let (_directory, path) = file_with(CONTENT, 0o600);
    assert_eq!(problem(&path.join("below")), FileProblem::Open(Errno::NOTDIR));
}

#[test]
fn a_link_is_refused_even_to_a_good_file() {
    let (directory, path) = file_with(CONTENT, 0o600);
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(problem(&link), FileProblem::Symlink);
    fs::remove_file(&path).unwrap();
    assert_eq!(problem(&link), FileProblem::Symlink);
}

#[test]
fn a_link_above_the_last_component_is_followed() {
    let (directory, path) = file_with(CONTENT, 0o600);
    let link = directory.path().join("link");
    symlink(path.parent().unwrap(), &link).unwrap();
    assert_eq!(read(&link.join("secret"), 1..=20).unwrap().as_slice(), CONTENT);
}

#[test]
fn a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(problem(directory.path()), FileProblem::Directory);
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Without O_NONBLOCK this would wait for a writer for ever.
    assert_eq!(problem(&fifo), FileProblem::NotRegular);

    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(problem(&socket), FileProblem::NotRegular);

    assert_eq!(problem(Path::new("/dev/zero")), FileProblem::NotRegular);
}

#[test]
fn the_file_of_another_user_is_refused() {
    if !is_root("giving a file to another user") {
        return;
    }
    let (_directory, path) = file_with(CONTENT, 0o600);
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    let problem = problem(&path);
    assert_eq!(problem, FileProblem::Owner { uid: 65_534 });
    assert!(problem.hint(&path).contains("chown"));
}

#[test]
fn a_file_without_read_permission_can_not_be_opened() {
    let (_directory, path) = file_with(CONTENT, 0o000);
    let result = read(&path, 1..=20).map(|content| content.len());
    if rustix::process::geteuid().is_root() {
        assert_eq!(result, Ok(CONTENT.len()));
    } else {
        assert_eq!(result, Err(FileProblem::Open(Errno::ACCESS)));
    }
}

#[test]
fn the_size_is_checked() {
    let (_directory, path) = file_with(b"", 0o600);
    assert_eq!(problem(&path), FileProblem::Empty);
    let (_directory, path) = file_with(CONTENT, 0o600);
    for sizes in [1..=9, 11..=20] {
        assert_eq!(read(&path, sizes).err(), Some(FileProblem::Size { size: 10 }));
    }
    // A file of a terabyte is refused by its size alone.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(problem(&path), FileProblem::Size { size: 1 << 40 });
}

#[test]
fn a_file_that_changes_meanwhile_is_refused() {
    for change in [&b"01234"[..], b"0123456789x", b"9876543210", b""] {
        let (_directory, path) = file_with(CONTENT, 0o600);
        let open = CheckedFile::open(&path, 1..=20).unwrap();
        // Longer than the tick of the clock that older kernels stamp files with.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, change).unwrap();
        assert_eq!(open.read().err(), Some(FileProblem::Changed), "{change:?}");
    }
}

#[test]
fn a_file_that_is_replaced_meanwhile_is_the_old_one_or_the_new_one() {
    let (directory, path) = file_with(CONTENT, 0o600);
    let open = CheckedFile::open(&path, 1..=20).unwrap();
    let new = directory.path().join("new");
    fs::write(&new, b"new").unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(open.read().unwrap().as_slice(), CONTENT);
    assert_eq!(read(&path, 1..=20).unwrap().as_slice(), b"new");
}
