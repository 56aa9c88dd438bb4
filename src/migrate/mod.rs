//! Encrypting a live table: what runs in the sessions of those who write to it.
//!
//! | module | answers |
//! |---|---|
//! | [`sync`] | what does a trigger of a migrating table do? |
//! | [`direct`] | may it take rows as the statement gave them? |
//! | [`statements`] | which statements is that, and how are they kept from call to call? |
//!
//! The statements themselves, planning, backfill and verification are SQL: `sql/87*` and `sql/88*`.

mod direct;
mod statements;
pub mod sync;
