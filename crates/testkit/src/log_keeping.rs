//! The suite for the port `LogKeeping`; the engine also keeps the logs.

use tidewire_core::port::{EventLog, LogKeeping};

mod expiry;
mod feed;
mod removals;
mod trims;

crate::suite::suite!(
    "LogKeeping",
    [EventLog, LogKeeping],
    [
        trims::trimming_leaves_a_snapshot_and_every_offset_after_it,
        trims::a_cursor_before_the_snapshot_is_told,
        trims::a_log_is_trimmed_again_and_goes_on,
        trims::only_what_is_there_can_be_trimmed,
        trims::erasing_blanks_the_data_and_keeps_the_offsets,
        trims::an_erased_log_goes_on,
        trims::strangers_trim_and_erase_nothing,
        trims::a_trim_and_an_erasure_survive_a_crash,
        expiry::only_an_ended_log_expires,
        expiry::a_shared_log_never_expires,
        expiry::an_expired_log_is_unknown,
        expiry::a_watch_of_an_expired_log_is_over,
        expiry::a_young_log_is_kept,
        expiry::the_oldest_go_until_the_rest_fits,
        expiry::no_more_than_the_limit_expire,
        expiry::an_expired_log_stays_away_after_a_crash,
        expiry::a_list_is_oldest_first_and_pages_to_its_end,
        removals::a_removed_log_is_unknown_to_all,
        removals::a_removed_log_stays_away_after_a_crash,
        removals::watches_of_a_removed_log_end,
        removals::a_long_log_is_removed_as_a_whole,
        removals::removing_takes_nothing_else_along,
        removals::a_tasks_log_is_not_removed,
        feed::the_feed_names_every_append_once_in_order,
        feed::the_feed_pages_to_its_end_and_goes_on,
        feed::the_feed_of_appends_at_once_has_no_gaps,
        feed::a_position_in_the_feed_survives_a_crash,
    ]
);
