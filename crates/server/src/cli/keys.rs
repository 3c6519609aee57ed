//! `tidewire keys` and `tidewire tenants`: who may ask, and what they may use.

use super::Outcome;
use super::remote::Remote;
use super::task::print;
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidewire_client::Http;
use tidewire_client::proto::admin::{
    BoundsBody, KeyCreated, KeyList, KeyView, LimitsBody, NewKey, NewTenant, TenantChange, TenantList, TenantView,
};

/// What an account may use.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LimitArgs {
    /// Tasks a minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u64>,
    /// Tokens read a minute
    #[arg(long, value_name = "N")]
    input_tokens_per_minute: Option<u64>,
    /// Tokens written a minute
    #[arg(long, value_name = "N")]
    output_tokens_per_minute: Option<u64>,
    /// US dollars a day
    #[arg(long, value_name = "USD")]
    usd_per_day: Option<f64>,
    /// US dollars a month
    #[arg(long, value_name = "USD")]
    usd_per_month: Option<f64>,
}

impl LimitArgs {
    fn body(&self) -> LimitsBody {
        LimitsBody {
            requests_per_minute: self.requests_per_minute,
            input_tokens_per_minute: self.input_tokens_per_minute,
            output_tokens_per_minute: self.output_tokens_per_minute,
            usd_per_day: self.usd_per_day,
            usd_per_month: self.usd_per_month,
        }
    }
}

/// How large requests and answers may be.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BoundsArgs {
    /// The largest prompt, in tokens
    #[arg(long, value_name = "N")]
    max_input_tokens: Option<u64>,
    /// The largest request, in bytes
    #[arg(long, value_name = "N")]
    max_input_bytes: Option<u64>,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N")]
    max_output_tokens: Option<u64>,
    /// Refuse requests for a longer answer, in the place of giving them this one
    #[arg(long)]
    refuse_longer: bool,
}

impl BoundsArgs {
    fn body(&self) -> BoundsBody {
        BoundsBody {
            input_tokens: self.max_input_tokens,
            input_bytes: self.max_input_bytes,
            output_tokens: self.max_output_tokens,
            over: self.refuse_longer.then(|| "refuse".to_owned()),
        }
    }
}

/// Arguments of `tidewire keys`.
#[derive(Subcommand, Debug)]
pub(crate) enum KeysCommand {
    /// Make a key. It is printed this once
    Create(Box<CreateKey>),
    /// List keys, without their secrets
    List {
        #[command(flatten)]
        remote: Remote,
        /// Only those of this tenant
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what is known of a key
    Show {
        #[command(flatten)]
        remote: Remote,
        /// The key's id, `key_…`
        id: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key: it opens nothing any more, and what it had opened closes
    Revoke {
        #[command(flatten)]
        remote: Remote,
        /// The key's id, `key_…`
        id: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct CreateKey {
    #[command(flatten)]
    remote: Remote,
    /// What to call it
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// What it may do: tasks:write, tasks:read, files, streams, users; all but the last unless told otherwise
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// An operator's key: read-only, operator or admin
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Public model names that it may use; all unless told otherwise
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    routes: Option<Vec<String>>,
    /// Names of tools that its requests may offer a model; all unless told otherwise
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tools: Option<Vec<String>>,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// The user whom all is for that comes with it
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// It ends after so many days
    #[arg(long, value_name = "DAYS")]
    days: Option<u64>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `tidewire tenants`.
#[derive(Subcommand, Debug)]
pub(crate) enum TenantsCommand {
    /// Make a tenant
    Create {
        #[command(flatten)]
        remote: Remote,
        /// Its name
        name: String,
        #[command(flatten)]
        limits: LimitArgs,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// List tenants
    List {
        #[command(flatten)]
        remote: Remote,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what is known of a tenant
    Show {
        #[command(flatten)]
        remote: Remote,
        /// Its name
        name: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a tenant's limits, those that are not named to none; or suspend it
    Set(SetTenant),
}

#[derive(Args, Debug)]
pub(crate) struct SetTenant {
    #[command(flatten)]
    remote: Remote,
    /// Its name
    name: String,
    #[command(flatten)]
    limits: LimitArgs,
    /// The limits are those of each of its users
    #[arg(long)]
    each_user: bool,
    /// Its keys and tokens do nothing from now on, or do again
    #[arg(long, value_name = "true|false")]
    suspended: Option<bool>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs `tidewire keys`.
pub(crate) async fn run(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Create(args) => create(*args).await,
        KeysCommand::List { remote, tenant, json } => {
            let list = Http::new(&remote.endpoint())?.keys(tenant.as_deref()).await?;
            print(json, &list, || keys(&list))
        }
        KeysCommand::Show { remote, id, json } => {
            let key = Http::new(&remote.endpoint())?.key(&id).await?;
            print(json, &key, || about(&key))
        }
        KeysCommand::Revoke { remote, id, json } => {
            let key = Http::new(&remote.endpoint())?.revoke_key(&id).await?;
            print(json, &key, || format!("{} is revoked\n", key.id))
        }
    }
}

async fn create(args: CreateKey) -> Outcome {
    let new = NewKey {
        name: args.name,
        tenant: args.tenant,
        scopes: args.scopes,
        role: args.role,
        routes: args.routes,
        tools: args.tools,
        bounds: args.bounds.body(),
        user: args.user,
        expires_at: args.days.map(days_from_now),
        limits: args.limits.body(),
    };
    let created = Http::new(&args.remote.endpoint())?.create_key(&new).await?;
    let told = |created: &KeyCreated| {
        format!(
            "{}\n\nThe line above is the key. It is shown this once: keep it.\n\n{}",
            created.secret,
            about(&created.key)
        )
    };
    print(args.json, &created, || told(&created))?;
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::disallowed_methods)] // A command, not the server: no run of it is repeated.
fn days_from_now(days: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = now.saturating_add(Duration::from_secs(days.saturating_mul(86_400)));
    u64::try_from(end.as_millis()).unwrap_or(u64::MAX)
}

/// Runs `tidewire tenants`.
pub(crate) async fn run_tenants(command: TenantsCommand) -> Outcome {
    match command {
        TenantsCommand::Create { remote, name, limits, json } => {
            let new = NewTenant { name, limits: limits.body(), user_limits: None };
            let tenant = Http::new(&remote.endpoint())?.create_tenant(&new).await?;
            print(json, &tenant, || tenants(std::slice::from_ref(&tenant)))
        }
        TenantsCommand::List { remote, json } => {
            let list: TenantList = Http::new(&remote.endpoint())?.tenants().await?;
            print(json, &list, || tenants(&list.tenants))
        }
        TenantsCommand::Show { remote, name, json } => {
            let tenant = Http::new(&remote.endpoint())?.tenant(&name).await?;
            print(json, &tenant, || tenants(std::slice::from_ref(&tenant)))
        }
        TenantsCommand::Set(args) => set(args).await,
    }
}

async fn set(args: SetTenant) -> Outcome {
    // To suspend a tenant is no reason to forget its limits.
    let limits = Some(args.limits.body()).filter(|limits| args.suspended.is_none() || *limits != LimitsBody::default());
    let (limits, user_limits) = if args.each_user { (None, limits) } else { (limits, None) };
    let change = TenantChange { limits, user_limits, suspended: args.suspended };
    let tenant = Http::new(&args.remote.endpoint())?.change_tenant(&args.name, &change).await?;
    print(args.json, &tenant, || tenants(std::slice::from_ref(&tenant)))
}

fn state(key: &KeyView) -> &'static str {
    if key.revoked_at.is_some() { "revoked" } else { "active" }
}

fn keys(list: &KeyList) -> String {
    let mut text = format!("{:22} {:16} {:16} {:9} WHAT IT MAY DO\n", "KEY", "TENANT", "NAME", "STATE");
    for key in &list.keys {
        let may = key.role.clone().unwrap_or_else(|| key.scopes.join(","));
        // Writing to a string can't fail; so below.
        let _ = writeln!(text, "{:22} {:16} {:16} {:9} {may}", key.id, key.tenant, key.name, state(key));
    }
    text
}

fn about(key: &KeyView) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:10} {value}");
    };
    line("id", &key.id);
    line("name", &key.name);
    line("tenant", &key.tenant);
    line("state", state(key));
    if let Some(role) = &key.role {
        line("role", role);
    }
    line("scopes", &key.scopes.join(", "));
    let tools = key.tools.as_ref().map_or_else(|| "all".to_owned(), |tools| tools.join(", "));
    line("tools", &tools);
    line("routes", &key.routes.as_ref().map_or_else(|| "all".to_owned(), |routes| routes.join(", ")));
    if let Some(user) = &key.user {
        line("user", user);
    }
    line("limits", &limits(&key.limits));
    text
}

fn tenants(list: &[TenantView]) -> String {
    let mut text = format!("{:20} {:>6} {:10} LIMITS\n", "TENANT", "ID", "STATE");
    for tenant in list {
        let state = if tenant.suspended { "suspended" } else { "active" };
        let _ = write!(text, "{:20} {:>6} {state:10} {}", tenant.name, tenant.id, limits(&tenant.limits));
        if let Some(each) = &tenant.user_limits {
            let _ = write!(text, "; each user: {}", limits(each));
        }
        text.push('\n');
    }
    text
}

fn limits(limits: &LimitsBody) -> String {
    let numbers = [
        (limits.requests_per_minute, "requests/min"),
        (limits.input_tokens_per_minute, "input tokens/min"),
        (limits.output_tokens_per_minute, "output tokens/min"),
    ];
    let money = [(limits.usd_per_day, "a day"), (limits.usd_per_month, "a month")];
    let numbers = numbers.into_iter().filter_map(|(number, what)| Some(format!("{} {what}", number?)));
    let money = money.into_iter().filter_map(|(dollars, what)| Some(format!("${} {what}", dollars?)));
    let all: Vec<String> = numbers.chain(money).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
