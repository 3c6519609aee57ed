//! From a round's changes to the values of its batch, and from the committed round to what readers see.

use super::Committer;
use super::round::Round;
use crate::embedded::head::{seal_produced, seal_rank};
use crate::embedded::store::seal_task;
use crate::embedded::{counts, directory, feed, key, seal};
use tidewire_core::LogKind;
use tidewire_core::port::Unavailable;

impl Committer {
    /// Puts into the batch what the round changed. Each key once: the store gives no order to two values of
    /// one key in one batch.
    pub(super) fn seal(&mut self, round: &mut Round) -> Result<(), Unavailable> {
        self.seal_logs(round)?;
        self.seal_tasks(round)?;
        self.seal_book(round)?;
        let store = &self.shared.store;
        for tenant in &round.totals {
            if let Some(sums) = self.totals.get(tenant) {
                let key = key::tenant(*tenant);
                let body = serde_json::to_vec(&(sums.tasks, sums.usage)).map_err(Unavailable::new)?;
                round.batch.insert(&store.totals, key, seal::seal(&key, &[&body]));
            }
        }
        for (tenant, shelf) in &round.shelves {
            if let Some(count) = self.shelves.get(&(*tenant, *shelf)) {
                let key = key::shelf(*tenant, *shelf);
                round.batch.insert(&store.directory, key, directory::seal_count(&key, *count));
            }
        }
        for (name, record) in &round.records {
            let key = key::record(name);
            match record {
                Some(record) => round.batch.insert(&store.directory, &*key, directory::seal_record(&key, record)),
                None => round.batch.remove(&store.directory, &*key),
            }
        }
        if round.counts_changed || !round.batch.is_empty() {
            self.counts.commits += 1;
            round.batch.insert(&store.meta, counts::KEY, self.counts.seal());
        }
        if let Some(parcel) = &mut round.parcel {
            parcel.commit = self.counts.commits;
        }
        Ok(())
    }

    fn seal_logs(&mut self, round: &mut Round) -> Result<(), Unavailable> {
        let store = &self.shared.store;
        let mut grown = feed::Builder::new(self.counts.feed_next);
        for touched in &mut round.touched {
            let Some(writing) = self.heads.get(store, touched.log)? else { continue };
            writing.touched = None;
            touched.close_record(writing);
            for record in &touched.records {
                round.batch.insert(&store.events, key::events(touched.log, record.from), record.value.clone());
            }
            if touched.head_changed {
                round.batch.insert(&store.logs, key::log(touched.log), writing.stand().seal(touched.log));
            }
            let expires = touched.ends && touched.log.log.kind() == LogKind::Task;
            if let Some(ended_at) = writing.ended_at.filter(|_| expires) {
                let bytes = writing.stand().held_bytes();
                self.counts.ended_bytes += bytes;
                let (key, value) = super::keep::ended_entry(ended_at, touched.log, bytes);
                round.batch.insert(&store.ended, key, value);
            }
            grown.push(touched.log, touched.from, writing.state().tail);
        }
        for (log, producer) in &round.produced {
            let writing = self.heads.get(store, *log)?;
            if let Some(produced) = writing.and_then(|writing| writing.head.producers.get(producer)) {
                let key = key::producer(*log, producer);
                let value = seal_produced(&key, produced);
                round.batch.insert(&store.producers, key, value);
            }
        }
        for log in &round.ranked {
            let writing = self.heads.get(store, *log)?;
            if let Some(rank) = writing.and_then(|writing| writing.head.rank.as_deref()) {
                let key = key::rank(*log);
                round.batch.insert(&store.producers, key, seal_rank(&key, rank));
            }
        }
        if let Some((key, value)) = grown.seal() {
            round.batch.insert(&store.feed, key, value);
            self.counts.feed_next = grown.next();
            round.counts_changed = true;
            self.trim_feed(round)?;
        }
        Ok(())
    }

    fn seal_tasks(&mut self, round: &mut Round) -> Result<(), Unavailable> {
        let store = &self.shared.store;
        for entry in round.tasks.values() {
            let key = key::task(entry.task.at());
            let value = seal_task(&entry.task)?;
            if entry.task.state.is_ended() {
                round.batch.insert(&store.tasks, key, value);
                round.batch.remove(&store.live, key);
            } else {
                round.batch.insert(&store.live, key, value);
            }
        }
        for task in &round.to_write {
            if !round.tasks.contains_key(task)
                && let Some(entry) = self.shared.live.get(*task)
            {
                round.batch.insert(&store.live, key::task(*task), seal_task(&entry.task)?);
            }
        }
        Ok(())
    }

    /// Deletes the feed's oldest records once there are more entries than it keeps.
    fn trim_feed(&mut self, round: &mut Round) -> Result<(), Unavailable> {
        let keep_from = self.counts.feed_next.saturating_sub(self.shared.feed_entries);
        if keep_from < self.counts.feed_first + feed::TRIM_STEP {
            return Ok(());
        }
        let store = &self.shared.store;
        let range = key::feed(self.counts.feed_first)..key::feed(keep_from);
        for record in store.feed.range(range) {
            let key = record.key().map_err(Unavailable::new)?;
            round.batch.remove(&store.feed, key);
        }
        self.counts.feed_first = keep_from;
        Ok(())
    }

    /// Shows a committed round to readers, and answers its callers.
    pub(super) fn show(&mut self, round: Round) {
        let shared = &self.shared;
        shared.live.show(round.tasks.into_values());
        // Before the new state is shown: old records must not be read under it.
        for log in round.rewritten {
            if let Ok(Some(writing)) = self.heads.get(&shared.store, log) {
                self.window.forget(&shared.slots, log, writing.state());
            }
        }
        for touched in round.touched {
            // Its head is in memory, because the round used it.
            if let Ok(Some(writing)) = self.heads.get(&shared.store, touched.log) {
                self.window.show(&shared.slots, touched.log, writing.state(), touched.records);
            }
        }
        for log in round.gone {
            self.heads.remove(log);
            self.window.remove(&shared.slots, log);
        }
        self.window.shrink(&shared.slots);
        self.heads.age();
        for answer in round.answers {
            answer.tell();
        }
    }
}
