use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;

use super::*;
use crate::file::read_root;
use crate::testing::is_ordinary_user;

fn names_in(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).unwrap().map(name).collect()
}

#[test]
fn a_new_file_is_a_key_file() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a.key", "b.key"].map(|name| directory.path().join(name));
    for path in &paths {
        create_key_file(path).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode(), 0o100_600);
        let content = fs::read(path).unwrap();
        assert_eq!((content.len(), content[64]), (65, b'\n'));
    }
    assert_eq!(names_in(directory.path()).len(), 2, "nothing temporary is left");
    assert_ne!(read_root(&paths[0]).unwrap(), read_root(&paths[1]).unwrap());
}

#[test]
fn a_name_of_the_greatest_length_is_possible() {
    let directory = tempfile::tempdir().unwrap();
    create_key_file(&directory.path().join("k".repeat(255))).unwrap();
    let failure = create_key_file(&directory.path().join("k".repeat(256))).unwrap_err();
    assert!(matches!(
        failure,
        CreateKeyError::Failed {
            step: CreateStep::Link,
            errno: Errno::NAMETOOLONG,
            ..
        }
    ));
    assert_eq!(names_in(directory.path()).len(), 1);
}

#[test]
fn whatever_has_the_name_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let [file, empty, dangling, folder] =
        ["file", "empty", "dangling", "folder"].map(|name| directory.path().join(name));
    fs::write(&file, "the old key").unwrap();
    fs::write(&empty, "").unwrap();
    symlink("nowhere", &dangling).unwrap();
    fs::create_dir(&folder).unwrap();
    for path in [&file, &empty, &dangling, &folder] {
        let failure = create_key_file(path).unwrap_err();
        assert!(
            matches!(&failure, CreateKeyError::Exists { path: named } if named == path),
            "{failure:?}"
        );
    }
    assert_eq!(fs::read(&file).unwrap(), b"the old key");
    assert_eq!(fs::read(&empty).unwrap(), b"");
    assert!(!directory.path().join("nowhere").exists());
    assert_eq!(names_in(directory.path()).len(), 4);
}

#[test]
fn of_several_creators_one_wins_and_its_key_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    let start = Barrier::new(8);
    let won = std::thread::scope(|scope| {
        let create = || {
            start.wait();
            create_key_file(&path)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(Result::is_ok)
            .count()
    });
    assert_eq!(won, 1);
    read_root(&path).unwrap();
    assert_eq!(names_in(directory.path()), ["root.key"]);
}

#[test]
fn the_directory_must_exist_and_be_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for (parent, expected) in [
        (directory.path().join("none"), Errno::NOENT),
        (file, Errno::NOTDIR),
    ] {
        let failure = create_key_file(&parent.join("root.key")).unwrap_err();
        assert!(
            matches!(failure, CreateKeyError::Failed { step: CreateStep::Directory, errno, .. }
                if errno == expected),
            "{failure:?}"
        );
    }
}

#[test]
fn a_directory_that_is_not_writable_is_an_error() {
    if !is_ordinary_user("a directory without write permission") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o500)).unwrap();
    let failure = create_key_file(&directory.path().join("root.key")).unwrap_err();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(
        failure,
        CreateKeyError::Failed {
            step: CreateStep::Create,
            errno: Errno::ACCESS,
            ..
        }
    ));
    assert!(failure.hint().contains(directory.path().to_str().unwrap()));
}

#[test]
fn only_the_absolute_path_of_a_file_will_do() {
    for path in ["", "root.key", "./root.key", "/", "/tmp/.."] {
        assert!(
            matches!(create_key_file(Path::new(path)), Err(CreateKeyError::Path { .. })),
            "{path:?}"
        );
    }
}
