//! Facts for `check_configuration`.

use crate::pg::secret;
use crate::sql_function;

sql_function! {
    fn key_memory_is_locked(_call) {
        let protection = secret::protection();
        Ok((protection.regions > 0).then(|| (protection.unlocked_regions == 0).into()))
    }
}
