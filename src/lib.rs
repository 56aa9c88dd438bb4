//! pg_encrypt: encrypted columns, blind indexes and key rotation inside PostgreSQL.
//!
//! The extension is a shell around two crates that know nothing of PostgreSQL: `pg_encrypt_core` (formats, keys,
//! ciphers, tokens) and `pg_encrypt_providers` (where the root key comes from). Each layer uses those below it; the last
//! three use each other, as every error is in one enum:
//!
//! ```text
//! api        what SQL calls: parse, call, return
//! migrate    dual write: triggers of migrating tables
//! jobs       work on all rows of tables, in short transactions
//! types      encrypted types: sealing, opening, comparing, making them
//! keyring    keys of this backend: resolved, unwrapped, cached, used
//! catalog    our own tables as typed rows, and all fixed SQL
//! plaintext  values of base types as bytes, and back
//! hex        bytes as bytea's text
//! pg         PostgreSQL's C interface; all unsafe code; no business words
//! error, guc every message and SQLSTATE; every setting
//! ```

mod api;
mod catalog;
mod error;
mod guc;
mod hex;
mod jobs;
mod keyring;
mod migrate;
mod plaintext;
mod types;
#[macro_use]
mod pg;

pgrx::pg_module_magic!();

/// Called once per process, when the library is loaded. In the postmaster too, if it is preloaded: nothing secret or
/// random may be drawn here, since every backend would inherit it.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::server::silence_backtraces();
    guc::declare();
    pg::inval::install();
    jobs::launcher::declare();
    pg::server_log::install();
    pg::planner::install(api::type_eq);
}
