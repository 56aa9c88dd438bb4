//! Settings. The only file that declares them.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static ROOT_KEY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ALLOW_RETIRED_KEYS: GucSetting<bool> = GucSetting::<bool>::new(false);
static ALLOW_DROP: GucSetting<bool> = GucSetting::<bool>::new(false);
static COMPRESS: GucSetting<bool> = GucSetting::<bool>::new(false);
static REVEAL: GucSetting<Reveal> = GucSetting::<Reveal>::new(Reveal::Auto);
static ROTATE_DUE_KEYS: GucSetting<bool> = GucSetting::<bool>::new(false);
static OWN_DDL: GucSetting<bool> = GucSetting::<bool>::new(false);
static KEY_CACHE_TTL: GucSetting<i32> = GucSetting::<i32>::new(0);

/// When output of encrypted types is plaintext, for roles that may decrypt.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Reveal {
    /// Except in dumps and logical replication, and for superusers without a grant of their own.
    Auto,
    On,
    Off,
}

/// While the setting is declared, PostgreSQL assigns what the configuration files said before the library was loaded.
static DECLARING: AtomicBool = AtomicBool::new(false);

/// Declares every setting and reserves the prefix, so that a misspelt one is an error.
pub fn declare() {
    DECLARING.store(true, Ordering::Relaxed);
    // SAFETY: the hook has the declared type and lives as long as the process.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_encrypt.root_key",
            c"Where the root key, which wraps all other keys, comes from.",
            c"A location such as file:/etc/pg_encrypt/root.key, command:/usr/local/bin/get-root-key or env:NAME. \
              Empty means the file pg_encrypt_root.key in the data directory, which protects dumps but not copies of \
              the data directory.",
            &ROOT_KEY,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check_root_key),
            None,
            None,
        );
    }
    DECLARING.store(false, Ordering::Relaxed);
    GucRegistry::define_bool_guc(
        c"pg_encrypt.allow_retired_keys",
        c"Lets values under retired keys be decrypted.",
        c"For looking into old backups. Values found this way should be re-encrypted under the active key.",
        &ALLOW_RETIRED_KEYS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_encrypt.allow_drop",
        c"Lets DROP EXTENSION with CASCADE drop columns that hold encrypted data.",
        c"The keys are dropped with the extension, so that no copy of the data outside this database can be read either, \
          unless a dump has the keys.",
        &ALLOW_DROP,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_encrypt.compress",
        c"Compresses values above 1,024 bytes before encryption when that saves an eighth.",
        c"The length of a compressed value tells something about its content; leave it off where an attacker can \
          choose part of the value and see its length.",
        &COMPRESS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"pg_encrypt.reveal",
        c"Whether output of encrypted types is plaintext, for roles with the decrypt privilege.",
        c"auto: yes, except in pg_dump, in logical replication, and for superusers without a grant of their own. on: \
          always. off: never; output is the stored value in hex, which can be written back.",
        &REVEAL,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_encrypt.key_cache_ttl",
        c"How long a session keeps a key in memory before it asks the root-key provider again.",
        c"0 keeps keys until the session ends. A limit makes a root key that was withdrawn take effect in sessions \
          that are open, and costs one request to the provider per key and interval.",
        &KEY_CACHE_TTL,
        0,
        7 * 24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"pg_encrypt.rotate_due_keys",
        c"Rotates keys whose rotation period has passed, and starts re-encryption.",
        c"Needs pg_encrypt in shared_preload_libraries: its launcher looks once a minute.",
        &ROTATE_DUE_KEYS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // For the extension's functions: only a superuser sets it, and nobody is shown it.
    GucRegistry::define_bool_guc(
        c"pg_encrypt.own_ddl",
        c"Whether DDL is a part of a step of a migration, which event triggers leave alone.",
        c"Set by functions of the extension around statements of their own.",
        &OWN_DDL,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE,
    );
    // SAFETY: after all settings with the prefix are declared.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"pg_encrypt".as_ptr()) }
}

/// The configured location of the root key; `None` when unset or empty.
pub fn root_key() -> Option<CString> {
    ROOT_KEY.get().filter(|location| !location.is_empty())
}

pub fn allow_retired_keys() -> bool {
    ALLOW_RETIRED_KEYS.get()
}

pub fn allow_drop() -> bool {
    ALLOW_DROP.get()
}

#[inline]
pub fn compress() -> bool {
    COMPRESS.get()
}

#[inline]
pub fn reveal() -> Reveal {
    REVEAL.get()
}

pub fn rotate_due_keys() -> bool {
    ROTATE_DUE_KEYS.get()
}

/// `None`: for the whole session.
#[inline]
pub fn key_cache_ttl() -> Option<Duration> {
    match KEY_CACHE_TTL.get() {
        0 => None,
        seconds => Some(Duration::from_secs(seconds.unsigned_abs().into())),
    }
}

/// Refuses a location that could never work when it is set, not when it is first needed.
///
/// A refusal makes PostgreSQL keep the old value. Where there is no old value that would be the default, a root key in the
/// data directory, which the first key would then make without anybody having asked for it. So a location that is there
/// when the library is loaded (from a configuration file), or that a parallel worker takes over from its leader, is
/// accepted, and fails with the same explanation when the root key is needed.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_root_key(
    new_value: *mut *mut core::ffi::c_char,
    _extra: *mut *mut core::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a pointer to a possibly null, terminated string.
    let text = unsafe {
        match (*new_value).is_null() {
            true => return true,
            false => CStr::from_ptr(*new_value),
        }
    };
    match text.to_str() {
        Ok("") => true,
        Ok(text) => match text.parse::<pg_encrypt_providers::RootLocation>() {
            Ok(_) => true,
            Err(error) => refuse(&error.to_string()),
        },
        Err(_) => refuse("the location is not valid UTF-8"),
    }
}

fn refuse(detail: &str) -> bool {
    // SAFETY: reads a variable of the backend.
    if DECLARING.load(Ordering::Relaxed) || unsafe { pg_sys::InitializingParallelWorker } {
        return true;
    }
    set_check_error(detail);
    false
}

/// PostgreSQL's own message would repeat the value, which may be a key that somebody took for a location.
fn set_check_error(detail: &str) {
    let Ok(detail) = CString::new(detail) else { return };
    // SAFETY: as the macros GUC_check_errmsg and GUC_check_errdetail do: palloc'd strings that PostgreSQL reports and
    // frees.
    unsafe {
        pg_sys::GUC_check_errmsg_string =
            pg_sys::pstrdup(c"invalid value for parameter \"pg_encrypt.root_key\"".as_ptr());
        pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(detail.as_ptr());
    }
}
