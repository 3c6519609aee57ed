//! The suite for the port `TaskStore`.

use tidewire_core::port::TaskStore;

mod ends;
mod families;
mod leases;
mod lists;
mod submits;

crate::suite::suite!(
    "TaskStore",
    [TaskStore],
    [
        submits::a_submitted_task_is_there,
        submits::another_tenants_task_is_not_there,
        submits::an_unknown_task_is_told,
        submits::fifty_submits_with_one_key_make_one_task,
        submits::a_key_with_another_body_is_refused,
        submits::a_key_belongs_to_one_tenant,
        submits::a_repeated_submit_gets_the_task_as_it_is_now,
        submits::a_submitted_task_survives_a_crash,
        submits::a_key_survives_a_crash,
        leases::each_lease_has_a_higher_fence,
        leases::of_many_leases_at_once_one_wins,
        leases::a_held_lease_is_refused_until_it_lapses,
        leases::a_seized_lease_shuts_its_holder_out,
        leases::renewals_are_answered_in_turn,
        leases::a_renewal_tells_that_a_stop_was_requested,
        leases::a_renewed_lease_lasts_longer,
        leases::a_retried_task_waits_out_its_backoff,
        leases::a_lease_handed_back_is_no_attempt,
        leases::a_lost_lease_releases_nothing,
        ends::an_ended_task_says_how_and_when,
        ends::the_first_ending_stays,
        ends::an_ended_task_is_not_leased,
        ends::an_ended_task_is_not_stopped,
        ends::finishes_at_once_agree,
        ends::an_ending_survives_a_crash,
        families::a_child_is_counted_and_charged_to_its_root,
        families::a_stopped_or_ended_parent_takes_no_child,
        families::a_run_that_has_taken_its_steps_takes_no_more,
        families::a_run_that_has_used_its_tokens_takes_no_more,
        families::of_fifty_children_at_once_as_many_are_taken_as_the_budget_has_steps,
        families::a_dead_letter_is_retried_once,
        families::what_did_not_fail_is_not_retried,
        families::families_and_retries_survive_a_crash,
        lists::a_list_is_newest_first_and_pages_to_its_end,
        lists::a_list_holds_only_what_matches,
        lists::dead_letters_children_and_lanes_are_found,
        lists::tasks_are_found_by_their_time_their_user_their_key_and_their_id,
        lists::a_task_is_found_by_its_key_live_or_ended,
        lists::pages_of_a_filtered_list_skip_nothing,
        lists::lapsed_leases_are_found,
    ]
);
