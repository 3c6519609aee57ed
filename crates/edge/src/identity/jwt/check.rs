//! Whether a token is one of those that are taken: signature, issuer, audience, times.

use super::keys::{Keys, Source};
use super::{Algorithm, cryptography};
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::Value;
use std::time::Duration;
use tidewire_core::Timestamp;

/// What every token must be.
pub(in crate::identity) struct Expected {
    /// Signed so.
    pub(in crate::identity) algorithm: Algorithm,
    /// Issued by this one.
    pub(in crate::identity) issuer: String,
    /// For this one, perhaps among others.
    pub(in crate::identity) audience: String,
    /// How far the issuer's clock may be off.
    pub(in crate::identity) leeway: Duration,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::identity) enum Fault {
    /// In words that tell one who tries tokens out nothing.
    Refused(&'static str),
    /// It was a good one.
    Expired,
}

/// Checks tokens.
pub(in crate::identity) struct Check {
    validation: Validation,
    pub(in crate::identity) leeway: Duration,
    pub(in crate::identity) keys: Keys,
}

impl Check {
    pub(in crate::identity) fn new(expected: Expected, source: Source) -> Self {
        cryptography::install();
        let mut validation = Validation::new(expected.algorithm.of_library());
        validation.set_issuer(&[expected.issuer]);
        validation.set_audience(&[expected.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // The library would read the system's clock. Both are checked here, by the server's.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        Self { validation, leeway: expected.leeway, keys: Keys::new(expected.algorithm, source) }
    }

    /// Whether the key is there that the token names; it is asked for with the next fetch if it is not.
    pub(in crate::identity) fn knows_key_of(&self, token: &str) -> bool {
        decode_header(token).is_ok_and(|header| self.keys.find(header.kid.as_deref()).is_some())
    }

    /// A token's claims, where it is one of those that are taken.
    pub(in crate::identity) fn claims(&self, token: &str, now: Timestamp) -> Result<Value, Fault> {
        let header = decode_header(token).map_err(|_| Fault::Refused("it can't be read"))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(Fault::Refused("it is signed by another algorithm than this server takes"));
        }
        let key = self.keys.find(header.kid.as_deref()).ok_or(Fault::Refused("its key is not known"))?;
        // Why is the operator's to know: who tries tokens out must learn nothing.
        let claims: Value = decode(token, &key, &self.validation)
            .map_err(|error| {
                tracing::debug!(%error, "a token was refused");
                Fault::Refused("its signature, issuer or audience is wrong, or a claim is missing")
            })?
            .claims;
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64).map(moment);
        if claims.get("nbf").is_some_and(|nbf| !nbf.is_null()) {
            let begins = seconds("nbf").ok_or(Fault::Refused("`nbf` is no time"))?;
            if begins > now.plus(self.leeway) {
                return Err(Fault::Refused("it is not valid yet"));
            }
        }
        let ends = seconds("exp").ok_or(Fault::Refused("`exp` is no time"))?;
        if ends.plus(self.leeway) <= now {
            return Err(Fault::Expired);
        }
        Ok(claims)
    }
}

/// Seconds since 1970, as tokens have them.
pub(super) fn moment(seconds: f64) -> Timestamp {
    // A cast of a float stops at the ends of the range; what is no number is 0, which has passed.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Timestamp::from_millis((seconds * 1000.0) as u64)
}
