//! What a model's API takes, by its generation: the API refuses what a generation no longer has.

/// A model's version, as its name tells it. A name that tells none counts as the newest: what it takes is what every
/// model to come takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u32, u32);

/// A number as long as this in a name is a date.
const MAX_VERSION_DIGITS: usize = 2;

impl Generation {
    /// Of `claude-3-7-sonnet-20250219`, `claude-opus-4-6`, `anthropic.claude-sonnet-4-5-20250929-v1:0`.
    pub(super) fn of(model: &str) -> Self {
        let tail = model.split_once("claude").map_or("", |(_, tail)| tail);
        let words = tail.split(['-', '.', '@', ':', '_']);
        // Words between the two numbers end the version: `4-latest`, `3-haiku-20240307`.
        let mut numbers = words
            .map(|word| word.parse::<u32>().ok().filter(|_| word.len() <= MAX_VERSION_DIGITS))
            .skip_while(Option::is_none)
            .map_while(|number| number);
        match numbers.next() {
            Some(major) => Self(major, numbers.next().unwrap_or(0)),
            None => Self(u32::MAX, 0),
        }
    }

    /// An answer can be begun for it, and it goes on from there.
    pub(super) fn takes_a_beginning(self) -> bool {
        self < Self(4, 6)
    }

    /// It takes a budget of tokens for its thoughts.
    pub(super) fn thinks_by_budget(self) -> bool {
        Self(3, 7) <= self && self < Self(4, 6)
    }

    /// It decides by itself how long to think, by an effort that is asked for.
    pub(super) fn thinks_by_effort(self) -> bool {
        Self(4, 6) <= self
    }

    /// It takes `temperature`, `top_p` and `top_k`.
    pub(super) fn samples(self) -> bool {
        self < Self(4, 7)
    }

    /// The longest answer where nobody says: what the smallest model of its generation can write, and no more than
    /// an answer needs that is not a book.
    pub(super) fn max_tokens(self) -> u32 {
        match self {
            Self(..3, _) | Self(3, ..5) => 4_096,
            Self(3, _) => 8_192,
            _ => 32_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_version() {
        for (name, major, minor) in [
            ("claude-3-haiku-20240307", 3, 0),
            ("claude-3-5-sonnet-latest", 3, 5),
            ("claude-3-7-sonnet-20250219", 3, 7),
            ("claude-opus-4-20250514", 4, 0),
            ("claude-sonnet-4-5-20250929", 4, 5),
            ("claude-opus-4-6", 4, 6),
            ("anthropic/claude-haiku-4.5", 4, 5),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 4, 5),
            ("claude-sonnet-5", 5, 0),
            ("claude-2.1", 2, 1),
            ("some-model-2", u32::MAX, 0),
            ("claude-next", u32::MAX, 0),
        ] {
            assert_eq!(Generation::of(name), Generation(major, minor), "{name}");
        }
    }
}
