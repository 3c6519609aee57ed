//! Where a reader stands in a log, and what a frame of events means to it.

/// A place in a log: an event that was seen, and the incarnation of the log that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The epoch; without one: the epoch there is.
    pub epoch: Option<u32>,
    /// The offset of the last event that was seen.
    pub offset: u64,
}

/// The offsets that a frame of events covers: `from`, up to and without `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) epoch: u32,
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    epoch: Option<u32>,
    /// The offset of the next event; `None` is wherever the log begins.
    next: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The frame goes on where the last one ended.
    Next,
    /// All of it has been seen.
    Seen,
    /// Something is missing, or is of another epoch.
    Gap,
}

impl Cursor {
    pub(super) fn after(position: Option<Position>) -> Self {
        match position {
            Some(Position { epoch, offset }) => Self { epoch, next: Some(offset + 1) },
            None => Self::default(),
        }
    }

    /// The start of a log whose epoch is known: nothing before offset 0 was trimmed, for it is new.
    pub(super) fn start_of(epoch: u32) -> Self {
        Self { epoch: Some(epoch), next: Some(0) }
    }

    /// What `follow` asks for; `None` is the start.
    pub(super) fn position(&self) -> Option<Position> {
        let offset = self.next?.checked_sub(1)?;
        Some(Position { epoch: self.epoch, offset })
    }

    pub(super) fn learn(&mut self, epoch: u32) {
        self.epoch.get_or_insert(epoch);
    }

    pub(super) fn judge(&self, Span { epoch, from, to }: Span) -> Verdict {
        if self.epoch.is_some_and(|known| known != epoch) {
            return Verdict::Gap;
        }
        match self.next {
            None => Verdict::Next,
            Some(next) if next == from => Verdict::Next,
            Some(next) if to <= next => Verdict::Seen,
            // A frame that begins before `next` and ends after it can't be cut: text may be merged across.
            Some(_) => Verdict::Gap,
        }
    }

    pub(super) fn advance(&mut self, Span { epoch, to, .. }: Span) {
        *self = Self { epoch: Some(epoch), next: Some(to) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(epoch: u32, from: u64, to: u64) -> Span {
        Span { epoch, from, to }
    }

    #[test]
    fn a_frame_is_next_seen_or_after_a_gap() {
        let mut cursor = Cursor::after(None);
        assert_eq!(cursor.position(), None);
        assert_eq!(cursor.judge(span(7, 4, 6)), Verdict::Next, "a trimmed log begins where it begins");
        cursor.advance(span(7, 4, 6));
        assert_eq!(cursor.position(), Some(Position { epoch: Some(7), offset: 5 }));
        assert_eq!(cursor.judge(span(7, 6, 9)), Verdict::Next);
        assert_eq!(cursor.judge(span(7, 4, 6)), Verdict::Seen);
        assert_eq!(cursor.judge(span(7, 5, 7)), Verdict::Gap);
        assert_eq!(cursor.judge(span(7, 7, 8)), Verdict::Gap);
        assert_eq!(cursor.judge(span(8, 6, 9)), Verdict::Gap);
        assert_eq!(Cursor::start_of(7).judge(span(7, 1, 2)), Verdict::Gap);
        assert_eq!(Cursor::start_of(7).position(), None);
    }
}
