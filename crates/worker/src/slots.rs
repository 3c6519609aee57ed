//! How many tasks of one capability run at once: a number that may change while they run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of one capability.
#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    count: usize,
    /// Slots that are taken and must not come free again.
    owed: usize,
}

/// One slot. Dropped, it is free again, unless there are fewer slots by then.
pub(crate) struct Slot {
    room: Arc<Room>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), size: Mutex::new(Size { count, owed: 0 }) }
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.size().count
    }

    /// From now on so many. What runs beyond them ends in its own time.
    pub(crate) fn set(&self, count: usize) {
        let count = count.min(Semaphore::MAX_PERMITS);
        let mut size = self.size();
        if count > size.count {
            let more = count - size.count;
            let paid = more.min(size.owed);
            size.owed -= paid;
            self.free.add_permits(more - paid);
        } else {
            let fewer = size.count - count;
            size.owed += fewer - self.free.forget_permits(fewer);
        }
        size.count = count;
    }

    /// Waits for a free one.
    pub(crate) async fn take(self: &Arc<Self>) -> Slot {
        // The semaphore is never closed: without a permit the slot is one too many, and harmless.
        let permit = self.free.clone().acquire_owned().await.ok();
        Slot { room: self.clone(), permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut size = self.room.size();
        if size.owed > 0 {
            size.owed -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn fewer_slots_come_as_tasks_end_and_more_at_once() {
        let room = Arc::new(Room::new(3));
        let take = || room.take().now_or_never();
        let (first, second, third) = (take().unwrap(), take().unwrap(), take().unwrap());
        room.set(1);
        drop(first);
        drop(second);
        assert!(take().is_none(), "the one slot is taken by the third");
        drop(third);
        let one = take().unwrap();
        assert!(take().is_none());
        room.set(2);
        let two = take().unwrap();
        assert!(take().is_none());
        room.set(0);
        room.set(1);
        drop((one, two));
        assert!(take().is_some() && room.free.available_permits() == 1);
    }
}
