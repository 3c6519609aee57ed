//! The suite for the port `EventLog`.

use tidewire_core::port::EventLog;

mod crashes;
mod ends;
mod open_writers;
mod places;
mod producers;
mod watches;
mod writers;

crate::suite::suite!(
    "EventLog",
    [EventLog],
    [
        places::offsets_are_dense_from_zero,
        places::an_append_that_returned_can_be_read,
        places::events_come_back_as_they_were_written,
        places::a_page_holds_what_fits_and_at_least_one_event,
        places::a_reader_that_returns_misses_nothing,
        places::creating_twice_keeps_the_epoch_and_the_events,
        places::creates_at_once_agree_on_the_epoch,
        places::a_log_that_was_never_created_is_unknown,
        places::another_tenants_log_is_unknown,
        places::a_cursor_of_another_epoch_is_told,
        places::a_cursor_past_the_tail_is_told,
        writers::a_lower_fence_is_refused,
        writers::a_higher_fence_takes_over,
        writers::a_higher_fence_takes_over_even_where_its_append_fails,
        writers::an_append_that_expects_another_tail_is_refused,
        writers::of_appends_at_once_to_one_tail_one_wins,
        writers::an_append_without_entries_checks_its_writer,
        writers::a_log_takes_only_its_own_kind_of_writer,
        writers::an_append_that_is_too_large_is_refused,
        writers::appenders_on_many_logs_do_not_mix,
        writers::an_append_that_was_dropped_leaves_the_log_whole,
        producers::a_repeated_append_is_answered_with_its_place,
        producers::a_gap_in_a_sequence_is_refused,
        producers::an_old_epoch_of_a_producer_is_refused,
        producers::a_new_epoch_of_a_producer_begins_at_zero,
        producers::producers_at_once_lose_nothing,
        producers::a_log_remembers_a_bounded_number_of_producers,
        open_writers::an_open_writer_may_repeat_itself,
        open_writers::open_writers_at_once_lose_nothing,
        open_writers::a_rank_must_sort_after_the_last_one,
        open_writers::of_appends_at_once_with_one_rank_one_wins,
        open_writers::a_rank_survives_a_crash,
        ends::an_end_is_the_last_event,
        ends::nothing_is_appended_after_an_end,
        ends::a_shared_log_ends_too,
        ends::a_repeated_append_is_answered_after_the_end_too,
        ends::an_end_that_is_refused_ends_nothing,
        ends::an_end_carries_as_much_as_an_append,
        watches::a_watch_begins_at_the_tail_of_now,
        watches::a_watch_wakes_when_the_log_grows,
        watches::a_watch_says_when_the_log_is_over,
        watches::a_log_that_has_ended_is_over_at_once,
        watches::followers_of_a_writer_see_every_event_once,
        crashes::a_created_log_survives_a_crash,
        crashes::what_was_appended_survives_a_crash,
        crashes::what_a_reader_saw_survives_a_crash,
        crashes::appends_go_on_after_a_crash,
        crashes::a_fence_survives_a_crash,
        crashes::a_producers_place_survives_a_crash,
        crashes::an_end_survives_a_crash,
    ]
);
