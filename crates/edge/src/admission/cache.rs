//! What a task may make of answers that are kept or on their way: by its route, and by what its client says.

use super::invalid;
use crate::Edge;
use crate::refusal::Refusal;
use http::{HeaderMap, header};
use tidewire_core::cache::{Freshness, Policy, Scope, Use, canonical, question};
use tidewire_core::guard;
use tidewire_core::port::CacheKey;
use tidewire_core::task::OnBusy;
use tidewire_core::{Spec, Task, TenantId};
use tidewire_proto::Code;

/// Part of each key: another number makes all that was kept before as good as gone.
const FORM: &[u8] = b"tidewire answer 2";

/// What a client says of kept answers, in the words of HTTP's `Cache-Control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    no_cache: bool,
    no_store: bool,
    only_if_cached: bool,
}

impl Said {
    fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut said = Self::default();
        for word in text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "no-cache" => said.no_cache = true,
                "no-store" => said.no_store = true,
                "only-if-cached" => said.only_if_cached = true,
                other => {
                    let message = format!("`cache` has `no-cache`, `no-store` or `only-if-cached`, not `{other}`");
                    return Err(invalid(message));
                }
            }
        }
        Ok(said)
    }
}

/// What a request's head says of kept answers, as a submission has it. Words that say nothing about them are a proxy's.
pub(crate) fn cache_control(headers: &HeaderMap) -> Option<String> {
    let mut words = Vec::new();
    for value in headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        for word in value.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            match word.as_str() {
                // A page that is loaded anew wants a new answer.
                "max-age=0" => words.push("no-cache".to_owned()),
                "no-cache" | "no-store" | "only-if-cached" => words.push(word),
                _ => {}
            }
        }
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// What the task may make of the cache; nothing, where its route or its request is none for it.
pub(super) fn uses(
    edge: &Edge,
    said: Option<&str>,
    (spec, tenant, wordless): (&Spec, TenantId, bool),
) -> Result<Option<Use>, Refusal> {
    let said = Said::parse(said)?;
    let plan = edge.catalog.plan();
    let policy = plan.route(&spec.capability).and_then(|route| route.cache.as_deref());
    let found = policy.and_then(|policy| of((policy, plan.guards()), said, (spec, tenant, wordless)));
    if said.only_if_cached && found.as_ref().is_none_or(|of| !of.read) {
        let message = "answers to such requests are not kept here, and `only-if-cached` asks for no other";
        return Err(Refusal::new(Code::NotCached, message));
    }
    Ok(found)
}

fn of(
    (policy, guards): (&Policy, &guard::Policy),
    said: Said,
    (spec, tenant, wordless): (&Spec, TenantId, bool),
) -> Option<Use> {
    // Its model reads more than its own messages.
    if spec.turn.lane.is_some() && spec.turn.on_busy == OnBusy::Steer {
        return None;
    }
    let form = canonical(&spec.input, wordless)?;
    let frame = frame((policy, guards), (spec, tenant, wordless))?;
    let keeps = !form.samples || policy.sampled;
    let (read, keep) = (keeps && !said.no_cache, keeps && !said.no_store);
    // A checker is to be asked about each prompt, and another one's was asked about another's.
    let means = policy.semantic.is_some() && guards.checking(&spec.model, &spec.capability).is_none();
    let bucket = (means && !wordless && (read || keep)).then(|| bucket(&frame, tenant, &spec.input)).flatten();
    let of = Use {
        key: frame.named(&[&form.bytes]),
        read,
        keep,
        join: policy.join && !form.samples && !said.no_cache && !said.only_if_cached,
        only: said.only_if_cached,
        rides: false,
        bucket,
        accounts: Vec::new(),
    };
    (of.read || of.keep || of.join).then_some(of)
}

/// What goes into a key beside the request.
struct Frame(blake3::Hasher);

impl Frame {
    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes()).update(part);
    }

    /// The key with these parts more.
    fn named(&self, parts: &[&[u8]]) -> CacheKey {
        let mut with = Self(self.0.clone());
        for part in parts {
            with.add(part);
        }
        CacheKey(*with.0.finalize().as_bytes())
    }
}

/// All that an answer depends on beside the request; nothing where the task shares with nobody.
fn frame(
    (policy, guards): (&Policy, &guard::Policy),
    (spec, tenant, wordless): (&Spec, TenantId, bool),
) -> Option<Frame> {
    let mut frame = Frame(blake3::Hasher::new());
    frame.add(FORM);
    frame.add(policy.scope.name().as_bytes());
    if policy.scope != Scope::Shared {
        frame.add(&tenant.0.to_le_bytes());
    }
    match policy.scope {
        Scope::Tenant | Scope::Shared => {}
        // Whoever has none shares with nobody.
        Scope::User => frame.add(spec.payer.user.as_ref()?.as_bytes()),
        Scope::Conversation => frame.add(spec.turn.lane.as_ref()?.as_bytes()),
    }
    frame.add(spec.capability.as_bytes());
    frame.add(spec.model.as_bytes());
    frame.add(if wordless { b"embeddings" } else { b"chat" });
    let mut needs: Vec<&str> = spec.turn.needs.iter().map(String::as_str).collect();
    needs.sort_unstable();
    frame.add(needs.join("\n").as_bytes());
    // An answer that was made under other rules is none under these.
    frame.add(&guards.fingerprint(&spec.model, &spec.capability));
    Some(frame)
}

/// Names what may be the same question. The tenant is always part of it, also where the route shares answers among tenants.
fn bucket(frame: &Frame, tenant: TenantId, input: &[u8]) -> Option<CacheKey> {
    let question = question(input)?;
    Some(frame.named(&[b"question", &tenant.0.to_le_bytes(), &question.rest]))
}

/// Lets a task wait for no slot where its answer is kept, or was asked for by another one. A hint: whatever comes of it, the
/// task gets its answer.
pub(crate) fn announce(edge: &Edge, task: &mut Task) {
    // One that waits for its turn or its hour is nobody to wait for, and has time itself.
    if task.spec.turn.lane.is_some() || task.spec.turn.start_at.is_some() {
        return;
    }
    let (at, priority, now) = (task.at(), task.spec.turn.priority, edge.clock.now());
    let plan = edge.catalog.plan();
    let policy = plan.route(&task.spec.capability).and_then(|route| route.cache.clone());
    let (Some(of), Some(policy)) = (&mut task.spec.cache, policy) else { return };
    let serves = |made_at| matches!(policy.freshness(made_at, now), Freshness::Fresh | Freshness::Stale);
    let kept = of.read && edge.answers.kept.made_at(of.key, now).is_some_and(serves);
    let asked = || {
        let lives = |task| edge.queue.knows(task);
        edge.answers.announced.announce(of.key, (at, priority), edge.clock.monotonic(), lives)
    };
    of.rides = kept || of.only || (of.join && asked());
}

/// The task is in line.
pub(crate) fn entered(edge: &Edge, task: &Task) {
    if let Some(of) = &task.spec.cache {
        edge.answers.announced.entered(of.key, task.at());
    }
}

/// The task was refused after all.
pub(crate) fn refused(edge: &Edge, task: &Task) {
    if let Some(of) = &task.spec.cache {
        edge.answers.announced.over(of.key, task.at());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;
    use tidewire_core::Payer;
    use tidewire_core::cache::{Semantic, Similarity};
    use tidewire_core::port::{CheckError, Checker, Opinion, Question};
    use tidewire_core::task::Turn;

    fn spec(user: &str, lane: &str) -> Spec {
        Spec {
            model: "m".to_owned(),
            capability: "r".into(),
            input: Bytes::from_static(br#"{"messages":[{"role":"user","content":"a"}],"temperature":0}"#),
            payer: Payer { key: None, user: Some(user.into()) },
            turn: Turn { lane: Some(Arc::from(lane)), ..Turn::default() },
            ..Spec::default()
        }
    }

    #[test]
    fn a_key_is_as_wide_as_its_scope() {
        let same = |scope, one: (&Spec, u32), other: (&Spec, u32)| {
            let policy = Policy { scope, ..Policy::default() };
            let key = |(spec, tenant): (&Spec, u32)| {
                of((&policy, &guard::Policy::default()), Said::default(), (spec, TenantId(tenant), false)).unwrap().key
            };
            key(one) == key(other)
        };
        let (ada, bob, elsewhere) = (spec("ada", "x"), spec("bob", "x"), spec("ada", "y"));
        assert!(same(Scope::Tenant, (&ada, 1), (&bob, 1)) && !same(Scope::Tenant, (&ada, 1), (&ada, 2)));
        assert!(same(Scope::User, (&ada, 1), (&elsewhere, 1)) && !same(Scope::User, (&ada, 1), (&bob, 1)));
        assert!(!same(Scope::User, (&ada, 1), (&ada, 2)));
        assert!(same(Scope::Conversation, (&ada, 1), (&bob, 1)));
        assert!(!same(Scope::Conversation, (&ada, 1), (&elsewhere, 1)));
        assert!(same(Scope::Shared, (&ada, 1), (&bob, 2)));
        let needs = Spec { turn: Turn { needs: vec!["eu".to_owned()], ..ada.turn.clone() }, ..ada.clone() };
        let model = Spec { model: "other".to_owned(), ..ada.clone() };
        let route = Spec { capability: "other".into(), ..ada.clone() };
        for other in [needs, model, route] {
            assert!(!same(Scope::Shared, (&ada, 1), (&other, 1)), "{other:?}");
        }
    }

    #[test]
    fn a_bucket_is_a_tenants_own_and_holds_what_differs_in_the_question_alone() {
        let semantic = Semantic { threshold: Similarity::of(0.9), deployment: "e".into() };
        let policy = Policy { scope: Scope::Shared, semantic: Some(semantic), ..Policy::default() };
        let free = guard::Policy::default();
        let asks = |content: &str, rest: &str| Spec {
            input: format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{content}\"}}],\"seed\":1{rest}}}")
                .into(),
            ..spec("a", "l")
        };
        let bucket = |policy: &Policy, said: &str, (spec, tenant): (&Spec, u32)| {
            let said = Said::parse(Some(said)).unwrap();
            of((policy, &free), said, (spec, TenantId(tenant), false)).and_then(|of| of.bucket)
        };
        let (one, other) = (asks("one", ""), asks("other", ""));
        let here = bucket(&policy, "", (&one, 1));
        assert!(here.is_some());
        assert_eq!(here, bucket(&policy, "", (&other, 1)));
        assert_eq!(here, bucket(&policy, "no-cache", (&one, 1)), "its answer is kept");
        assert_ne!(here, bucket(&policy, "", (&one, 2)), "never across tenants");
        assert_ne!(here, bucket(&policy, "", (&asks("one", ",\"max_tokens\":5"), 1)));
        let by_user = Policy { scope: Scope::User, ..policy.clone() };
        let elses = Spec { payer: Payer { key: None, user: Some("bob".into()) }, ..one.clone() };
        assert_ne!(bucket(&by_user, "", (&one, 1)), bucket(&by_user, "", (&elses, 1)));
        let off = Policy { semantic: None, ..policy.clone() };
        assert_eq!(bucket(&off, "", (&one, 1)), None, "off unless asked for");
        let acts = asks("one", ",\"tools\":[{}]");
        assert_eq!(bucket(&policy, "", (&acts, 1)), None);
    }

    struct Silent;

    #[async_trait::async_trait]
    impl Checker for Silent {
        async fn check(&self, _: Question) -> Result<Opinion, CheckError> {
            Err(CheckError { reason: "nobody asks".to_owned() })
        }
    }

    #[test]
    fn what_a_checker_watches_has_no_bucket_and_is_another_answer() {
        let semantic = Semantic { threshold: Similarity::of(0.9), deployment: "e".into() };
        let policy = Policy { semantic: Some(semantic), ..Policy::default() };
        let of = |name: Option<&str>, routes: &[&str]| {
            let guards = guard::Policy::default().with_checking(name.map(|name| guard::Checking {
                name: name.into(),
                checker: Arc::new(Silent),
                prompts: true,
                answers: true,
                every_chars: 1,
                on_failure: guard::OnFailure::Open,
                routes: routes.iter().map(|&route| route.to_owned()).collect(),
            }));
            let of = of((&policy, &guards), Said::default(), (&spec("a", "l"), TenantId(1), false)).unwrap();
            (of.key, of.bucket.is_some())
        };
        let (free, asks) = of(None, &[]);
        assert!(asks);
        let (watched, asks) = of(Some("one"), &[]);
        assert!(!asks && watched != free);
        assert_ne!(of(Some("other"), &[]).0, watched);
        assert_eq!(of(Some("one"), &["elsewhere"]), (free, true));
    }

    #[test]
    fn other_rules_make_another_answer() {
        let rule = |pattern: &str| guard::Spec {
            name: "g".to_owned(),
            pattern: Ok(pattern.to_owned()),
            place: guard::Place::Answer,
            action: guard::Action::Mask,
            replacement: None,
            routes: Vec::new(),
        };
        let key = |rules: &[guard::Spec]| {
            let rules: Vec<_> = rules.iter().map(|rule| Arc::new(guard::Rule::new(rule.clone()).unwrap())).collect();
            let guards = guard::Policy::new(&rules, 512).unwrap();
            of((&Policy::default(), &guards), Said::default(), (&spec("a", "l"), TenantId(1), false)).unwrap().key
        };
        assert_eq!(key(&[rule("a")]), key(&[rule("a")]));
        assert_ne!(key(&[rule("a")]), key(&[]));
        assert_ne!(key(&[rule("a")]), key(&[rule("b")]));
    }

    #[test]
    fn a_client_says_what_it_takes_and_a_sampled_answer_is_never_shared() {
        let policy = Policy::default();
        let free = guard::Policy::default();
        let uses =
            |said, spec: &Spec| of((&policy, &free), Said::parse(Some(said)).unwrap(), (spec, TenantId(1), false));
        let flags = |said| uses(said, &spec("a", "l")).map(|of| (of.read, of.keep, of.join, of.only));
        assert_eq!(flags(""), Some((true, true, true, false)));
        assert_eq!(flags("no-cache"), Some((false, true, false, false)));
        assert_eq!(flags("no-store"), Some((true, false, true, false)));
        assert_eq!(flags("no-cache, no-store"), None);
        assert_eq!(flags("only-if-cached"), Some((true, true, false, true)));
        let sampled = Spec { input: Bytes::from_static(br#"{"messages":[]}"#), ..spec("a", "l") };
        assert_eq!(uses("", &sampled), None);
        let keeps = Policy { sampled: true, ..Policy::default() };
        let kept = of((&keeps, &free), Said::default(), (&sampled, TenantId(1), false)).unwrap();
        assert_eq!((kept.read, kept.keep, kept.join), (true, true, false));
        let nobody = Spec { payer: Payer::default(), ..spec("a", "l") };
        let by_user = Policy { scope: Scope::User, ..Policy::default() };
        assert_eq!(of((&by_user, &free), Said::default(), (&nobody, TenantId(1), false)), None);
        assert!(Said::parse(Some("no-cash")).is_err());
    }

    #[test]
    fn a_head_is_read_as_proxies_write_it() {
        let headers = |value: &'static str| {
            HeaderMap::from_iter([(header::CACHE_CONTROL, http::HeaderValue::from_static(value))])
        };
        assert_eq!(cache_control(&headers("No-Cache, max-age=0")).as_deref(), Some("no-cache, no-cache"));
        assert_eq!(cache_control(&headers("only-if-cached,x")).as_deref(), Some("only-if-cached"));
        assert_eq!(cache_control(&headers("max-age=60")), None);
    }
}
