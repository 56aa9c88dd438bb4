//! The mode of a new key file does not depend on the umask. Alone in its process, because the umask is the
//! whole process's.

use std::os::unix::fs::PermissionsExt;

use pg_encrypt_providers::create_key_file;
use rustix::fs::Mode;

#[test]
fn a_new_key_file_has_its_mode_under_every_umask() {
    let directory = tempfile::tempdir().unwrap();
    let before = rustix::process::umask(Mode::empty());
    for umask in [0o000, 0o022, 0o077, 0o777] {
        let path = directory.path().join(format!("{umask:03o}.key"));
        rustix::process::umask(Mode::from_raw_mode(umask));
        create_key_file(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "umask {umask:03o}");
    }
    rustix::process::umask(before);
}
