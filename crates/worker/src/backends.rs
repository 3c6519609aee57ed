//! The backend of each deployment. A reload exchanges them; what runs keeps the one that it began with.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use tidewire_core::port::Backend;

/// Backends by the names of their deployments.
#[derive(Default)]
pub struct Backends(RwLock<HashMap<Arc<str>, Arc<dyn Backend>>>);

impl Backends {
    /// These.
    pub fn new(backends: HashMap<Arc<str>, Arc<dyn Backend>>) -> Self {
        Self(RwLock::new(backends))
    }

    /// From now on these.
    pub fn set(&self, backends: HashMap<Arc<str>, Arc<dyn Backend>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = backends;
    }

    /// A deployment's.
    pub fn get(&self, deployment: &str) -> Option<Arc<dyn Backend>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(deployment).cloned()
    }
}

impl<const N: usize> From<[(&str, Arc<dyn Backend>); N]> for Backends {
    fn from(backends: [(&str, Arc<dyn Backend>); N]) -> Self {
        Self::new(backends.into_iter().map(|(name, backend)| (name.into(), backend)).collect())
    }
}
