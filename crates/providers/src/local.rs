//! The provider for every root key that is read into memory, wherever it was read from.

use pg_encrypt_core::key::{DataKey, KeyId, Purpose};
use pg_encrypt_core::wrap::LocalRoot;
use zeroize::Zeroizing;

use crate::{Patience, ProviderError, RootKeyProvider};

/// A root key in this process's memory. Its operations are computations: they never wait.
pub(crate) struct LocalProvider {
    root: LocalRoot,
    id: String,
}

impl LocalProvider {
    pub(crate) fn new(root: &Zeroizing<[u8; 32]>) -> Self {
        let root = LocalRoot::from_bytes(**root);
        let id = root.root_id();
        Self { root, id }
    }
}

impl RootKeyProvider for LocalProvider {
    fn root_id(&self) -> &str {
        &self.id
    }

    fn wrap(
        &self,
        key: &DataKey,
        id: KeyId,
        purpose: Purpose,
        _: &mut dyn Patience,
    ) -> Result<Vec<u8>, ProviderError> {
        Ok(self.root.wrap(key, id, purpose)?)
    }

    fn unwrap(
        &self,
        wrapped: &[u8],
        id: KeyId,
        purpose: Purpose,
        _: &mut dyn Patience,
    ) -> Result<DataKey, ProviderError> {
        Ok(self.root.unwrap(wrapped, id, purpose)?)
    }
}
