//! Every setting with what it means: the text of `tidewire config reference` and of docs/configuration.md, and
//! what an unknown key is compared with.

/// A setting: its path, an example or default as TOML, and what it means.
pub(super) struct Setting {
    pub(super) path: &'static str,
    pub(super) value: &'static str,
    pub(super) meaning: &'static str,
}

const fn setting(path: &'static str, value: &'static str, meaning: &'static str) -> Setting {
    Setting { path, value, meaning }
}

/// All of them, in the order of the page.
pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        "\"127.0.0.1:8080\"",
        "address and port; one that is not loopback needs a key, see [identity]; port 0 takes a free one",
    ),
    setting("data", "\"~/.local/share/tidewire\"", "directory of logs, tasks and settlements; one server at a time"),
    setting(
        "engine",
        "\"embedded\"",
        "where they live: `embedded` (on disk, in `data`) or `memory` (nothing survives; for trying out)",
    ),
    setting("durability", "\"fsync\"", "what an ack survives: `fsync` (power loss) or `write` (kill -9 only, faster)"),
    setting("limits.body_bytes", "1048576", "largest request body and WebSocket frame, in bytes"),
    setting("limits.follows_per_connection", "256", "logs that one WebSocket connection follows"),
    setting("limits.connections", "20000", "connections at once; further ones wait in the system's backlog"),
    setting(
        "limits.data_free_bytes",
        "268435456",
        "new tasks are refused while the disk of `data` has fewer bytes free; running ones go on; 0 switches it off",
    ),
    setting("limits.streams", "100000", "streams of `/v1/stream` that one tenant has at once"),
    setting("limits.long_poll_ms", "30000", "how long a long poll of a stream waits"),
    setting("limits.file_bytes", "536870912", "largest file that may be uploaded, in bytes; 512 MiB, as at OpenAI"),
    setting("limits.files_bytes", "10737418240", "all files of a tenant together, in bytes"),
    setting("limits.files", "10000", "files of a tenant"),
    setting(
        "limits.file_text_bytes",
        "1048576",
        "text that the files of one task may amount to, in bytes; 1 MiB is some 250,000 tokens",
    ),
    setting("limits.file_readers", "2", "documents that are read at once; each takes a process of up to 1 GiB"),
    setting("queue.waiting", "100000", "tasks that wait, in all; one more is refused with `queue_full`"),
    setting("queue.waiting_per_tenant", "100000", "tasks of one tenant that wait"),
    setting("queue.running", "100000", "tasks that run, in all; the slots of each deployment bound them too"),
    setting("queue.running_per_tenant", "100000", "tasks of one tenant that run; its further ones wait"),
    setting("worker.name", "\"worker-1\"", "the worker's name in `started` events"),
    setting("worker.lease_ms", "30000", "how long a lease lasts without a renewal, in milliseconds"),
    setting("worker.backoff_ms", "500", "longest first wait between attempts, in milliseconds; it doubles with each"),
    setting("worker.backoff_cap_ms", "30000", "longest wait between attempts, in milliseconds"),
    setting(
        "worker.drain_ms",
        "10000",
        "how long running tasks may take to end at SIGTERM before they are handed back, in milliseconds",
    ),
    setting("timeouts.connect_ms", "5000", "for a connection to an upstream, in milliseconds"),
    setting("timeouts.first_token_ms", "60000", "from a request to its first token, in milliseconds"),
    setting("timeouts.between_tokens_ms", "30000", "between two tokens, in milliseconds"),
    setting(
        "embeddings.inputs",
        "256",
        "inputs of many callers that go upstream in one call; a request with more goes alone",
    ),
    setting("embeddings.bytes", "524288", "bytes of such a call's inputs"),
    setting("embeddings.wait_ms", "5", "how long the first of them waits for others, in milliseconds"),
    setting("retention.age_hours", "168", "tasks and logs that ended longer ago are deleted"),
    setting(
        "retention.bytes",
        "10737418240",
        "the oldest ended logs of tasks are deleted while all of them hold more bytes",
    ),
    setting("retention.transient_minutes", "10", "transient tasks that ended longer ago are forgotten"),
    setting("retention.transient_bytes", "268435456", "bytes of memory for transient logs"),
    setting("retention.hot_bytes", "134217728", "bytes of memory for the newest events of durable logs"),
    setting(
        "retention.audit_days",
        "400",
        "what operators did longer ago is forgotten, in days; so is all but the last million entries",
    ),
    setting(
        "cache.bytes",
        "268435456",
        "answers that are kept, in bytes; what was used longest ago goes first; see [route.cache]",
    ),
    setting("access.origins", "[]", "other sites whose pages may use the server, such as \"https://app.example.com\""),
    setting("access.hosts", "[]", "names under which the server may be addressed, beside loopback ones"),
    setting(
        "identity.required",
        "false",
        "a key is needed even on a loopback address where there is none yet; elsewhere one always is",
    ),
    setting(
        "identity.session_minutes",
        "720",
        "how long a browser stays signed in, by key or at a provider, in minutes; 1 to 43200 (30 days)",
    ),
    setting(
        "identity.admin_key_file",
        "\"~/tidewire-admin.key\"",
        "holds the first key, of the role admin: at least 32 characters; or set the variable TIDEWIRE_ADMIN_KEY",
    ),
    setting(
        "jwt.algorithm",
        "\"\"",
        "take tokens that your application signs: `HS256`, `RS256` or `ES256`; none while it is empty",
    ),
    setting(
        "jwt.key_file",
        "\"~/jwt.pem\"",
        "the secret of HS256 (or the variable TIDEWIRE_JWT_SECRET), a public key as PEM, or a JSON Web Key Set",
    ),
    setting("jwt.jwks_url", "\"\"", "where a JSON Web Key Set is fetched from, every five minutes"),
    setting("jwt.issuer", "\"\"", "what a token's `iss` must be"),
    setting("jwt.audience", "\"\"", "what a token's `aud` must be, or hold"),
    setting("jwt.leeway_s", "10", "how far the issuer's clock may be off, in seconds"),
    setting("jwt.tenant", "\"default\"", "the tenant of all tokens, unless `tenant_claim` is set"),
    setting("jwt.tenant_claim", "\"\"", "the claim that names the tenant; a token without it is then refused"),
    setting("jwt.user_claim", "\"sub\"", "the claim that names the user"),
    setting("jwt.scopes", "[\"tasks:write\", \"tasks:read\"]", "what a token may do that names no scopes"),
    setting("jwt.scopes_claim", "\"scope\"", "the claim that names scopes: a list, or one text with spaces"),
    setting(
        "jwt.routes_claim",
        "\"routes\"",
        "the claim that lists the public model names that may be used; all without it",
    ),
    setting(
        "oidc.issuer",
        "\"\"",
        "let operators sign in at this OpenID Connect provider: its issuer, exactly as it writes it; none while it is empty",
    ),
    setting("oidc.client_id", "\"\"", "the name of this server at the provider"),
    setting(
        "oidc.client_secret_env",
        "\"TIDEWIRE_OIDC_SECRET\"",
        "the variable that holds its secret there; without one it is a public client, which PKCE alone protects",
    ),
    setting("oidc.client_secret_file", "\"~/oidc.secret\"", "or the file that holds it"),
    setting(
        "oidc.redirect_url",
        "\"\"",
        "where browsers reach this server's callback, such as \"https://tide.example.com/v1/session/oidc/callback\"; the \
         provider must know it",
    ),
    setting("oidc.scopes", "[\"openid\", \"email\"]", "what the provider is asked for; many want one more for groups"),
    setting("oidc.algorithm", "\"RS256\"", "how ID tokens are signed: `RS256` or `ES256`"),
    setting("oidc.leeway_s", "10", "how far the provider's clock may be off, in seconds"),
    setting("oidc.tenant", "\"default\"", "the tenant in which operators work unless they name another one"),
    setting("oidc.tenant_claim", "\"\"", "the claim that names it; whoever has none is then refused"),
    setting("oidc.name_claim", "\"email\"", "the claim that the audit log shows beside `sub`"),
    setting(
        "oidc.role_claim",
        "\"groups\"",
        "the claim that lists a person's groups; dots lead into claims within claims, such as \"realm_access.roles\"",
    ),
    setting(
        "oidc.roles",
        "{}",
        "which group has which role, such as { \"tidewire-admins\" = \"admin\", \"on-call\" = \"operator\" }; of several the \
         highest counts, and whoever has none is refused",
    ),
    setting(
        "public.max_age_s",
        "0",
        "how long a browser keeps a public result, in seconds; nobody can tell it to forget one",
    ),
    setting("public.s_maxage_s", "60", "how long a shared cache keeps one, in seconds"),
    setting(
        "public.stale_while_revalidate_s",
        "30",
        "how long after that it may serve the old one while it asks for it anew, in seconds",
    ),
    setting(
        "public.stale_if_error_s",
        "86400",
        "how long after that it may serve the old one where the server does not answer, in seconds",
    ),
    setting("public.purge_urls", "[]", "caches in front that are told when a result is no longer public, at most 16"),
    setting("public.purge_method", "\"PURGE\"", "the HTTP method that tells them: `PURGE`, `BAN` or what they know"),
    setting("log.format", "\"text\"", "`text` or `json`, on stderr"),
    setting("log.filter", "\"info\"", "what is logged: a level, or directives such as \"info,tidewire_worker=debug\""),
    setting(
        "guards.window_bytes",
        "512",
        "how much of an answer is held back at most while it could still become part of a [[guard]]'s match, in bytes; of a \
         longer match, what lies further back is told",
    ),
    setting("runaway.window_s", "60", "over how long an agent's repetitions are counted, in seconds"),
    setting(
        "runaway.slow_after",
        "0",
        "from so many same requests (or same tool calls in a row) on, its requests start later; 0 switches it off",
    ),
    setting("runaway.stop_after", "0", "from so many on they are refused with `runaway_loop`; 0 switches it off"),
    setting(
        "runaway.delay_ms",
        "1000",
        "how much later the first one starts, in milliseconds; it doubles, up to a minute",
    ),
    setting(
        "checker.url",
        "\"\"",
        "ask this service whether a prompt or an answer may pass: `POST` with `stage`, `task`, `route`, `tenant`, `text`; none \
         while it is empty",
    ),
    setting("checker.key_env", "\"CHECKER_KEY\"", "the variable that holds its key, sent as a bearer token"),
    setting(
        "checker.timeout_ms",
        "2000",
        "how long an opinion may take, the wait for a place included, in milliseconds",
    ),
    setting(
        "checker.on_failure",
        "\"closed\"",
        "without an opinion: `closed` fails the task, and holds text back until it was checked; `open` lets it pass, at once",
    ),
    setting("checker.prompts", "true", "ask before the model is asked"),
    setting("checker.answers", "true", "ask while it answers, and at the end"),
    setting("checker.every_chars", "400", "after so many further characters of an answer"),
    setting("checker.concurrency", "64", "questions at once"),
    setting("checker.routes", "[]", "public model names that it is asked for; all unless set"),
    setting(
        "outgoing.allow",
        "[]",
        "networks that the server may call of its own beside public ones, such as \"10.0.0.0/8\": for the checker, and for \
         issuers of keys; a URL that names an address itself needs none",
    ),
    setting(
        "otlp.endpoint",
        "\"\"",
        "a collector's base URL, such as \"http://127.0.0.1:4318\", which gets the spans of tasks that ended; none while it is empty",
    ),
    setting(
        "otlp.headers_file",
        "\"~/otlp-headers\"",
        "holds what goes with each export, as `name=value` lines; or set the variable TIDEWIRE_OTLP_HEADERS",
    ),
    setting(
        "otlp.sample_ratio",
        "1.0",
        "how many of the traces that begin here are exported; others do as their caller says",
    ),
    setting("otlp.include_text", "false", "export prompts and answers too"),
    setting(
        "built_in.enabled",
        "true",
        "serve the built-in model and the one for embeddings, where this program was built with them",
    ),
    setting(
        "built_in.weights",
        "\"~/.cache/tidewire/models/SmolLM2-135M-Instruct.Q4_1.gguf\"",
        "its weights; `make run` fetches them",
    ),
    setting("built_in.threads", "0", "threads that compute; 0 is one less than the cores"),
    setting("built_in.parallel", "32", "tasks that it runs at once"),
    setting("built_in.context_tokens", "2048", "tokens of prompt and answer; memory is parallel x this x 22.5 KiB"),
    setting(
        "deployment.name",
        "\"gpt-4o-mini\"",
        "name of a [[deployment]], and its public model name unless `serves` is set",
    ),
    setting(
        "deployment.backend",
        "\"openai\"",
        "`openai` (any OpenAI-compatible server), `azure` (OpenAI at Azure), `anthropic`, `gemini`, `local` (weights in this process), \
         `scripted` (tests and benchmarks)",
    ),
    setting("deployment.serves", "\"gpt-4o-mini\"", "public model name, where several deployments share one"),
    setting("deployment.has", "[\"eu\"]", "what tasks may name in `needs`"),
    setting("deployment.model", "\"gpt-4o-mini\"", "the model's name at the backend; the public name unless set"),
    setting(
        "deployment.url",
        "\"https://api.openai.com/v1\"",
        "base URL with its `/v1`; `azure`: the endpoint; `anthropic`, `gemini`: their public one unless set",
    ),
    setting("deployment.key_env", "\"OPENAI_API_KEY\"", "the variable that holds the upstream's key"),
    setting("deployment.key_file", "\"/run/secrets/openai\"", "or the file that holds it"),
    setting(
        "deployment.api_version",
        "\"2024-10-21\"",
        "`azure`: a date for the older form of its URLs, none for `/openai/v1`; `anthropic`: 2023-06-01 unless set",
    ),
    setting(
        "deployment.headers",
        "{ \"HTTP-Referer\" = \"https://a.example\" }",
        "headers for each request to the upstream; shown with the settings, so not for secrets",
    ),
    setting("deployment.max_tokens", "8192", "`anthropic`: the longest answer where a request does not say"),
    setting(
        "deployment.weights",
        "\"/models/some.gguf\"",
        "`local`: a GGUF file, or a WordLlama table (`.safetensors`, with its `tokenizer.json` beside it), which only embeds",
    ),
    setting("deployment.threads", "1", "`local`: threads that compute"),
    setting(
        "deployment.context_tokens",
        "4096",
        "tokens of prompt and answer that fit; a prompt that is too long goes on only to a larger one",
    ),
    setting("deployment.slots", "256", "requests at once"),
    setting(
        "deployment.weight",
        "1",
        "its share under `weighted`, where a route sets no other; 0: only when no other is left",
    ),
    setting("deployment.region", "\"eu-west\"", "where it is: one more thing that tasks may name in `needs`"),
    setting("deployment.requests_per_minute", "500", "requests that it is sent in any minute; no limit unless set"),
    setting(
        "deployment.tokens_per_minute",
        "200000",
        "tokens that it is sent in any minute, read and written together",
    ),
    setting("deployment.price_input", "0.15", "dollars for a million tokens that it reads"),
    setting("deployment.price_cached_input", "0.075", "dollars for a million of those that it had cached"),
    setting(
        "deployment.price_cache_write",
        "0.1875",
        "dollars for a million of those that it put into its cache; as `price_input` unless set",
    ),
    setting("deployment.price_output", "0.6", "dollars for a million tokens that it writes"),
    setting(
        "deployment.health_ms",
        "10000",
        "how often it is asked for its models, in milliseconds; one that does not answer is left alone until it does; \
         0, the default, switches it off",
    ),
    setting("route.name", "\"chat\"", "public model name of a [[route]]"),
    setting(
        "route.deployments",
        "[\"gpt-4o-mini\", { name = \"azure-eu\", weight = 2 }]",
        "names of its deployments, each with a weight where it differs from the deployment's; a deployment that no route names \
         is public by its own name",
    ),
    setting(
        "route.strategy",
        "\"weighted\"",
        "`weighted`, `least_busy` (outstanding tokens), `fastest` (moving time to first token and per token), `headroom` (most \
         left of its minute), `cheapest`, `sticky` (a conversation stays where its prefix is cached)",
    ),
    setting(
        "route.prefer",
        "[\"eu-west\"]",
        "deployments that have all of these go first; the others when none of those is left",
    ),
    setting("route.fallbacks", "[\"long\"]", "routes that are tried when no deployment of this one is left"),
    setting("route.tries", "3", "deployments that one attempt tries at most, 1 to 10"),
    setting(
        "route.wait_ms",
        "60000",
        "how long a task waits for any deployment to be available before it fails with `route_unavailable`",
    ),
    setting("route.first_token_ms", "60000", "from a request to its first token; `timeouts.first_token_ms` unless set"),
    setting("route.between_tokens_ms", "30000", "between two tokens; `timeouts.between_tokens_ms` unless set"),
    setting("route.requests_per_minute", "600", "tasks a minute of all who take it together"),
    setting("route.input_tokens_per_minute", "1000000", "tokens that these read a minute"),
    setting("route.output_tokens_per_minute", "200000", "tokens that these write a minute"),
    setting("route.usd_per_day", "50.0", "dollars that these cost a day (UTC)"),
    setting("route.usd_per_month", "1000.0", "dollars that these cost a month (UTC)"),
    setting(
        "route.hedge",
        "{ after = 0.95, min_ms = 100, budget = 0.05 }",
        "ask a second deployment as well where the first token has not come after this quantile of the route's last times, and \
         `min_ms` at least; for no more than this share of its requests. Off unless set",
    ),
    setting(
        "route.shadow",
        "{ route = \"next\", share = 0.1 }",
        "run this share of its requests once more on another route, after the first answer, for operators to compare. Off unless \
         set",
    ),
    setting(
        "route.cache.ttl_s",
        "300",
        "how long an answer is given again, in seconds; a route without `cache` keeps none",
    ),
    setting(
        "route.cache.stale_while_revalidate_s",
        "0",
        "how long after that it is given at once while a new one is asked for, in seconds",
    ),
    setting(
        "route.cache.stale_if_error_s",
        "0",
        "how long after `ttl_s` it is given where a new one can't be had, in seconds",
    ),
    setting(
        "route.cache.scope",
        "\"tenant\"",
        "among whom: `tenant`, `user`, `conversation` (tasks of a lane), or `shared` (all tenants)",
    ),
    setting(
        "route.cache.join",
        "true",
        "whether the same request, asked while its answer is on its way, rides on that",
    ),
    setting("route.cache.sampled", "false", "whether answers to requests that sample without a seed are kept too"),
    setting("route.cache.replay", "\"full\"", "at which pace: `full`, or `paced` as they came from the model"),
    setting(
        "route.cache.semantic",
        "{ threshold = 0.9, deployment = \"my-embeddings\" }",
        "give an answer also to another question of the same tenant that means the same: vectors by this deployment, at least so \
         close, and no word that tells them apart; see docs/caching.md. Off unless set",
    ),
    setting(
        "route.public.max_age_s",
        "0",
        "for this route's public results, in place of `public.max_age_s`; the same for those below, each by itself",
    ),
    setting("route.public.s_maxage_s", "60", "how long a shared cache keeps one, in seconds"),
    setting(
        "route.public.stale_while_revalidate_s",
        "30",
        "how long after that it may serve the old one meanwhile, in seconds",
    ),
    setting("route.public.stale_if_error_s", "86400", "how long it may where the server does not answer, in seconds"),
    setting("guard.name", "\"no-keys\"", "name of a [[guard]], which refusals and metrics tell"),
    setting(
        "guard.pattern",
        "\"(?i)project bluebird\"",
        "what it looks for: a regular expression, without look-around",
    ),
    setting(
        "guard.built_in",
        "\"aws_access_key\"",
        "or one of `email`, `credit_card` (its check digit is checked), `us_ssn`, `aws_access_key`, `openai_key`, `github_token`",
    ),
    setting("guard.place", "\"both\"", "where: in the `prompt`, in the `answer`, or in `both`"),
    setting(
        "guard.action",
        "\"mask\"",
        "`mask`: the replacement stands in its place, and what was there is not stored; `block`: `guard_blocked`",
    ),
    setting("guard.replacement", "\"[no-keys]\"", "what stands in its place; its name in brackets unless set"),
    setting("guard.routes", "[\"chat\"]", "public model names that it is for; all unless set"),
    setting("bounds.routes", "[\"chat\"]", "public model names that a [[bounds]] is for; all unless set"),
    setting(
        "bounds.input_tokens",
        "8000",
        "the largest prompt, in tokens; counted up to 8 KiB where the model's tokenizer is known, else estimated",
    ),
    setting("bounds.input_bytes", "65536", "the largest request, in bytes of its JSON"),
    setting("bounds.output_tokens", "1000", "the longest answer; a request that does not say gets this `max_tokens`"),
    setting("bounds.over", "\"cap\"", "a request for a longer answer gets this one (`cap`), or is refused (`refuse`)"),
];

/// Tables of which there may be any number.
const SEVERAL: &[&str] = &["deployment", "route", "guard", "bounds"];

/// Settings that are shown as an example.
const WITHOUT_DEFAULT: &[&str] = &["oidc.client_secret_env", "checker.key_env"];

/// A whole commented `tidewire.toml`.
pub(crate) fn reference() -> String {
    let mut out = String::from(
        "# tidewire.toml, every setting with its default. Variables override the file: TIDEWIRE_LISTEN,\n\
         # TIDEWIRE_LIMITS__BODY_BYTES (two underscores for a dot), and flags override both.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (table, key) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if table != section {
            section = table;
            match table {
                several if SEVERAL.contains(&several) => {
                    out.push_str(&["\n# Any number of these:\n# [[", table, "]]\n"].concat());
                }
                _ => out.push_str(&["\n[", table, "]\n"].concat()),
            }
        }
        // What has no default is shown as a comment, so that the file as printed is one that works.
        let has_none = |setting: &Setting| setting.value.contains('~') || WITHOUT_DEFAULT.contains(&setting.path);
        let mark = if SEVERAL.contains(&table) || has_none(setting) { "# " } else { "" };
        out.push_str(&["# ", setting.meaning, "\n", mark, key, " = ", setting.value, "\n"].concat());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use std::collections::BTreeSet;

    fn paths(value: &toml::Value, prefix: &str, into: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    paths(value, &path, into);
                }
            }
            _ => {
                into.insert(prefix.to_owned());
            }
        }
    }

    #[test]
    fn the_reference_documents_every_setting_and_its_default() {
        let text = toml::to_string(&Config::default()).unwrap();
        let mut known = BTreeSet::new();
        paths(&toml::from_str(&text).unwrap(), "", &mut known);
        let documented: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.path.to_owned()).collect();
        let missing: Vec<_> =
            known.iter().filter(|path| !SEVERAL.contains(&path.as_str()) && !documented.contains(*path)).collect();
        assert!(missing.is_empty(), "undocumented: {missing:?}");

        let as_file: Config = toml::from_str(&reference()).unwrap();
        let mut as_file = toml::Value::try_from(as_file).unwrap();
        let mut default = toml::Value::try_from(Config::default()).unwrap();
        for value in [&mut as_file, &mut default] {
            value.as_table_mut().unwrap().remove("data");
        }
        assert_eq!(as_file, default, "the reference shows another default than the code has");
    }

    #[test]
    fn a_documented_deployment_and_route_are_ones_that_can_be_read() {
        let table = |name: &str| {
            let line = |setting: &Setting| Some(format!("{} = {}", setting.path.strip_prefix(name)?, setting.value));
            SETTINGS.iter().filter_map(line).collect::<Vec<_>>().join("\n")
        };
        toml::from_str::<super::super::DeploymentConfig>(&table("deployment.")).unwrap();
        toml::from_str::<super::super::values::RouteConfig>(&table("route.")).unwrap();
        toml::from_str::<super::super::guard::GuardConfig>(&table("guard.")).unwrap();
        toml::from_str::<super::super::guard::BoundsConfig>(&table("bounds.")).unwrap();
    }
}
