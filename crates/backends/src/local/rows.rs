//! Which of the model's sequences a step computes: those that have a token to read, and fillers beside them
//! that make the step faster though nothing is read from them.

/// llama.cpp multiplies by four rows at a time and the rest one by one, so 7 rows take a quarter longer than 8.
const TOGETHER: usize = 4;

/// Sequences whose numbers do not follow each other are computed in calls of their own. That costs as much as
/// two rows, so a gap of one is better computed too.
const BRIDGED: usize = 1;

/// The numbers to compute, in order, for these that have to be, which are in order too and below `slots`.
pub(super) fn with_fillers(wanted: &[usize], slots: usize) -> Vec<usize> {
    let mut rows = Vec::with_capacity(slots);
    for run in wanted.chunk_by(|before, after| after - before <= BRIDGED + 1) {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
        // What the run before was rounded up with may reach into this one.
        let first = rows.last().map_or(first, |&used| first.max(used + 1));
        let more = fillers((last + 1).saturating_sub(first));
        let last = (last + more).min(slots - 1);
        rows.extend(first..=last);
    }
    rows
}

/// How many fillers make this many rows cheaper: none where there is more to compute than to gain.
fn fillers(rows: usize) -> usize {
    match rows % TOGETHER {
        3 => 1,
        2 if rows > TOGETHER => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn small_gaps_are_bridged_and_large_ones_are_not() {
        assert_eq!(with_fillers(&[0, 2], 32), [0, 1, 2, 3]);
        assert_eq!(with_fillers(&[0, 3], 32), [0, 3]);
        assert_eq!(with_fillers(&[5], 32), [5]);
        assert!(with_fillers(&[], 32).is_empty());
    }

    #[test]
    fn rows_are_rounded_up_where_that_is_cheaper() {
        let rows = |count: usize| with_fillers(&(0..count).collect::<Vec<_>>(), 32).len();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32].map(rows), [1, 2, 4, 4, 5, 8, 8, 8, 9, 32, 32]);
    }

    #[test]
    fn there_is_no_filler_where_there_is_no_sequence() {
        assert_eq!(with_fillers(&[0, 1, 2], 3), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn all_that_is_wanted_comes_once_and_in_order(wanted in prop::collection::btree_set(0_usize..32, 0..32)) {
            let given: Vec<usize> = wanted.iter().copied().collect();
            let rows = with_fillers(&given, 32);
            prop_assert!(rows.is_sorted_by(|before, after| before < after));
            prop_assert!(rows.iter().all(|&row| row < 32));
            prop_assert!(rows.iter().copied().collect::<BTreeSet<_>>().is_superset(&wanted));
        }
    }
}
