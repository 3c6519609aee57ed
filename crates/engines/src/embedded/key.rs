//! The keys of every keyspace. All numbers are big-endian, so that keys sort as what they name does.

use tidewire_core::port::{RecordName, Shelf};
use tidewire_core::{LogId, LogRef, Offset, TaskId, TaskRef, TenantId, Timestamp};

pub(super) const TENANT_BYTES: usize = 4;
pub(super) const LOG_BYTES: usize = TENANT_BYTES + 17;
pub(super) const EVENTS_BYTES: usize = LOG_BYTES + 8;
pub(super) const TASK_BYTES: usize = TENANT_BYTES + 16;
pub(super) const ENDED_BYTES: usize = 8 + LOG_BYTES;
pub(super) const RANK_BYTES: usize = LOG_BYTES + 1;
pub(super) const SHELF_BYTES: usize = TENANT_BYTES + 1;

pub(super) fn tenant(tenant: TenantId) -> [u8; TENANT_BYTES] {
    tenant.0.to_be_bytes()
}

pub(super) fn log(at: LogRef) -> [u8; LOG_BYTES] {
    let mut key = [0; LOG_BYTES];
    key[..TENANT_BYTES].copy_from_slice(&at.tenant.0.to_be_bytes());
    key[TENANT_BYTES..].copy_from_slice(&at.log.to_bytes());
    key
}

pub(super) fn parse_log(key: &[u8]) -> Option<LogRef> {
    let (tenant, log) = key.split_first_chunk()?;
    let log = LogId::from_bytes(log.try_into().ok()?)?;
    Some(LogRef { tenant: TenantId(u32::from_be_bytes(*tenant)), log })
}

/// A record of events, by its first one.
pub(super) fn events(at: LogRef, from: Offset) -> [u8; EVENTS_BYTES] {
    let mut key = [0; EVENTS_BYTES];
    key[..LOG_BYTES].copy_from_slice(&log(at));
    key[LOG_BYTES..].copy_from_slice(&from.0.to_be_bytes());
    key
}

pub(super) fn parse_events_from(key: &[u8]) -> Option<Offset> {
    let (_, from) = key.split_last_chunk()?;
    Some(Offset(u64::from_be_bytes(*from)))
}

/// A producer of a shared log.
pub(super) fn producer(at: LogRef, producer: &str) -> Vec<u8> {
    [&log(at)[..], producer.as_bytes()].concat()
}

/// The last rank of a shared log, beside its producers: no producer's name has this byte, which is not UTF-8.
pub(super) fn rank(at: LogRef) -> [u8; RANK_BYTES] {
    let mut key = [0xff; RANK_BYTES];
    key[..LOG_BYTES].copy_from_slice(&log(at));
    key
}

/// A shelf of named records: the key of their count, and the beginning of theirs.
pub(super) fn shelf(tenant: TenantId, shelf: Shelf) -> [u8; SHELF_BYTES] {
    let mut key = [shelf as u8; SHELF_BYTES];
    key[..TENANT_BYTES].copy_from_slice(&tenant.0.to_be_bytes());
    key
}

/// A named record. Its name is not empty, so that no record has its shelf's own key.
pub(super) fn record(name: &RecordName) -> Vec<u8> {
    [&shelf(name.tenant, name.shelf)[..], name.name.as_bytes()].concat()
}

/// The name of a record, within its shelf.
pub(super) fn parse_record(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(SHELF_BYTES..)?).ok()
}

pub(super) fn task(at: TaskRef) -> [u8; TASK_BYTES] {
    let mut key = [0; TASK_BYTES];
    key[..TENANT_BYTES].copy_from_slice(&at.tenant.0.to_be_bytes());
    key[TENANT_BYTES..].copy_from_slice(&at.task.to_bytes());
    key
}

pub(super) fn parse_task(key: &[u8]) -> Option<TaskRef> {
    let (tenant, task) = key.split_first_chunk()?;
    let task = TaskId::from_bytes(task.try_into().ok()?);
    Some(TaskRef { tenant: TenantId(u32::from_be_bytes(*tenant)), task })
}

pub(super) fn idempotency(of: TenantId, key: &str) -> Vec<u8> {
    [&tenant(of)[..], key.as_bytes()].concat()
}

/// An ended log, by when it ended: the order in which retention takes them.
pub(super) fn ended(at: Timestamp, log_ref: LogRef) -> [u8; ENDED_BYTES] {
    let mut key = [0; ENDED_BYTES];
    key[..8].copy_from_slice(&at.as_micros().to_be_bytes());
    key[8..].copy_from_slice(&log(log_ref));
    key
}

pub(super) fn parse_ended(key: &[u8]) -> Option<(Timestamp, LogRef)> {
    let (at, log) = key.split_first_chunk()?;
    Some((Timestamp::from_micros(u64::from_be_bytes(*at)), parse_log(log)?))
}

/// A record of the feed, by its first entry's position.
pub(super) fn feed(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

pub(super) fn parse_feed(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidewire_core::Durability;

    fn a_task(number: u32, millis: u64, random: u128) -> TaskRef {
        let task = TaskId::new(Timestamp::from_millis(millis), random, Durability::Durable);
        TaskRef { tenant: TenantId(number), task }
    }

    proptest! {
        #[test]
        fn keys_name_what_they_were_made_from(number: u32, millis in 0..(1u64 << 48), random: u128, offset: u64) {
            let task_ref = a_task(number, millis, random);
            prop_assert_eq!(parse_task(&task(task_ref)), Some(task_ref));
            prop_assert_eq!(parse_log(&log(task_ref.log())), Some(task_ref.log()));
            prop_assert_eq!(parse_events_from(&events(task_ref.log(), Offset(offset))), Some(Offset(offset)));
            let at = Timestamp::from_micros(offset);
            prop_assert_eq!(parse_ended(&ended(at, task_ref.log())), Some((at, task_ref.log())));
            prop_assert_eq!(parse_feed(&feed(offset)), Some(offset));
        }

        #[test]
        fn events_sort_by_offset(a: u64, b: u64) {
            let log = a_task(1, 1, 1).log();
            prop_assert_eq!(events(log, Offset(a)).cmp(&events(log, Offset(b))), a.cmp(&b));
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
            let _ = (parse_task(&bytes), parse_log(&bytes), parse_events_from(&bytes));
            let _ = (parse_ended(&bytes), parse_feed(&bytes));
        }
    }
}
