//! What each state of a key permits, and which state may follow which.
//!
//! | state | encrypt | decrypt | index a value | search |
//! |---|---|---|---|---|
//! | active | yes | yes | yes | yes |
//! | rotating | no | yes | no | yes |
//! | retired | no | only if retired keys are allowed | no | no |
//!
//! A destroyed key is a retired key without its wrapped material. That is a fact beside the state, not a fourth state:
//! [`KeyState::permits`] is asked only for keys that still exist.

use core::fmt;
use core::str::FromStr;

/// The state of one key version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// New values are sealed under it. Exactly one per name and purpose.
    Active,
    /// Replaced by a newer version; its values are being re-encrypted.
    Rotating,
    /// Proved unused.
    Retired,
}

/// What somebody wants to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// Seal a new value.
    Encrypt,
    /// Open a stored value.
    Decrypt,
    /// Make the token that is stored with a value.
    IndexValue,
    /// Make the token that a query compares with.
    Search,
}

impl KeyState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Rotating, Self::Retired];

    /// The word that stands for the state in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rotating => "rotating",
            Self::Retired => "retired",
        }
    }

    /// Whether a key in this state may be used so. `allow_retired` lets retired keys decrypt, nothing else.
    pub const fn permits(self, usage: KeyUse, allow_retired: bool) -> bool {
        match (self, usage) {
            (Self::Active, _) => true,
            (Self::Rotating, KeyUse::Decrypt | KeyUse::Search) => true,
            (Self::Rotating, KeyUse::Encrypt | KeyUse::IndexValue) => false,
            (Self::Retired, KeyUse::Decrypt) => allow_retired,
            (Self::Retired, KeyUse::Encrypt | KeyUse::IndexValue | KeyUse::Search) => false,
        }
    }

    /// Whether a key may go from this state to `next`: rotation makes `active` to `rotating`, aborting a rotation the
    /// reverse, retirement `rotating` to `retired`. Nothing leaves `retired`. Staying where it is is no transition.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Active, Self::Rotating) | (Self::Rotating, Self::Active | Self::Retired)
        )
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`KeyState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownKeyState;

impl fmt::Display for UnknownKeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown key state")
    }
}

impl std::error::Error for UnknownKeyState {}

impl FromStr for KeyState {
    type Err = UnknownKeyState;

    fn from_str(word: &str) -> Result<Self, UnknownKeyState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or(UnknownKeyState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USES: [KeyUse; 4] = [
        KeyUse::Encrypt,
        KeyUse::Decrypt,
        KeyUse::IndexValue,
        KeyUse::Search,
    ];

    #[test]
    fn permissions_are_exactly_the_documented_table() {
        for allow_retired in [false, true] {
            let table = [
                (KeyState::Active, [true, true, true, true]),
                (KeyState::Rotating, [false, true, false, true]),
                (KeyState::Retired, [false, allow_retired, false, false]),
            ];
            for (state, expected) in table {
                assert_eq!(
                    USES.map(|usage| state.permits(usage, allow_retired)),
                    expected,
                    "{state}"
                );
            }
        }
    }

    #[test]
    fn transitions_are_exactly_the_documented_ones() {
        let table = [
            (KeyState::Active, [false, true, false]),
            (KeyState::Rotating, [true, false, true]),
            (KeyState::Retired, [false, false, false]),
        ];
        for (state, expected) in table {
            assert_eq!(
                KeyState::ALL.map(|next| state.may_become(next)),
                expected,
                "{state}"
            );
        }
    }

    #[test]
    fn words_round_trip() {
        for state in KeyState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for word in ["", "Active", "active ", "destroyed"] {
            assert_eq!(word.parse::<KeyState>(), Err(UnknownKeyState), "{word:?}");
        }
    }
}
