//! The functions that SQL calls: parse the arguments, call the layer below, return.
//!
//! | module | functions |
//! |---|---|
//! | [`ciphertext`] | input and output of type `encrypt.ciphertext`, `key_id`, `is_ciphertext` |
//! | [`values`] | `encrypt_column`, `encrypt_deterministic`, `decrypt_column` and kin, `reencrypt_column` |
//! | [`search`] | `blind_index`, `blind_index_all`, tokens of encrypted values |
//! | [`columns`] | references to columns; key ids and re-encryption of values of any encrypted type |
//! | [`keys`] | `create_key` to `destroy_key`, `mark_compromised` |
//! | [`rewrap`] | `rewrap_keys` |
//! | [`grants`] | `grant_key`, `revoke_key`, `has_key_privilege` |
//! | [`jobs`] | `run_job`, `start_workers` |
//! | [`session`] | who asks, and which transactions are there |
//! | [`types`] | `create_type`, `drop_type`, ANALYZE |
//! | [`type_io`] | input, output and casts of encrypted types |
//! | [`type_operators`] | their operators, comparators and hashes |
//! | [`configuration`] | facts for `check_configuration` |
//! | [`statements`] | statements that run with a user's rights |
//! | [`sync`] | triggers of migrating tables |
//! | [`guards`] | triggers on our own tables |
//! | [`event_triggers`] | event triggers, and what others of them ask |
//! | [`stored_expressions`] | what indexes, defaults and the like read |

mod ciphertext;
mod columns;
mod configuration;
mod event_triggers;
mod grants;
mod guards;
mod jobs;
mod keys;
mod rewrap;
mod search;
mod session;
mod statements;
mod stored_expressions;
mod sync;
mod type_io;
mod type_operators;
mod types;
mod values;

pub use type_operators::type_eq;
