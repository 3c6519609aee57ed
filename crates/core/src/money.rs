//! Money, and what tokens cost.

use crate::ending::Usage;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Tokens that a price is given for.
const PRICED_TOKENS: u128 = 1_000_000;

/// Billionths of a US dollar: the cheapest token there is costs some ten of them, and the whole range is 18 billion
/// dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From dollars. What is negative or no number is nothing; what is too much is all there can be.
    pub fn from_dollars(dollars: f64) -> Self {
        // A cast of a float stops at the ends of the range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self((dollars * 1e9).round() as u64)
    }

    /// As dollars, for people and for JSON.
    pub fn dollars(self) -> f64 {
        // Exact up to nine million dollars.
        #[allow(clippy::cast_precision_loss)]
        let nanos = self.0 as f64;
        nanos / 1e9
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left; nothing where the other one is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// serde's `skip_serializing_if` passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "${}", self.dollars())
    }
}

/// What a model's tokens cost: each for a million of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Price {
    /// That it reads.
    pub input: Money,
    /// That it reads and had cached.
    pub cached_input: Money,
    /// That it reads and puts into its cache.
    pub cache_write: Money,
    /// That it writes, reasoning among them.
    pub output: Money,
}

impl Price {
    /// What this usage costs, rounded up, so that no token is free that has a price. Its `cost` is not looked at.
    pub fn of(&self, usage: &Usage) -> Money {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
        let part = |tokens: u64, price: Money| u128::from(tokens) * u128::from(price.0);
        let all = part(usage.input_tokens - cached - written, self.input)
            + part(cached, self.cached_input)
            + part(written, self.cache_write)
            + part(usage.output_tokens, self.output);
        Money(u64::try_from(all.div_ceil(PRICED_TOKENS)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_costs_the_sum_of_its_parts_rounded_up() {
        let price = Price {
            input: Money::from_dollars(0.15),
            cached_input: Money::from_dollars(0.075),
            cache_write: Money::from_dollars(0.2),
            output: Money::from_dollars(0.6),
        };
        let usage = Usage { input_tokens: 1000, cached_tokens: 400, output_tokens: 10, ..Usage::default() };
        // 600 x 150 + 400 x 75 + 10 x 600 nanodollars.
        assert_eq!(price.of(&usage), Money(126_000));
        // 100 of the 600 cost 200 each.
        assert_eq!(price.of(&Usage { cache_write_tokens: 100, ..usage }), Money(131_000));
        // An upstream that counts more parts than there is of the whole: none counts twice.
        let odd = Usage { input_tokens: 10, cached_tokens: 8, cache_write_tokens: 8, ..Usage::default() };
        assert_eq!(price.of(&odd), Money(8 * 75 + 2 * 200));
        let tiny = Price { input: Money(1), ..Price::default() };
        assert_eq!(tiny.of(&Usage { input_tokens: 1, ..Usage::default() }), Money(1));
        assert_eq!(Money::from_dollars(1.5).to_string(), "$1.5");
    }
}
