//! Who is asking: every request gets a [`Caller`] before a face sees it, and every face asks in its name.
//!
//! ```text
//!  headers ──▶ credential ──▶ key: table in memory  ┐
//!                             token: signature       ├──▶ Caller ──▶ extensions ──▶ face
//!                             session, ticket        ┘
//!  records in the directory ──▶ table, made anew when they change; what has ended with them is told to open sockets
//! ```

mod audit;
mod caller;
mod credential;
mod jwt;
mod lifetime;
mod manage;
mod oidc;
mod once;
mod record;
mod rules;
mod scope;
mod secret;
mod table;

pub use audit::keep as keep_audit;
pub(crate) use audit::{Audit, Note, Peer};
pub use caller::{Caller, End, Grant};
pub(crate) use credential::{COOKIE, cookie};
pub use jwt::{Algorithm, Claims, Fetch, FetchError, Fetching, Form, Source, Tokens};
pub use lifetime::{Lifetime, Over};
pub(crate) use oidc::{Answer, SIGN_IN_LIFE};
pub use oidc::{CALLBACK, Oidc, is_trusted_url};
pub(crate) use once::TICKET_LIFE;
pub use rules::Settings;
pub use scope::{Role, Scope, Scopes};

use crate::refusal::Refusal;
use credential::Credential;
use http::Request;
use once::Standing;
use record::Store;
use rules::Rules;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use table::Table;
use tidewire_core::TenantId;
use tidewire_core::port::{Clock, Directory, Limits, Unavailable};
use tidewire_proto::Code;
use tidewire_proto::admin::SignInWays;
use tokio_util::sync::CancellationToken;

/// The name of the tenant that always is.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// How often it is looked whether another process has changed a key: half of the 5 s in which a revocation works.
const SWEEP: Duration = Duration::from_secs(2);

/// What is known of tenants and keys.
pub struct Identity {
    open: Caller,
    /// What the operator has set, as it is now.
    rules: RwLock<Arc<Rules>>,
    store: Option<Store>,
    clock: Option<Arc<dyn Clock>>,
    table: RwLock<Arc<Table>>,
    /// One at a time makes the table anew, so that an older one never replaces a newer one.
    loading: tokio::sync::Mutex<()>,
    tickets: Standing,
    sessions: Standing,
    /// People who are with the provider, on their way to a session.
    pending: oidc::Pending,
}

/// A tenant, as operators look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTenant {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: Arc<str>,
    /// What all that it does may use.
    pub limits: Limits,
    /// Nobody of it may ask.
    pub suspended: bool,
}

/// A session that was opened, and what there is to say of it.
pub(crate) struct Opened {
    pub(crate) caller: Caller,
    /// What the browser holds.
    pub(crate) session: String,
    pub(crate) life: Duration,
}

impl Identity {
    /// Without any key: whoever reaches the server may do everything, as the one tenant there is.
    pub fn development() -> Self {
        Self::with(Settings::default(), None, None)
    }

    /// Tenants and keys of this directory.
    pub async fn load(
        settings: Settings,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Unavailable> {
        let identity = Self::with(settings, Some(Store::new(directory)), Some(clock));
        identity.reload().await?;
        Ok(identity)
    }

    fn with(settings: Settings, store: Option<Store>, clock: Option<Arc<dyn Clock>>) -> Self {
        let table = Table::new(
            0,
            vec![(DEFAULT_TENANT.to_owned(), record::Tenant::default_one())],
            Vec::new(),
            &Table::default(),
        );
        Self {
            open: Caller::development(),
            rules: RwLock::new(Arc::new(Rules::new(settings, None))),
            store,
            clock,
            table: RwLock::new(Arc::new(table)),
            loading: tokio::sync::Mutex::default(),
            tickets: Standing::new("tk_"),
            sessions: Standing::new("ts_"),
            pending: oidc::Pending::default(),
        }
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether anybody can be told from anybody else: there is a key, or a way to get one.
    pub fn knows_anyone(&self) -> bool {
        self.rules().know_anyone() || self.table().has_keys()
    }

    /// Whether a request without a key is served.
    fn is_open(rules: &Rules, table: &Table) -> bool {
        !rules.required && !rules.know_anyone() && !table.has_keys()
    }

    /// Whether a request without a key is refused.
    pub(crate) fn needs_key(&self) -> bool {
        !Self::is_open(&self.rules(), &self.table())
    }

    /// The ways in which a person can sign in.
    pub(crate) fn ways(&self) -> SignInWays {
        let oidc = self.rules().oidc.is_some();
        let ways = ["key"].into_iter().chain(oidc.then_some("oidc")).map(str::to_owned).collect();
        SignInWays { needed: self.needs_key(), ways }
    }

    /// Puts other settings into force. Who was let in by what is no more has no session from now on; what a token has
    /// opened ends with the token.
    pub async fn apply(&self, settings: Settings) {
        let before = self.rules();
        let rules = Rules::new(settings, Some(&before));
        if let (Some(tokens), Some(clock)) = (&rules.tokens, &self.clock) {
            // First, so that no token is refused for want of a key that a moment brings.
            tokens.refresh(&**clock).await;
        }
        let same_people = rules.lets_in_whom(&before);
        rules.end_of(&before);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        if !same_people {
            self.sessions.end(Caller::is_by_oidc);
        }
    }

    /// Every tenant there is.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.table().tenants().map(|tenant| tenant.record.id).collect()
    }

    /// Every tenant, with what it may use.
    pub fn known_tenants(&self) -> Vec<KnownTenant> {
        let known = |tenant: &table::TenantEntry| KnownTenant {
            id: tenant.record.id,
            name: tenant.name.clone(),
            limits: tenant.record.limits,
            suspended: tenant.record.suspended,
        };
        self.table().tenants().map(known).collect()
    }

    /// A tenant's name.
    pub fn tenant_name(&self, id: TenantId) -> String {
        self.table().tenant(id).map_or_else(|| id.0.to_string(), |tenant| tenant.name.to_string())
    }

    /// A tenant by its name.
    pub fn tenant_named(&self, name: &str) -> Option<TenantId> {
        self.table().tenant_named(name).map(|tenant| tenant.record.id)
    }

    /// Makes the table anew, if the records have changed.
    async fn reload(&self) -> Result<(), Unavailable> {
        let Some(store) = &self.store else { return Ok(()) };
        let _one_at_a_time = self.loading.lock().await;
        // Before the records: one that is written meanwhile is found again.
        let version = store.version().await?;
        let before = self.table();
        if version == before.version {
            return Ok(());
        }
        let (tenants, keys) = (store.tenants().await?, store.keys().await?);
        let table = Table::new(version, tenants, keys, &before);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        if let Some(tokens) = &self.rules().tokens {
            tokens.forget();
        }
        Ok(())
    }

    /// Finds out what other processes have changed, until `end`; and gets what tokens are checked with.
    pub async fn keep(self: Arc<Self>, end: CancellationToken) {
        let Some(clock) = self.clock.clone() else { return };
        let work = async {
            loop {
                if let Some(tokens) = &self.rules().tokens {
                    tokens.refresh(&*clock).await;
                }
                if let Err(error) = self.reload().await {
                    // What was known stays: no key is forgotten, and none comes back.
                    tracing::error!(%error, "keys can't be read; those known go on");
                }
                clock.sleep(SWEEP).await;
            }
        };
        tokio::select! {
            () = end.cancelled() => {}
            () = work => {}
        }
    }

    /// The caller of an open connection as it is now: its limits may be other ones than when it came.
    pub(crate) fn renewed(&self, caller: &Caller) -> Caller {
        let table = self.table();
        if caller.version == table.version || caller.version == 0 {
            return caller.clone();
        }
        let Some(key) = caller.payer.key else {
            let Some(tenant) = table.tenant(caller.tenant) else { return caller.clone() };
            let accounts = table::accounts(tenant, None, caller.payer.user.as_ref());
            return Grant { accounts, version: table.version, ..Grant::clone(caller) }.into();
        };
        // One that is gone is no more: its lifetime has ended.
        let Some(now) = table.known(key) else { return caller.clone() };
        let mut now = now.clone();
        if now.tenant != caller.tenant {
            let Some(tenant) = table.tenant(caller.tenant) else { return caller.clone() };
            now = now.in_tenant(tenant);
        }
        if let Some(user) = caller.payer.user.as_deref() {
            now = now.acting_for(user).unwrap_or(now);
        }
        now.until(caller.expires)
    }

    /// Who sent a request, and how that was shown.
    pub(crate) fn authenticate<B>(&self, request: &Request<B>) -> Result<Caller, Refusal> {
        let (table, rules) = (self.table(), self.rules());
        if Self::is_open(&rules, &table) {
            return self.open.choosing(request.headers(), &table);
        }
        let now = self.clock.as_ref().map(|clock| clock.now()).unwrap_or_default();
        let caller = match Credential::find(request)? {
            None => return Err(Refusal::unauthorized(credential::MISSING)),
            Some(Credential::Shown(secret)) => rules.known(&table, secret, now)?,
            Some(Credential::Session(secret)) => {
                let held = self.sessions.look(secret, now);
                let gone = || Refusal::unauthorized("the session has ended; sign in again");
                self.renewed(&held.ok_or_else(gone)?)
            }
            Some(Credential::Ticket(ticket)) => {
                let held = self.tickets.take(ticket, now);
                let gone =
                    || Refusal::unauthorized("the ticket is unknown, was used, or is over 30 s old; get another one");
                self.renewed(&held.ok_or_else(gone)?)
            }
        };
        caller.check(now)?;
        caller.choosing(request.headers(), &table)
    }

    /// A ticket for this caller, to be used once.
    pub(crate) fn ticket(&self, caller: &Caller) -> Result<String, Refusal> {
        let Some(clock) = &self.clock else { return Err(no_store()) };
        self.tickets.issue(caller.clone(), TICKET_LIFE, &**clock)
    }

    /// A session for whoever shows this key.
    pub(crate) fn sign_in(&self, secret: &str) -> Result<Opened, Refusal> {
        let Some(clock) = &self.clock else { return Err(no_store()) };
        let (rules, now) = (self.rules(), clock.now());
        let caller = rules.known(&self.table(), secret, now)?;
        caller.check(now)?;
        self.open_session(&caller, rules.session_life, &**clock)
    }

    fn open_session(&self, caller: &Caller, life: Duration, clock: &dyn Clock) -> Result<Opened, Refusal> {
        let caller = caller.until(Some(clock.now().plus(life)));
        let session = self.sessions.issue(caller.clone(), life, clock)?;
        Ok(Opened { caller, session, life })
    }

    /// Ends a session.
    pub(crate) fn sign_out<B>(&self, request: &Request<B>) {
        let now = self.clock.as_ref().map(|clock| clock.now()).unwrap_or_default();
        if let Ok(Some(Credential::Session(secret))) = Credential::find(request) {
            self.sessions.take(secret, now);
        }
    }
}

fn no_store() -> Refusal {
    Refusal::new(Code::Unavailable, "this server keeps no keys")
}
