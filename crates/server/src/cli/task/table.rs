//! Tasks as plain text: columns for many, lines for one.

use std::fmt::Write;
use tidewire_client::proto::TaskView;
use tidewire_client::proto::http::TaskList;

/// A row for each task.
pub(in crate::cli) fn many(list: &TaskList) -> String {
    let head = ["ID", "STATE", "MODEL", "SUBMITTED (UTC)", "TRIES", "TOKENS"].map(str::to_owned);
    let rows: Vec<[String; 6]> = list.tasks.iter().map(row).collect();
    let mut widths = [0; 6];
    for row in rows.iter().chain([&head]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in [&head].into_iter().chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    if let Some(next) = &list.next {
        // Writing to a string can't fail; so below.
        let _ = writeln!(text, "more: --cursor {next}");
    }
    text
}

fn row(task: &TaskView) -> [String; 6] {
    let state = match task.place {
        Some(place) => format!("{} ({place} ahead)", task.state),
        None => task.state.clone(),
    };
    let tries = format!("{}/{}", task.attempts, task.max_attempts);
    let tokens = tokens(task).map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
    [task.id.clone(), state, task.model.clone(), time(task.submitted_at), tries, tokens]
}

/// A row for each dead letter, with its reason.
pub(in crate::cli) fn dead(list: &TaskList) -> String {
    if list.tasks.is_empty() {
        return "no dead letters: nothing has failed for good\n".to_owned();
    }
    let mut text = String::new();
    for task in &list.tasks {
        let error = task.end.as_ref().and_then(|end| end.get("error"));
        let part = |name: &str| error.and_then(|error| error[name].as_str()).unwrap_or("-").to_owned();
        let ended = task.ended_at.map_or_else(|| "-".to_owned(), time);
        let _ = writeln!(text, "{}  {ended}  {}  {}: {}", task.id, task.model, part("code"), part("message"));
    }
    if let Some(next) = &list.next {
        let _ = writeln!(text, "more: --cursor {next}");
    }
    text
}

/// A line for each thing that is known.
pub(in crate::cli) fn one(task: &TaskView) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:16}{value}");
    };
    line("id", &task.id);
    line("state", &task.state);
    line("model", &task.model);
    line("durability", &task.durability);
    line("on disconnect", &task.on_disconnect);
    line("submitted", &time(task.submitted_at));
    if let Some(place) = task.place {
        let wait = task.wait_ms.map_or_else(String::new, |wait| format!(", about {} s", wait.div_ceil(1000)));
        line("place", &format!("{place} ahead{wait}"));
    }
    line("priority", &task.priority);
    let source = source(task);
    let named = [
        ("lane", &task.lane),
        ("parent", &task.parent),
        ("batch", &task.batch),
        ("retry of", &task.retry_of),
        ("retried as", &task.retried_as),
        ("answer", &source),
        ("cache key", &task.cache_key),
        ("shadow of", &task.shadow_of),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if let Some(start) = task.start_at {
        line("starts", &time(start));
    }
    if task.children > 0 {
        line("children", &task.children.to_string());
    }
    if let Some(spent) = task.spent {
        let of = |bound: Option<u64>| bound.map_or_else(String::new, |bound| format!(" of {bound}"));
        let budget = task.budget.unwrap_or_default();
        let (steps, tokens) = (of(budget.steps), of(budget.tokens));
        line("spent below", &format!("{}{steps} steps, {}{tokens} tokens", spent.steps, spent.tokens));
    }
    line("attempts", &format!("{} of {}", task.attempts, task.max_attempts));
    if let Some(ended) = task.ended_at {
        line("ended", &format!("{} ({} ms later)", time(ended), ended.saturating_sub(task.submitted_at)));
    } else {
        line("deadline", &time(task.deadline));
    }
    if task.stop_requested {
        line("stop", "asked for");
    }
    if let Some(tokens) = tokens(task) {
        line("output tokens", &tokens.to_string());
    }
    if let Some(error) = task.end.as_ref().and_then(|end| end.get("error")) {
        let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        line("error", &format!("{} ({})", part("message"), part("code")));
    }
    if let Some(feedback) = task.feedback {
        line("feedback", &format!("{}, mean {:.2}", feedback.count, feedback.score));
    }
    if let Some(metadata) = &task.metadata {
        line("metadata", metadata.get());
    }
    if let Some(input) = &task.input {
        line("input", input.get());
    }
    text
}

/// Where the answer came from, where it was not made for this task.
fn source(task: &TaskView) -> Option<String> {
    let told = task.end.as_ref()?.get("cache")?;
    let state = match told["state"].as_str()? {
        "hit" => "kept",
        "stale" => "kept, and old",
        "joined" => "of another task, joined on its way",
        other => other,
    };
    let mut text = format!("{state}; {} ms", told["age_ms"]);
    for (name, words) in [("task", "; made for"), ("reason", "; instead of")] {
        if let Some(value) = told[name].as_str() {
            // Writing to a string can't fail.
            let _ = write!(text, "{words} {value}");
        }
    }
    Some(text)
}

fn tokens(task: &TaskView) -> Option<u64> {
    task.end.as_ref()?["usage"]["output_tokens"].as_u64()
}

/// `2026-11-22 18:04:09`, from milliseconds since the Unix epoch, in UTC. The days are Howard Hinnant's
/// `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>), for years after 1970.
fn time(millis: u64) -> String {
    let seconds = millis / 1_000;
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March, so that a leap day is their last.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (951_868_800_999, "2000-03-01 00:00:00"),
            (1_763_830_000_123, "2025-11-22 16:46:40"),
            (4_102_444_799_000, "2099-12-31 23:59:59"),
        ] {
            assert_eq!(time(millis), text);
        }
    }
}
