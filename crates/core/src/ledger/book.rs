//! The book: accounts, what is held by which task, and the sums that must add up.

use super::changes::Noted;
use super::standing::{Short, Standing, tightest};
use crate::ending::Usage;
use crate::id::{TaskRef, TenantId};
use crate::money::Money;
use crate::payer::Payer;
use crate::port::{Account, Amounts, Balance, Left, Limits, Over, Reservation, ReserveError, Unavailable};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What was held longer ago than this has flowed back into its buckets by itself: a bucket holds a minute's worth.
const FLOWN_BACK: Duration = Duration::from_mins(1);
/// Fewer accounts than this are not worth looking through.
const FIRST_SWEEP: usize = 1024;
/// Once the book is full, it is looked through for idle accounts at most this often: a million take some 20 ms.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much a book may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Accounts that are to be remembered. A user with a limit is one for as long as it has spent something this
    /// month: a million take some 300 MB. One more is refused until one becomes idle.
    pub accounts: usize,
    /// Tasks that hold something: a million take some 250 MB. One more is refused until one ends.
    pub reservations: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { accounts: 1 << 20, reservations: 1 << 20 }
    }
}

/// What a task holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who pays.
    pub payer: Payer,
    /// The route that it takes.
    pub route: Arc<str>,
    /// In which accounts, each with its limits as they were.
    pub accounts: Arc<[(Account, Limits)]>,
    /// How much, all top-ups included.
    pub amounts: Amounts,
    /// When some of it was last taken.
    pub at: Timestamp,
    /// How many changes the book had seen when this was made or last changed: see [`Book::changes`].
    pub change: u64,
    /// Changed since the last [`Changed`](super::Changed) was taken.
    pub(super) noted: bool,
}

impl Held {
    /// From its parts, as they were written down.
    pub fn new(
        payer: Payer,
        route: Arc<str>,
        accounts: Arc<[(Account, Limits)]>,
        amounts: Amounts,
        at: Timestamp,
    ) -> Self {
        Self { payer, route, accounts, amounts, at, change: 0, noted: false }
    }

    /// What its task counts as having used, where nobody knows: all of it.
    pub fn estimate(&self) -> Usage {
        Usage {
            input_tokens: self.amounts.input_tokens,
            output_tokens: self.amounts.output_tokens,
            cost: self.amounts.cost,
            estimated: true,
            ..Usage::default()
        }
    }
}

/// A reservation that was settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What was held.
    pub held: Held,
    /// What was used of it, or beyond it.
    pub used: Amounts,
    /// When.
    pub at: Timestamp,
}

/// Accounts, reservations and their sums.
#[derive(Debug, Default)]
pub struct Book {
    pub(super) accounts: HashMap<Account, Standing>,
    pub(super) held: HashMap<TaskRef, Held>,
    pub(super) balance: Balance,
    /// Money that is held, by tenant; none where nothing is.
    reserved: HashMap<TenantId, Money>,
    pub(super) noted: Option<Noted>,
    bounds: Bounds,
    changes: u64,
    /// So many accounts make it look for idle ones.
    sweep_at: usize,
    swept_at: Timestamp,
}

impl Book {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, sweep_at: FIRST_SWEEP.min(bounds.accounts), ..Self::default() }
    }

    /// One whose changes are written down: it remembers which there were.
    #[must_use]
    pub fn writes_down(self) -> Self {
        Self { noted: Some(Noted::default()), ..self }
    }

    /// Takes up what was written down. The sums are those of then; what is outstanding is counted anew, and where that
    /// leaves them apart, what is missing counts as released.
    pub fn restore(&mut self, accounts: Vec<(Account, Standing)>, held: Vec<(TaskRef, Held)>, balance: Balance) {
        self.accounts.extend(accounts);
        self.sweep_at = (self.accounts.len() * 2).max(FIRST_SWEEP).min(self.bounds.accounts);
        self.balance = Balance { outstanding: Amounts::default(), reservations: 0, ..balance };
        for (task, held) in held {
            for (account, _) in &*held.accounts {
                self.accounts.entry(account.clone()).or_default().holds(held.amounts.cost);
            }
            self.balance.outstanding = self.balance.outstanding.plus(held.amounts);
            self.balance.reservations += 1;
            self.owes(task.tenant, held.amounts.cost);
            self.held.insert(task, held);
        }
        let known = self.balance.settled.plus(self.balance.released).plus(self.balance.outstanding);
        let all = self.balance.reserved.plus(self.balance.overage);
        self.balance.released = self.balance.released.plus(all.minus(known));
        self.balance.reserved = self.balance.reserved.plus(known.minus(all));
    }

    /// All sums.
    pub fn balance(&self) -> Balance {
        self.balance
    }

    /// How many changes there were: whoever has written down all of them has written down each.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What a task holds.
    pub fn held(&self, task: TaskRef) -> Option<&Held> {
        self.held.get(&task)
    }

    /// Money that is held now, by tenant.
    pub fn reserved(&self) -> &HashMap<TenantId, Money> {
        &self.reserved
    }

    /// The tasks that hold something.
    pub fn holders(&self) -> impl Iterator<Item = (TaskRef, &Held)> {
        self.held.iter().map(|(task, held)| (*task, held))
    }

    /// How an account stands; `None` where nothing is to be remembered of it.
    pub fn standing(&self, account: &Account) -> Option<&Standing> {
        self.accounts.get(account)
    }

    /// Holds amounts for a task in all of its accounts, or in none.
    pub fn reserve(&mut self, reservation: Reservation) -> Result<Left, ReserveError> {
        let Reservation { task, at, payer, route, amounts, accounts } = reservation;
        if self.held.contains_key(&task) {
            return Ok(self.left(at, &accounts));
        }
        if self.held.len() >= self.bounds.reservations {
            return Err(full("tasks that hold a reservation", self.bounds.reservations).into());
        }
        self.decide(at, &accounts, &amounts)?;
        self.make_room(at, &accounts)?;
        let left = self.hold(at, &accounts, &amounts);
        self.owes(task.tenant, amounts.cost);
        self.changes += 1;
        self.balance.reservations += 1;
        let held = Held { change: self.changes, ..Held::new(payer, route, accounts, amounts, at) };
        self.held.insert(task, held);
        self.note_task(task);
        Ok(left)
    }

    /// Holds more for a task; nothing where it holds nothing yet.
    pub fn top_up(&mut self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        let Some(held) = self.held.get(&task) else { return Ok(()) };
        let accounts = held.accounts.clone();
        self.decide(at, &accounts, &more)?;
        self.hold(at, &accounts, &more);
        self.owes(task.tenant, more.cost);
        self.changes += 1;
        if let Some(held) = self.held.get_mut(&task) {
            held.amounts = held.amounts.plus(more);
            held.at = held.at.max(at);
            held.change = self.changes;
        }
        self.note_task(task);
        Ok(())
    }

    /// Settles what a task holds: what it used is spent, the rest is free again. `None` where it holds nothing.
    pub fn settle(&mut self, task: TaskRef, used: Amounts, at: Timestamp) -> Option<Settled> {
        let held = self.remove(task)?;
        let (beyond, unused) = (used.minus(held.amounts), held.amounts.minus(used));
        self.balance.settled = self.balance.settled.plus(used);
        self.balance.overage = self.balance.overage.plus(beyond);
        self.balance.released = self.balance.released.plus(unused);
        self.free(&held, at, &beyond, &unused, used);
        Some(Settled { held, used, at })
    }

    /// Lets go of what a task holds, because it never came to be: as if it had not been taken. `false` where it holds
    /// nothing.
    pub fn give_back(&mut self, task: TaskRef) -> bool {
        let Some(held) = self.remove(task) else { return false };
        self.balance.released = self.balance.released.plus(held.amounts);
        self.free(&held, held.at, &Amounts::default(), &held.amounts, Amounts::default());
        true
    }

    /// Takes a settlement back: what said so did not get to the disk, and the task will end again.
    pub fn unsettle(&mut self, task: TaskRef, settled: Settled) {
        let Settled { held, used, at } = settled;
        let (beyond, unused) = (used.minus(held.amounts), held.amounts.minus(used));
        self.balance.settled = self.balance.settled.minus(used);
        self.balance.overage = self.balance.overage.minus(beyond);
        self.balance.released = self.balance.released.minus(unused);
        self.balance.outstanding = self.balance.outstanding.plus(held.amounts);
        self.balance.reservations += 1;
        self.owes(task.tenant, held.amounts.cost);
        let refunded = if is_recent(&held, at) { unused } else { Amounts::default() };
        for (account, limits) in &*held.accounts {
            let standing = self.accounts.entry(account.clone()).or_default();
            standing.advance(at, limits);
            standing.correct(&refunded, &beyond);
            standing.unspend(used.cost);
            standing.holds(held.amounts.cost);
            self.note_account(account);
        }
        self.changes += 1;
        self.held.insert(task, Held { change: self.changes, noted: false, ..held });
        self.note_task(task);
    }

    /// Whether there is room in all accounts. Takes nothing, and leaves every account as it stands: what is written down
    /// is always what is in memory.
    fn decide(&self, at: Timestamp, accounts: &[(Account, Limits)], asked: &Amounts) -> Result<(), ReserveError> {
        let mut worst: Option<(&Account, Short)> = None;
        for (account, limits) in accounts {
            if let Some(short) = self.at_moment(account, at, limits).short(at, limits, asked)
                && worst.is_none_or(|(_, known)| Short::longer(Some(known), Some(short)) == Some(short))
            {
                worst = Some((account, short));
            }
        }
        let Some((account, short)) = worst else { return Ok(()) };
        let Short { what, limit, asked, remaining, retry_after } = short;
        let left = self.left(at, accounts);
        Err(ReserveError::Over(Over { account: account.clone(), what, limit, asked, remaining, retry_after, left }))
    }

    /// What is left of the limits of these accounts.
    fn left(&self, at: Timestamp, accounts: &[(Account, Limits)]) -> Left {
        accounts.iter().fold(Left::default(), |left, (account, limits)| {
            tightest(left, self.at_moment(account, at, limits).left(at, limits))
        })
    }

    /// An account as it stands at this moment, to be looked at.
    fn at_moment(&self, account: &Account, at: Timestamp, limits: &Limits) -> Standing {
        let mut standing = self.accounts.get(account).cloned().unwrap_or_default();
        standing.advance(at, limits);
        standing
    }

    /// Takes amounts out of all accounts, and says what is left.
    fn hold(&mut self, at: Timestamp, accounts: &[(Account, Limits)], amounts: &Amounts) -> Left {
        self.balance.reserved = self.balance.reserved.plus(*amounts);
        self.balance.outstanding = self.balance.outstanding.plus(*amounts);
        let mut left = Left::default();
        for (account, limits) in accounts {
            let standing = self.touch(account, at, limits);
            standing.hold(amounts);
            left = tightest(left, standing.left(at, limits));
        }
        left
    }

    /// An account that is about to change, as it stands at this moment.
    fn touch(&mut self, account: &Account, at: Timestamp, limits: &Limits) -> &mut Standing {
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.clone(), Standing::default());
        }
        self.note_account(account);
        let standing = self.accounts.entry(account.clone()).or_default();
        standing.advance(at, limits);
        standing
    }

    fn remove(&mut self, task: TaskRef) -> Option<Held> {
        let held = self.held.remove(&task)?;
        if !held.noted {
            self.note_task(task);
        }
        self.changes += 1;
        self.balance.reservations -= 1;
        self.balance.outstanding = self.balance.outstanding.minus(held.amounts);
        self.owes_less(task.tenant, held.amounts.cost);
        Some(held)
    }

    fn owes(&mut self, tenant: TenantId, more: Money) {
        if more > Money::ZERO {
            let owed = self.reserved.entry(tenant).or_default();
            *owed = owed.plus(more);
        }
    }

    fn owes_less(&mut self, tenant: TenantId, less: Money) {
        let Some(owed) = self.reserved.get_mut(&tenant) else { return };
        *owed = owed.minus(less);
        if *owed == Money::ZERO {
            self.reserved.remove(&tenant);
        }
    }

    /// Brings the accounts of what was held in line with what became of it.
    fn free(&mut self, held: &Held, at: Timestamp, beyond: &Amounts, unused: &Amounts, used: Amounts) {
        let refunded = if is_recent(held, at) { *unused } else { Amounts::default() };
        for (account, limits) in &*held.accounts {
            let standing = self.touch(account, at, limits);
            standing.correct(beyond, &refunded);
            standing.let_go(held.amounts.cost);
            standing.spend(used.cost);
        }
    }

    /// Forgets idle accounts where there are many, and refuses where there are too many.
    fn make_room(&mut self, at: Timestamp, accounts: &[(Account, Limits)]) -> Result<(), Unavailable> {
        let new = accounts.iter().filter(|(account, _)| !self.accounts.contains_key(account)).count();
        let wanted = self.accounts.len() + new;
        if new == 0 || wanted <= self.sweep_at {
            return Ok(());
        }
        let again = at.since(self.swept_at) >= SWEEP_EVERY || self.sweep_at < self.bounds.accounts;
        if again {
            self.sweep(at);
        }
        if self.accounts.len() + new > self.bounds.accounts {
            return Err(full("accounts with limits", self.bounds.accounts));
        }
        Ok(())
    }

    fn sweep(&mut self, at: Timestamp) {
        let noted = &mut self.noted;
        self.accounts.retain(|account, standing| {
            let keep = !standing.is_idle(at);
            if let Some(noted) = noted
                && !keep
                && !standing.noted
            {
                noted.accounts.push(account.clone());
            }
            keep
        });
        // As many again before the next look: a look costs each newcomer a step or two.
        self.sweep_at = (self.accounts.len() * 2).max(FIRST_SWEEP).min(self.bounds.accounts);
        self.swept_at = at;
    }
}

/// Whether what was held may still be missing from its buckets. Putting it back later would let out twice what
/// flowed back by itself: a batch that waits in line for an hour reserves again what an hour ago was another minute's.
fn is_recent(held: &Held, at: Timestamp) -> bool {
    at.since(held.at) < FLOWN_BACK
}

fn full(what: &str, bound: usize) -> Unavailable {
    Unavailable::new(format_args!("the ledger holds as many {what} as it may ({bound})"))
}
