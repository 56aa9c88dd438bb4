//! Encrypting a live table: what runs in the sessions of those who write to it.
//!
//! | module | answers |
//! |---|---|
//! | [`sync`] | what does a trigger of a migrating table do? |
//! | [`direct`] | may it take rows as the statement gave them? |
//! | [`single`] | how is a single row written? |
//! | [`statements`] | which statements is that, and how are they kept from call to call? |
//! | [`writes`] | what does the trigger of a decrypting view do? |
//! | [`write_statements`] | which statements is that, and how are they kept? |
//!
//! The statements themselves, planning, backfill and verification are SQL: `sql/87*` to `sql/89*`.

mod direct;
mod single;
mod statements;
pub mod sync;
mod write_statements;
pub mod writes;
