//! The extension: a PostgreSQL shell around `pg_encrypt_core` and `pg_encrypt_providers`.
pgrx::pg_module_magic!();
