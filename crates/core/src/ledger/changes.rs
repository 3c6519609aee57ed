//! What of the book has changed, for an engine that writes it down.

use super::book::{Book, Held};
use super::standing::Standing;
use crate::id::TaskRef;
use crate::port::{Account, Balance};

/// The reservations and accounts that changed since this was last asked, as they are now; `None` where one is gone.
#[derive(Debug, Default)]
pub struct Changed {
    /// Reservations. One may be named twice, and stands the same then.
    pub reservations: Vec<(TaskRef, Option<Held>)>,
    /// Accounts. One may be named twice.
    pub accounts: Vec<(Account, Option<Standing>)>,
    /// All sums, as of the same moment.
    pub balance: Balance,
}

impl Changed {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.reservations.is_empty() && self.accounts.is_empty()
    }
}

/// Names of what changed. Each entry of the book remembers whether it is named here, so that a busy account is
/// named once a round and not once a task.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) reservations: Vec<TaskRef>,
    pub(super) accounts: Vec<Account>,
}

impl Book {
    /// What changed since the last time. Of a book that [writes down](Book::writes_down) nothing, nothing.
    pub fn take_changed(&mut self) -> Changed {
        let Some(noted) = self.noted.as_mut().map(std::mem::take) else { return Changed::default() };
        let held = |task: TaskRef| {
            let held = self.held.get_mut(&task).map(|held| {
                held.noted = false;
                held.clone()
            });
            (task, held)
        };
        let reservations = noted.reservations.into_iter().map(held).collect();
        let standing = |account: Account| {
            let standing = self.accounts.get_mut(&account).map(|standing| {
                standing.noted = false;
                standing.clone()
            });
            (account, standing)
        };
        let accounts = noted.accounts.into_iter().map(standing).collect();
        Changed { reservations, accounts, balance: self.balance }
    }

    /// Names them again: writing them down failed. What is written then is how they stand at that time.
    pub fn note_again(&mut self, changed: Changed) {
        for (task, _) in changed.reservations {
            self.note_task(task);
        }
        for (account, _) in changed.accounts {
            self.note_account(&account);
        }
    }

    pub(super) fn note_task(&mut self, task: TaskRef) {
        let Some(noted) = &mut self.noted else { return };
        match self.held.get_mut(&task) {
            Some(held) if held.noted => return,
            Some(held) => held.noted = true,
            None => {}
        }
        noted.reservations.push(task);
    }

    pub(super) fn note_account(&mut self, account: &Account) {
        let Some(noted) = &mut self.noted else { return };
        match self.accounts.get_mut(account) {
            Some(standing) if standing.noted => return,
            Some(standing) => standing.noted = true,
            None => {}
        }
        noted.accounts.push(account.clone());
    }
}
