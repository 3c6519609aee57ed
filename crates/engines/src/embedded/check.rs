//! Looks through a store that no server holds: every checksum, and whether what belongs together is there and says the
//! same. It changes nothing but what every open does (a last commit that is torn is cut off).

mod book;
mod logs;
mod rest;
mod tasks;

use super::lock::Lock;
use super::open::OpenError;
use super::store::{DIRECTORY, Store, Trouble, pair};
use super::{format, key, prepare, seal};
use bytes::Bytes;
use fjall::{Keyspace, Readable, Snapshot};
use std::collections::BTreeMap;
use std::path::Path;
use tidewire_core::State;

/// Memory for blocks: all is read once.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// So many findings are kept; beyond them they are only counted. Nobody reads more.
const MAX_FINDINGS: usize = 1000;
/// How often whoever watches is told.
const TELL_EVERY: u64 = 1024;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that was confirmed is missing or wrong.
    Damage,
    /// Nothing is lost: something is left over, or counted wrong.
    Loose,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name for this kind of finding.
    pub code: &'static str,
    /// Where: a log, a task, a part of the store.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

impl Finding {
    /// Whether something is lost or wrong.
    pub fn is_damage(&self) -> bool {
        self.severity == Severity::Damage
    }
}

/// What a store holds, and what is wrong with it.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// The store's format.
    pub format: u32,
    /// Values of each keyspace.
    pub values: BTreeMap<&'static str, u64>,
    /// Bytes of each keyspace on disk; what is still in the journal alone is not in them.
    pub disk_bytes: BTreeMap<&'static str, u64>,
    /// Tasks by their state.
    pub tasks: BTreeMap<&'static str, u64>,
    /// Logs that have not ended.
    pub logs_live: u64,
    /// Logs that have.
    pub logs_ended: u64,
    /// Events that can be read.
    pub events: u64,
    /// What is wrong: at most 1000 of them.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
}

/// How far a check is: values looked at, and about how many there are.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Looked at.
    pub done: u64,
    /// About how many there are.
    pub of: u64,
}

/// What to do about a finding.
const RESTORE: &str = "restore a backup; until then what is damaged is refused and the rest is served";
const HARMLESS: &str = "nothing is lost, and nothing has to be done";
const REPORT: &str = "keep a copy of the data directory and report it: the server should not get here by itself";

/// Looks through a data directory. Refused where a server has it, with the process.
pub fn check(data: &Path, told: &mut dyn FnMut(Progress)) -> Result<Report, OpenError> {
    let (store, format, _lock) = open(data)?;
    let mut check = Check::new(&store, format, told);
    let walked = check.all();
    let failed = |error: fjall::Error| OpenError::Store { path: data.to_owned(), reason: error.to_string() };
    walked.map_err(failed)?;
    Ok(check.report)
}

/// What a data directory holds, without looking whether it is well.
pub fn info(data: &Path, told: &mut dyn FnMut(Progress)) -> Result<Report, OpenError> {
    let (store, format, _lock) = open(data)?;
    let mut check = Check::new(&store, format, told);
    let walked = check.count();
    let failed = |error: fjall::Error| OpenError::Store { path: data.to_owned(), reason: error.to_string() };
    walked.map_err(failed)?;
    check.report.findings.clear();
    Ok(check.report)
}

/// Opens a store as it is: its format stays what it was.
fn open(data: &Path) -> Result<(Store, u32, Lock), OpenError> {
    let failed = |reason: String| OpenError::Store { path: data.to_owned(), reason };
    if !data.join(DIRECTORY).is_dir() {
        return Err(failed("there is no store".to_owned()));
    }
    let lock = Lock::acquire(data)?;
    prepare::prepare(data)?;
    let (db, meta) = Store::open_meta(data, CACHE_BYTES).map_err(|error| failed(error.to_string()))?;
    let unsettled = |error: format::Unsettled| error.into_open_error(|error| failed(error.to_string()));
    let format = format::read(&meta).map_err(unsettled)?;
    let format = format.ok_or_else(|| failed("it has no format: its first start was cut off".to_owned()))?;
    if format > format::CURRENT {
        return Err(OpenError::NewerFormat { found: format, known: format::CURRENT });
    }
    let store = Store::open(db, meta).map_err(|error| failed(error.to_string()))?;
    Ok((store, format, lock))
}

/// A check under way.
struct Check<'a> {
    store: &'a Store,
    at: Snapshot,
    report: Report,
    /// Those that retention is to find.
    task_logs_ended: u64,
    progress: Progress,
    told: &'a mut dyn FnMut(Progress),
}

impl<'a> Check<'a> {
    fn new(store: &'a Store, format: u32, told: &'a mut dyn FnMut(Progress)) -> Self {
        let of = store.keyspaces().iter().map(|(_, keyspace)| keyspace.approximate_len() as u64).sum();
        let mut report = Report { format, ..Report::default() };
        for (name, keyspace) in store.keyspaces() {
            report.disk_bytes.insert(name, keyspace.disk_space());
            report.values.insert(name, 0);
        }
        for state in State::ALL {
            report.tasks.insert(state.name(), 0);
        }
        Self { store, at: store.snapshot(), report, task_logs_ended: 0, progress: Progress { done: 0, of }, told }
    }

    fn all(&mut self) -> fjall::Result<()> {
        self.events()?;
        self.heads()?;
        self.producers()?;
        self.live_tasks()?;
        self.ended_tasks()?;
        self.inputs()?;
        self.keys()?;
        self.settlements()?;
        self.reservations()?;
        self.accounts()?;
        self.usage()?;
        self.ended_index()?;
        self.feed()?;
        self.directory()?;
        self.meta()
    }

    /// Counts what there is.
    fn count(&mut self) -> fjall::Result<()> {
        self.events()?;
        self.heads()?;
        self.live_tasks()?;
        self.ended_tasks()?;
        let counted = ["events", "logs", "live", "tasks"];
        for (name, keyspace) in self.store.keyspaces() {
            if !counted.contains(&name) {
                self.each(name, keyspace, |_, _, _| ())?;
            }
        }
        Ok(())
    }

    /// Every value of a keyspace whose checksum is right: its key and its body.
    fn each(
        &mut self,
        name: &'static str,
        keyspace: &Keyspace,
        mut look: impl FnMut(&mut Self, &[u8], Bytes),
    ) -> fjall::Result<()> {
        for entry in self.at.iter(keyspace) {
            let (key, value) = match pair(entry) {
                Ok(pair) => pair,
                Err(Trouble::Disk(error)) => return Err(error),
                Err(Trouble::Damaged { .. }) => continue,
            };
            self.looked_at(name);
            if let Ok(body) = seal::open(&key, &value) {
                look(self, &key, body);
            } else {
                let place = format!("{name}, {}", named(&key));
                self.damage("checksum", place, "a value fails its checksum", RESTORE);
            }
        }
        Ok(())
    }

    fn looked_at(&mut self, name: &'static str) {
        *self.report.values.entry(name).or_default() += 1;
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(TELL_EVERY) {
            self.progress.of = self.progress.of.max(self.progress.done);
            (self.told)(self.progress);
        }
    }

    #[allow(clippy::needless_pass_by_value)] // Ids and texts alike, written as they are at the call.
    fn damage(&mut self, code: &'static str, place: impl ToString, what: impl ToString, advice: &'static str) {
        self.find(Severity::Damage, code, place.to_string(), what.to_string(), advice);
    }

    #[allow(clippy::needless_pass_by_value)] // As above.
    fn loose(&mut self, code: &'static str, place: impl ToString, what: impl ToString, advice: &'static str) {
        self.find(Severity::Loose, code, place.to_string(), what.to_string(), advice);
    }

    fn find(&mut self, severity: Severity, code: &'static str, place: String, what: String, advice: &'static str) {
        if self.report.findings.len() == MAX_FINDINGS {
            self.report.more_findings += 1;
        } else {
            self.report.findings.push(Finding { severity, code, place, what, advice });
        }
    }

    /// What a look at one value came to; `None` where it is damaged, which the walk through its keyspace tells.
    fn sound<T>(found: Result<T, Trouble>) -> fjall::Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Trouble::Damaged { .. }) => Ok(None),
            Err(Trouble::Disk(error)) => Err(error),
        }
    }
}

/// What a key names, for people: a task, a log, or its bytes.
fn named(key: &[u8]) -> String {
    if let Some(at) = key::parse_task(key) {
        return at.task.to_string();
    }
    let log = key.get(..key::LOG_BYTES).and_then(key::parse_log);
    log.map_or_else(|| format!("key {}", hex(key)), |at| at.log.to_string())
}

fn hex(key: &[u8]) -> String {
    key.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
