//! Our own tables as typed rows, and all fixed SQL on them.

pub mod encrypted_data;
pub mod grants;
pub mod jobs;
pub mod keys;
pub mod root_parameters;
pub mod sync_statements;
pub mod types;

use std::ffi::CStr;

/// The schema of everything, fixed by the install script.
pub const SCHEMA: &CStr = c"encrypt";
