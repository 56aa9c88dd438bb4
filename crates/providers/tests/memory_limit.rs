//! A server without memory for Argon2id. Alone in its process, because the limit is the whole process's.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pg_encrypt_providers::{
    Interrupted, PassphraseParameters, PassphraseProblem, Patience, ProviderError, RootLocation,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

struct Patient;

impl Patience for Patient {
    fn pause(&mut self, _: Duration) -> Result<(), Interrupted> {
        Ok(())
    }
}

#[test]
fn missing_memory_is_an_error_and_no_abort() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passphrase");
    fs::write(&path, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let location = RootLocation::parse(&format!("passphrase-file:{}", path.display())).unwrap();
    let parameters = PassphraseParameters::generate().unwrap();

    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let before = getrlimit(Resource::As);
    // Half of what the parameters ask for.
    let limit = pages * rustix::param::page_size() as u64 + (32 << 20);
    setrlimit(
        Resource::As,
        Rlimit {
            current: Some(limit),
            ..before
        },
    )
    .unwrap();
    let result = location.open(Some(&parameters), &mut Patient).map(|_| ());
    setrlimit(Resource::As, before).unwrap();

    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            ProviderError::Passphrase {
                problem: PassphraseProblem::Memory { kib: 65_536 },
                ..
            }
        ),
        "{error:?}"
    );
}
