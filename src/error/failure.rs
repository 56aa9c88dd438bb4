//! An error that was caught, to be written down and survived.

use super::Error;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};

pub struct Failure {
    code: PgSqlErrorCode,
    message: String,
    /// Whether a function in PL/pgSQL raised it: what that says is up to whoever wrote the function.
    by_user_code: bool,
    caught: Option<Box<CaughtError>>,
}

impl Failure {
    /// What was raised while SQL or our own code ran.
    pub fn caught(caught: CaughtError) -> Self {
        let report = match &caught {
            CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. } => report,
        };
        Self {
            code: report.sql_error_code(),
            message: report.message().to_owned(),
            by_user_code: report.function_name() == Some("exec_stmt_raise"),
            caught: Some(Box::new(caught)),
        }
    }

    pub(super) fn code(&self) -> PgSqlErrorCode {
        self.code
    }

    /// What may be written down where everyone reads it: messages about data quote it, and of those only the code is
    /// told.
    pub fn public_message(&self) -> String {
        let code = unpacked(self.code);
        match self.names_objects_only() && !self.by_user_code {
            true => format!("{} (SQLSTATE {code})", self.message),
            false => format!("SQLSTATE {code}"),
        }
    }

    /// Raises it again.
    pub fn raise(self) -> ! {
        match self.caught {
            Some(caught) => caught.rethrow(),
            None => {
                ErrorReport::new(self.code, self.message, "pg_encrypt").report(pgrx::PgLogLevel::ERROR);
                unreachable!("ERROR does not return")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: error.code(),
            message: error.message(),
            by_user_code: false,
            caught: None,
        }
    }
}

/// The five characters of an SQLSTATE, which PostgreSQL packs into six bits each.
fn unpacked(code: PgSqlErrorCode) -> String {
    let packed = code as i32;
    (0..5)
        .map(|n| char::from(b'0' + ((packed >> (6 * n)) & 0x3f) as u8))
        .collect()
}
