//! Who pays for a task, within its tenant.

use crate::id::KeyId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who asked for a task: what its usage is counted under, beside its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Payer {
    /// The key that it came with; none on an open loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The user within the tenant whom the answer is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
}

impl Payer {
    /// serde's `skip_serializing_if`.
    pub(crate) fn is_nobody(&self) -> bool {
        *self == Self::default()
    }
}
