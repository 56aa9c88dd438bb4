//! A disk that fills up while the key file is written. Alone in its process, because the limit that stands
//! for the full disk is the whole process's.

use pg_encrypt_providers::{CreateKeyError, CreateStep, Errno, create_key_file};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    // SAFETY: installs no code. The signal would end the process where write(2) is to fail with EFBIG.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };

    // The kernel takes ten bytes of the first write and refuses the second.
    let before = getrlimit(Resource::Fsize);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: Some(10),
            ..before
        },
    )
    .unwrap();
    let failure = create_key_file(&path);
    // Before anything is printed: standard output may be a file.
    setrlimit(Resource::Fsize, before).unwrap();

    let failure = failure.unwrap_err();
    assert!(
        matches!(
            failure,
            CreateKeyError::Failed {
                step: CreateStep::Write,
                errno: Errno::FBIG,
                ..
            }
        ),
        "{failure:?}"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    create_key_file(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 65);
}
