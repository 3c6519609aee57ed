//! Which of a route's requests are run once more on another route.

use super::strategy::hash;
use crate::id::TaskId;
use std::sync::Arc;

/// A share's whole: a millionth is the least.
const WHOLE: u32 = 1_000_000;

/// A share of a route's requests, and where they are run once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The other route.
    pub route: Arc<str>,
    /// How many of a million.
    pub per_million: u32,
}

impl Shadow {
    /// Whether a task is one of the share: always the same for the same task.
    pub fn takes(&self, task: TaskId) -> bool {
        let hash = hash(task.to_string().as_bytes());
        // The high bits of the product are even; the low ones of a sum of products need not be.
        (u128::from(hash) * u128::from(WHOLE)) >> 64 < u128::from(self.per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Durability;
    use crate::time::Timestamp;

    #[test]
    fn a_share_is_a_share_of_the_tasks_and_the_same_ones_each_time() {
        let shadow = Shadow { route: "other".into(), per_million: 100_000 };
        let id = |number: u128| {
            TaskId::new(
                Timestamp::from_millis(1_000),
                number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
                Durability::Durable,
            )
        };
        let taken = (0..10_000).filter(|number| shadow.takes(id(*number))).count();
        assert!((800..1200).contains(&taken), "{taken} of 10,000");
        assert!((0..100).all(|number| shadow.takes(id(number)) == shadow.takes(id(number))));
        let all = Shadow { per_million: WHOLE, ..shadow.clone() };
        assert!((0..1000).all(|number| all.takes(id(number))));
        let none = Shadow { per_million: 0, ..shadow };
        assert!(!(0..1000).any(|number| none.takes(id(number))));
    }
}
