//! The command line of `command:`: a program and its arguments, without a shell.

use std::fmt;
use std::path::PathBuf;

use crate::{AbsolutePath, LocationError};

/// A program and its arguments.
///
/// Words are separated by spaces and tabs. Between two `'` or two `"` every character, the other quotation
/// mark included, stands for itself; quoted and unquoted pieces without a space between them are one word,
/// and `''` is an empty one. Nothing else is special: no backslash, variable, wildcard, pipe or redirection.
///
/// `Display` and `Debug` show the program and how many arguments there are: an argument may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    program: AbsolutePath,
    arguments: Vec<String>,
}

impl CommandLine {
    pub(crate) fn parse(text: &str) -> Result<Self, LocationError> {
        let mut words = split(text)?.into_iter();
        let program = words.next().ok_or(LocationError::NotAbsolute)?;
        Ok(Self {
            program: AbsolutePath::new(PathBuf::from(program))?,
            arguments: words.collect(),
        })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &AbsolutePath {
        &self.program
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arguments.len() {
            0 => write!(f, "{}", self.program),
            1 => write!(f, "{} (and 1 argument)", self.program),
            count => write!(f, "{} (and {count} arguments)", self.program),
        }
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandLine").field(&self.to_string()).finish()
    }
}

fn split(text: &str) -> Result<Vec<String>, LocationError> {
    let mut words = Vec::new();
    // None between two words: an empty word and no word are not the same.
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let (quoted, after) = rest.as_str().split_once(c).ok_or(LocationError::UnclosedQuote)?;
                word.get_or_insert_default().push_str(quoted);
                rest = after.chars();
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_documented() {
        for (text, words) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("/bin/a", &["/bin/a"]),
            ("  /bin/a \t b  c ", &["/bin/a", "b", "c"]),
            ("/bin/a 'b c' \"d e\"", &["/bin/a", "b c", "d e"]),
            ("'/my programs/a' b", &["/my programs/a", "b"]),
            ("/bin/a --key='x y'z", &["/bin/a", "--key=x yz"]),
            ("/bin/a '' \"\"", &["/bin/a", "", ""]),
            (r#"/bin/a "it's" 'say "x"'"#, &["/bin/a", "it's", "say \"x\""]),
            (
                r"/bin/a \n $HOME * | > 'a\'",
                &["/bin/a", r"\n", "$HOME", "*", "|", ">", r"a\"],
            ),
            ("/bin/a ü\u{a0}b", &["/bin/a", "ü\u{a0}b"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn a_quotation_mark_needs_its_counterpart() {
        for text in ["'", "/bin/a \"b", "/bin/a 'b\"", "/bin/a 'b' '"] {
            assert_eq!(split(text), Err(LocationError::UnclosedQuote), "{text}");
        }
    }

    #[test]
    fn an_empty_first_word_is_no_program() {
        assert_eq!(
            CommandLine::parse("'' /bin/a").err(),
            Some(LocationError::NotAbsolute)
        );
    }
}
