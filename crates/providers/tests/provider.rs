//! A root key that is read into memory, through the interface that the extension uses.

// Helpers outside a test function are not covered by the lint's exception for tests.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pg_encrypt_core::key::{DataKey, KeyId, Purpose};
use pg_encrypt_core::wrap::WrapError;
use pg_encrypt_providers::{
    FileProblem, Interrupted, KeyFileProblem, MaterialProblem, Patience, ProviderError, RootKeyProvider,
    RootLocation, create_key_file,
};

struct Patient;

impl Patience for Patient {
    fn pause(&mut self, at_most: Duration) -> Result<(), Interrupted> {
        std::thread::sleep(at_most);
        Ok(())
    }
}

const ROOT: &str = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";

fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn open(path: &Path) -> Result<Box<dyn RootKeyProvider>, ProviderError> {
    RootLocation::parse(&format!("file:{}", path.display()))
        .unwrap()
        .open(None, &mut Patient)
}

fn bytes(hex: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(hex).unwrap()
}

fn id(id: i32) -> KeyId {
    KeyId::new(id).unwrap()
}

fn keys_differ(provider: &dyn RootKeyProvider, wrapped: &[u8], key: i32, purpose: Purpose) -> bool {
    matches!(
        provider.unwrap(wrapped, id(key), purpose, &mut Patient),
        Err(ProviderError::Wrap(WrapError::AuthenticationFailed))
    )
}

/// The vectors of the key formats.
#[test]
fn a_wrapped_key_of_the_specification_is_unwrapped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    write(&path, format!("{ROOT}\n"), 0o600);
    let provider = open(&path).unwrap();
    assert_eq!(provider.root_id(), "78d3e6fa58df86fe");

    let wrapped = bytes(
        "01c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d77bc668955743732824dc4aa98893d75558dd22392a3c5757a888941d7e850d0f\
         8cb566fae11d472ffaab836f747c7dc6",
    );
    let check_value = bytes("7de897c7a0e75ba97eb3f7d0f161283e8b8cc5fd8234b95c97c7ce57760d2726");
    let key = provider
        .unwrap(&wrapped, id(7), Purpose::Column, &mut Patient)
        .unwrap();
    key.verify(id(7), Purpose::Column, &check_value).unwrap();
}

#[test]
fn a_created_root_key_wraps_and_unwraps() {
    let directory = tempfile::tempdir().unwrap();
    let location = RootLocation::embedded(directory.path()).unwrap();
    let RootLocation::File(path) = &location else {
        panic!("{location:?}")
    };
    create_key_file(path.as_path()).unwrap();
    let provider = location.open(None, &mut Patient).unwrap();

    let key = DataKey::generate().unwrap();
    let wrapped = provider.wrap(&key, id(8), Purpose::Index, &mut Patient).unwrap();
    // Opened anew, as by another backend.
    let again = location.open(None, &mut Patient).unwrap();
    assert_eq!(again.root_id(), provider.root_id());
    let unwrapped = again
        .unwrap(&wrapped, id(8), Purpose::Index, &mut Patient)
        .unwrap();
    assert_eq!(unwrapped.expose(), key.expose());

    assert!(keys_differ(&*again, &wrapped, 9, Purpose::Index));
    assert!(keys_differ(&*again, &wrapped, 8, Purpose::Column));
    let other = directory.path().join("other.key");
    create_key_file(&other).unwrap();
    let other = open(&other).unwrap();
    assert_ne!(other.root_id(), provider.root_id());
    assert!(keys_differ(&*other, &wrapped, 8, Purpose::Index));
}

#[test]
fn a_missing_root_key_is_an_error_and_never_a_new_key() {
    let directory = tempfile::tempdir().unwrap();
    let location = RootLocation::embedded(directory.path()).unwrap();
    let error = location.open(None, &mut Patient).err().unwrap();
    assert!(matches!(
        &error,
        ProviderError::KeyFile {
            problem: KeyFileProblem::File(FileProblem::Missing),
            ..
        }
    ));
    let path = directory.path().join("pg_encrypt_root.key");
    assert_eq!(
        error.to_string(),
        format!("root key file \"{}\" does not exist", path.display())
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("backup")));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn errors_tell_the_place_and_the_reason_and_no_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    for (content, mode, problem) in [
        ("", 0o600, KeyFileProblem::File(FileProblem::Empty)),
        (
            "swordfish",
            0o600,
            KeyFileProblem::File(FileProblem::Size { size: 9 }),
        ),
        (
            &ROOT[..40],
            0o600,
            KeyFileProblem::Material(MaterialProblem::Length),
        ),
        (
            &ROOT[..32],
            0o600,
            KeyFileProblem::Material(MaterialProblem::Text),
        ),
        (
            &ROOT.replace('9', "x"),
            0o600,
            KeyFileProblem::Material(MaterialProblem::NotHex),
        ),
        (
            ROOT,
            0o640,
            KeyFileProblem::File(FileProblem::Access { mode: 0o640 }),
        ),
    ] {
        write(&path, content, mode);
        let error = open(&path).err().unwrap();
        let shown = format!("{error} {error:?} {}", error.hint().unwrap());
        assert!(
            matches!(&error, ProviderError::KeyFile { problem: found, .. } if *found == problem),
            "{error:?} is not {problem:?}"
        );
        assert!(shown.contains(path.to_str().unwrap()), "{shown}");
        assert!(content.is_empty() || !shown.contains(content), "{shown}");
    }
}
