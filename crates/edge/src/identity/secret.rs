//! What a caller shows to prove who it is: made of randomness, kept as a hash, compared in constant time.

use std::fmt::Write;
use subtle::ConstantTimeEq;
use tidewire_core::KeyId;
use tidewire_core::port::Clock;

/// What every key begins with, so that it is found where it does not belong.
const PREFIX: &str = "tw_";

/// Numbers of 64 random bits in a secret: 192 bits, which nobody guesses.
const NUMBERS: usize = 3;

/// BLAKE3 of a secret.
#[derive(Clone, Copy)]
pub(super) struct Hash([u8; 32]);

impl Hash {
    pub(super) fn of(secret: &str) -> Self {
        Self(*blake3::hash(secret.as_bytes()).as_bytes())
    }

    /// Whether both are of the same secret, in a time that does not tell how much of them is.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }

    /// Where it is found in a table. The hash of what nobody can guess tells nothing by how long the search takes.
    pub(super) fn bytes(self) -> [u8; 32] {
        self.0
    }
}

fn random(clock: &dyn Clock) -> String {
    let mut text = String::with_capacity(16 * NUMBERS);
    for _ in 0..NUMBERS {
        // Writing to a string can't fail.
        let _ = write!(text, "{:016x}", clock.random());
    }
    text
}

/// A fresh key: its public name, and the whole of it.
pub(super) fn fresh_key(clock: &dyn Clock) -> (KeyId, String) {
    let id = KeyId(clock.random());
    (id, format!("{PREFIX}{:016x}_{}", id.0, random(clock)))
}

/// A fresh secret that stands for something for a while.
pub(super) fn fresh(prefix: &str, clock: &dyn Clock) -> String {
    format!("{prefix}{}", random(clock))
}

/// The public name in a key; `None` where it is none of ours.
pub(super) fn key_id(secret: &str) -> Option<KeyId> {
    let (id, _) = secret.strip_prefix(PREFIX)?.split_once('_')?;
    if id.len() != 16 {
        return None;
    }
    u64::from_str_radix(id, 16).ok().map(KeyId)
}
