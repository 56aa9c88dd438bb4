//! Paths as words that can be pasted into a shell, for hints.

use std::fmt;
use std::path::Path;

/// Displays a path so that a POSIX shell reads it as one word.
pub(crate) struct ShellWord<'a>(pub(crate) &'a Path);

impl fmt::Display for ShellWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            f.write_str(&word)
        } else {
            write!(f, "'{}'", word.replace('\'', r"'\''"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_need_quotes_get_them() {
        for (path, word) in [
            ("/etc/root.key", "/etc/root.key"),
            ("/etc/my key", "'/etc/my key'"),
            ("/etc/$(id)", "'/etc/$(id)'"),
            ("/it's", r"'/it'\''s'"),
        ] {
            assert_eq!(ShellWord(Path::new(path)).to_string(), word);
        }
    }
}
