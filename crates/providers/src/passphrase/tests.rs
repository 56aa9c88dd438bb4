use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::RootLocation;
use crate::testing::{Endless, Until};

/// Salt 10..1f.
const STORED: &str = "$argon2id$v=19$m=65536,t=3,p=4$EBESExQVFhcYGRobHB0eHw";
const PASSPHRASE: &[u8] = b"correct horse battery staple";

fn file_with(content: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passphrase");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    (directory, path)
}

fn open(path: &Path, stored: Option<&str>, patience: &mut dyn Patience) -> Result<String, ProviderError> {
    let location = RootLocation::parse(&format!("passphrase-file:{}", path.display())).unwrap();
    let stored = stored.map(|text| text.parse().unwrap());
    location
        .open(stored.as_ref(), patience)
        .map(|provider| provider.root_id().to_owned())
}

fn problem(content: &[u8], stored: Option<&str>) -> PassphraseProblem {
    let (_directory, path) = file_with(content);
    match open(&path, stored, &mut Endless::new()) {
        Err(ProviderError::Passphrase { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

/// From the reference implementation of Argon2, through argon2-cffi.
#[test]
fn the_derivation_is_argon2id() {
    let salt: [u8; 16] = std::array::from_fn(|i| 0x10 + i as u8);
    let cost = Params::new(64, 3, 4, Some(ROOT_LEN)).unwrap();
    let root = derive(PASSPHRASE, &cost, &salt).unwrap();
    let mut expected = [0; 32];
    base16ct::lower::decode(
        "450f085e180ae1c238615803f63fb8b5c2b99bab30b55f1cebf38a4b03d257da",
        &mut expected,
    )
    .unwrap();
    assert_eq!(*root, expected);
}

/// By the same implementation: root key 1cd84e588c72f1d0bb3041fdd8a32de5ec738487c23ac9c5d84f119e05858bf8.
#[test]
fn a_passphrase_and_its_parameters_give_one_root_key() {
    // One newline at the end is not part of the passphrase.
    let (_directory, path) = file_with(&[PASSPHRASE, b"\n"].concat());
    assert_eq!(
        open(&path, Some(STORED), &mut Endless::new()).unwrap(),
        "1340660f590c82c8"
    );
    assert_eq!(passphrase(PASSPHRASE).unwrap(), PASSPHRASE);
}

#[test]
fn parameters_are_text_and_back() {
    let parameters: PassphraseParameters = STORED.parse().unwrap();
    assert_eq!(parameters.to_string(), STORED);
    let generated = PassphraseParameters::generate().unwrap();
    assert_eq!(
        generated.to_string().parse::<PassphraseParameters>().unwrap(),
        generated
    );
    assert!(
        generated
            .to_string()
            .starts_with("$argon2id$v=19$m=65536,t=3,p=4$")
    );
    assert_ne!(generated, PassphraseParameters::generate().unwrap());
}

#[test]
fn parameters_that_mean_something_else_are_refused() {
    let salt = "EBESExQVFhcYGRobHB0eHw";
    for (text, expected) in [
        (String::new(), "Syntax"),
        (STORED[1..].to_owned(), "Syntax"),
        (format!("{STORED}$AAAAAAAAAAAAAAAAAAAAAA"), "Syntax"),
        (format!("{STORED}="), "Syntax"),
        (format!("$argon2id$v=19$m=4294967296,t=3,p=4${salt}"), "Cost"),
        (format!("$argon2i$v=19$m=65536,t=3,p=4${salt}"), "Algorithm"),
        (format!("$argon2id$v=16$m=65536,t=3,p=4${salt}"), "Algorithm"),
        (format!("$argon2id$m=65536,t=3,p=4${salt}"), "Algorithm"),
        (format!("$argon2id$v=19$m=65535,t=3,p=4${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=4194304,t=3,p=4${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=65536,t=2,p=4${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=65536,t=1000,p=4${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=65536,t=3,p=0${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=65536,t=3,p=17${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=65536,t=3${salt}"), "Cost"),
        (format!("$argon2id$v=19$m=65536,t=3,p=4,data=AAAA${salt}"), "Cost"),
        (
            "$argon2id$v=19$m=65536,t=3,p=4$EBESExQVFhcYGRo".to_owned(),
            "Salt",
        ),
        ("$argon2id$v=19$m=65536,t=3,p=4".to_owned(), "Salt"),
    ] {
        let error = text.parse::<PassphraseParameters>().unwrap_err();
        assert_eq!(format!("{error:?}"), expected, "{text}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn nothing_is_derived_without_stored_parameters() {
    assert_eq!(problem(PASSPHRASE, None), PassphraseProblem::NoParameters);
}

#[test]
fn the_passphrase_is_one_long_line() {
    for (content, expected) in [
        (&b""[..], PassphraseProblem::File(FileProblem::Empty)),
        (b"\n", PassphraseProblem::TooShort),
        (b"fourteen bytes\n", PassphraseProblem::TooShort),
        (
            b"correct horse battery staple\n\n",
            PassphraseProblem::SeveralLines,
        ),
        (
            b"correct horse battery staple\r\n",
            PassphraseProblem::SeveralLines,
        ),
        (b"correct horse\nbattery staple", PassphraseProblem::SeveralLines),
        (
            &[b'x'; 1026],
            PassphraseProblem::File(FileProblem::Size { size: 1026 }),
        ),
    ] {
        assert_eq!(problem(content, Some(STORED)), expected);
    }
    assert_eq!(passphrase(b"fifteen bytes!!").unwrap(), b"fifteen bytes!!");
    assert_eq!(
        passphrase(b"\xff\xfenot UTF-8 at all\n").unwrap(),
        b"\xff\xfenot UTF-8 at all"
    );
}

#[test]
fn the_file_obeys_the_rules_of_secret_files() {
    let (_directory, path) = file_with(PASSPHRASE);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let error = open(&path, Some(STORED), &mut Endless::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "passphrase file \"{}\" has group or world access (mode 0644)",
            path.display()
        )
    );
}

#[test]
fn an_interrupt_comes_before_the_work() {
    let (_directory, path) = file_with(PASSPHRASE);
    let error = open(&path, Some(STORED), &mut Until(Instant::now())).unwrap_err();
    assert!(matches!(error, ProviderError::Interrupted(_)));
}
