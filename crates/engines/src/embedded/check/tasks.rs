//! Tasks: their records against their logs' ends, their settlements, their inputs and their keys.

use super::{Check, HARMLESS, REPORT, RESTORE, named};
use crate::embedded::open::last_word;
use crate::embedded::store::{Store, parse_task};
use crate::embedded::{head, key};
use fjall::Readable;
use std::collections::BTreeMap;
use tidewire_core::port::Totals;
use tidewire_core::{Durability, Ending, Task, TaskId, TaskRef, TenantId, Timestamp, Usage};

/// Runs at the next start by itself.
pub(super) const NEXT_START: &str = "the next start of the server puts it right";

impl Check<'_> {
    /// Every task that has not ended has a log that has not, and is not settled.
    pub(super) fn live_tasks(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("live", &store.live, |check, key, body| {
            let Some(task) = check.task(key, &body) else { return };
            let at = task.at();
            match head::stored(store, &check.at, at.log()) {
                Ok(None) => check.damage("log", task.id, "a live task without a log", RESTORE),
                Ok(Some(head)) if head.state.ended => {
                    check.loose("unfinished", task.id, "its log has ended, and its record has not", NEXT_START);
                }
                _ => {}
            }
            if task.state.is_ended() || check.has(&store.tasks, key) {
                check.damage("record", task.id, "it is kept as live and as ended", REPORT);
            }
            if check.has(&store.settlements, key) {
                check.damage("settlement", task.id, "a live task is settled", REPORT);
            }
            check.input_and_key(&task);
        })
    }

    /// Every task that has ended says what its log's end says, and is settled for it.
    pub(super) fn ended_tasks(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("tasks", &store.tasks, |check, key, body| {
            let Some(task) = check.task(key, &body) else { return };
            let Some((ended_at, ending)) = task.ended.clone() else {
                return check.damage("record", task.id, "an ended task whose record does not say how", REPORT);
            };
            let log = task.at().log();
            match head::stored(store, &check.at, log) {
                // An expiry takes the head first and the index entry last.
                Ok(None) if check.has(&store.ended, &key::ended(ended_at, log)) => return,
                Ok(None) => check.damage("log", task.id, "an ended task without its log", RESTORE),
                Ok(Some(head)) if !head.state.ended => {
                    check.damage("end", task.id, "its record has ended, and its log has not", REPORT);
                }
                // A damaged end is told where the events are looked at.
                _ => {
                    let said = last_word(store, &check.at, &task).map(|(_, said)| said);
                    if said.is_ok_and(|said| said != ending) {
                        check.damage("end", task.id, "its record and its log's `end` event differ", REPORT);
                    }
                }
            }
            check.settlement_of(&task, &ending);
            check.input_and_key(&task);
        })
    }

    /// Every input is of a task that is there.
    pub(super) fn inputs(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("inputs", &store.inputs, |check, key, body| {
            if !check.is_task(key) {
                let what = format!("an input of {} bytes without a task: its submit was cut off", body.len());
                check.loose("orphan_input", named(key), what, HARMLESS);
            }
        })
    }

    /// Every idempotency key names a task that is there.
    pub(super) fn keys(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("idempotency", &store.idempotency, |check, key, body| {
            let holder = key.first_chunk().zip(body.first_chunk::<16>());
            let holder = holder.map(|(tenant, task)| {
                let tenant = TenantId(u32::from_be_bytes(*tenant));
                TaskRef { tenant, task: TaskId::from_bytes(*task) }
            });
            let place = || format!("{:?}", String::from_utf8_lossy(key.get(key::TENANT_BYTES..).unwrap_or_default()));
            match holder {
                None => check.damage("idempotency", place(), "an idempotency key that can't be read", RESTORE),
                Some(holder) if !check.is_task(&key::task(holder)) => {
                    let what = format!("an idempotency key of {}, which is not there: it is free again", holder.task);
                    check.loose("orphan_key", place(), what, HARMLESS);
                }
                Some(_) => {}
            }
        })
    }

    /// Every settlement is of a task that is there (or was transient), and no sum is below what it is the sum of.
    pub(super) fn settlements(&mut self) -> fjall::Result<()> {
        let store = self.store;
        let mut sums: BTreeMap<TenantId, Totals> = BTreeMap::new();
        self.each("settlements", &store.settlements, |check, key, body| {
            let task = key::parse_task(key);
            let settled = serde_json::from_slice::<(Timestamp, Usage)>(&body).ok();
            let (Some(task), Some((_, usage))) = (task, settled) else {
                return check.damage("settlement", named(key), "a settlement that can't be read", RESTORE);
            };
            // The record of a transient task went with its process.
            if task.task.durability() == Durability::Durable && !check.is_task(key) {
                check.loose("orphan_settlement", task.task, "a settlement of a task that is not there", HARMLESS);
            }
            let sum = sums.entry(task.tenant).or_default();
            *sum = Totals { tasks: sum.tasks + 1, usage: sum.usage.plus(usage) };
        })?;
        self.each("totals", &store.totals, |_, _, _| ())?;
        for (tenant, sum) in sums {
            let Some(totals) = Self::sound(store.totals(&self.at, tenant))? else { continue };
            // Settlements expire with their tasks; the sums stay.
            if is_below(totals, sum) {
                let what = format!("its sums {totals:?} are below those of its settlements {sum:?}");
                self.damage("totals", format!("tenant {}", tenant.0), what, REPORT);
            }
        }
        Ok(())
    }

    fn task(&mut self, key: &[u8], body: &[u8]) -> Option<Task> {
        let task = key::parse_task(key).and_then(|at| parse_task(body, at).ok().filter(|task| task.at() == at));
        match &task {
            Some(task) => *self.report.tasks.entry(task.state.name()).or_default() += 1,
            None => self.damage("record", named(key), "a task's record that can't be read", RESTORE),
        }
        task
    }

    fn settlement_of(&mut self, task: &Task, ending: &Ending) {
        let key = key::task(task.at());
        let found = Store::body(&self.at, &self.store.settlements, &key, String::new);
        match found.map(|body| body.map(|body| serde_json::from_slice::<(Timestamp, Usage)>(&body))) {
            Ok(None) => self.damage("settlement", task.id, "it has ended, and is not settled", RESTORE),
            Ok(Some(Ok((_, usage)))) if usage != ending.usage => {
                self.damage("settlement", task.id, "it is settled for something else than its end says", REPORT);
            }
            _ => {}
        }
    }

    fn input_and_key(&mut self, task: &Task) {
        let key = key::task(task.at());
        if !self.has(&self.store.inputs, &key) {
            self.damage("input", task.id, "a task without its input", RESTORE);
        }
        if let Some(idempotency) = &task.idempotency {
            let key = key::idempotency(task.tenant, &idempotency.key);
            let found = Store::body(&self.at, &self.store.idempotency, &key, String::new);
            if found.is_ok_and(|body| body.is_none_or(|body| !body.starts_with(&task.id.to_bytes()))) {
                self.damage("idempotency", task.id, "its idempotency key does not lead to it", RESTORE);
            }
        }
    }

    fn is_task(&self, key: &[u8]) -> bool {
        self.has(&self.store.live, key) || self.has(&self.store.tasks, key)
    }

    pub(super) fn has(&self, keyspace: &fjall::Keyspace, key: &[u8]) -> bool {
        // Where it can't be read, the walk through its keyspace says so.
        self.at.contains_key(keyspace, key).unwrap_or(true)
    }
}

/// Whether sums are below what is in them.
pub(super) fn is_below(totals: Totals, of: Totals) -> bool {
    counted(totals).iter().zip(counted(of)).any(|(kept, of)| *kept < of)
}

fn counted(totals: Totals) -> [u64; 7] {
    let Totals { tasks, usage } = totals;
    let read = [usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens];
    let [input, cached, cache_write] = read;
    [tasks, input, cached, cache_write, usage.output_tokens, usage.reasoning_tokens, usage.cost.0]
}
