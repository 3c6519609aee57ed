//! Days and months of UTC, by number.

use crate::time::Timestamp;
use std::time::Duration;

const DAY_MICROS: u64 = 86_400_000_000;

/// The day, counted from 1970.
pub fn day(at: Timestamp) -> u32 {
    u32::try_from(at.as_micros() / DAY_MICROS).unwrap_or(u32::MAX)
}

/// The month, counted from the year 0, and the day on which the next one begins.
pub(super) fn month(at: Timestamp) -> (u32, u32) {
    let (year, month) = civil(day(at));
    let this = year * 12 + month - 1;
    let next = this + 1;
    (this, first_day(next / 12, next % 12 + 1))
}

/// The day on which this month began.
pub fn first_of_month(at: Timestamp) -> u32 {
    let (year, month) = civil(day(at));
    first_day(year, month)
}

/// How long until the day is over.
pub(super) fn until_tomorrow(at: Timestamp) -> Duration {
    until(at, day(at).saturating_add(1))
}

/// How long until the month is over.
pub(super) fn until_next_month(at: Timestamp) -> Duration {
    until(at, month(at).1)
}

fn until(at: Timestamp, day: u32) -> Duration {
    Timestamp::from_micros(u64::from(day) * DAY_MICROS).since(at)
}

/// Year and month (1 to 12) of a day. From <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>, for
/// days after 1970.
fn civil(day: u32) -> (u32, u32) {
    let shifted = u64::from(day) + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (u32::try_from(year).unwrap_or(u32::MAX / 16), u32::try_from(month).unwrap_or(1))
}

/// The first day of a month: the inverse of [`civil`], from the same source.
fn first_day(year: u32, month: u32) -> u32 {
    let year = year - u32::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32) -> Timestamp {
        Timestamp::from_micros(u64::from(day) * DAY_MICROS + 1)
    }

    #[test]
    fn every_month_follows_the_one_before_and_has_its_length() {
        let mut first = 0;
        for number in 1970 * 12..2200 * 12 {
            let (year, month_of_year) = (number / 12, number % 12 + 1);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month_of_year {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(month(at(first)), (number, first + length), "{year}-{month_of_year}");
            assert_eq!(month(at(first + length - 1)), (number, first + length), "{year}-{month_of_year}");
            first += length;
        }
    }

    #[test]
    fn a_day_ends_at_midnight_and_a_month_on_its_last_day() {
        // 2025-06-15, 15:06:40.
        let at = Timestamp::from_millis(1_750_000_000_000);
        assert_eq!(day(at), 20_254);
        assert_eq!(until_tomorrow(at), Duration::from_secs(8 * 3600 + 53 * 60 + 20));
        assert_eq!(until_next_month(at), until_tomorrow(at) + Duration::from_hours(15 * 24));
    }
}
