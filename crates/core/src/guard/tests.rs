//! Guardrails: a pattern is found wherever a text is cut, and nothing is held that could not become one.

use super::*;
use crate::id::{KeyId, TenantId};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const WINDOW_BYTES: usize = 96;

fn spec(name: &str, pattern: Result<&str, &str>, action: Action) -> Spec {
    Spec {
        name: name.to_owned(),
        pattern: pattern.map(str::to_owned).map_err(str::to_owned),
        place: Place::Both,
        action,
        replacement: None,
        routes: Vec::new(),
    }
}

fn rules(specs: &[(&str, Result<&str, &str>)]) -> Arc<Rules> {
    let made = specs.iter().map(|(name, pattern)| Arc::new(Rule::new(spec(name, *pattern, Action::Mask)).unwrap()));
    Arc::new(Rules::new(made.collect(), WINDOW_BYTES).unwrap())
}

/// Rules that share beginnings, look around, are greedy and lazy, and check a sum.
fn many() -> Arc<Rules> {
    rules(&[
        ("email", Err("email")),
        ("card", Err("credit_card")),
        ("aws", Err("aws_access_key")),
        ("code", Ok(r"code: ?[a-zé]+")),
        ("line", Ok(r"(?m)^secret .{0,40}$")),
        ("tag", Ok(r"<b>.{0,60}?</b>")),
        ("short", Ok(r"\bab\B")),
    ])
}

const TEXTS: &[&str] = &[
    "mail a.b@example.co.uk or x@y.zz, key AKIAABCDEFGHIJKLMNOP; end",
    "card 4111 1111 1111 1111 12, no card 4111 1111 1111 1112, 5500005555555559.",
    "é code: ééa 🙂code:b\nsecret of mine\nsecret x",
    "<b>bold</b> and <b>open; ab abc ab",
    "AKIAABCDEFGHIJKLMNOPQ is too long; AKIAABCDEFGHIJKLMNOP",
    "4111111111111111",
];

fn whole(rules: &Rules, text: &str) -> String {
    rules.apply(text, &mut Vec::new()).unwrap().unwrap_or_else(|| text.to_owned())
}

/// The text as it comes out where it comes in these pieces.
fn streamed<'a>(rules: &Arc<Rules>, pieces: impl IntoIterator<Item = &'a str>) -> String {
    let (mut masker, mut hits, mut out) = (Masker::new(rules.clone(), ""), Vec::new(), String::new());
    for piece in pieces {
        out.push_str(&masker.push(piece, &mut hits).unwrap().text);
    }
    out.push_str(&masker.finish(&mut hits).unwrap().text);
    out
}

#[test]
fn a_pattern_is_masked_wherever_the_text_is_cut_once_or_twice() {
    let rules = many();
    for text in TEXTS {
        let expected = whole(&rules, text);
        assert_ne!(expected, *text, "there is something to mask");
        let cuts: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
        for &first in &cuts {
            for &second in cuts.iter().filter(|&&second| second >= first) {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(streamed(&rules, pieces), expected, "cut at {first} and {second}");
            }
        }
        let each = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]);
        assert_eq!(streamed(&rules, each), expected, "cut everywhere");
    }
}

#[test]
fn what_is_masked_is_what_should_be() {
    let rules = many();
    assert_eq!(whole(&rules, TEXTS[0]), "mail [email] or [email], key [aws]; end");
    assert_eq!(whole(&rules, TEXTS[1]), "card [card] 12, no card 4111 1111 1111 1112, [card].");
    assert_eq!(whole(&rules, TEXTS[2]), "é [code] 🙂[code]\n[line]\n[line]");
    assert_eq!(
        whole(&rules, TEXTS[3]),
        "<b>bold</b> and <b>open; ab abc ab".replace("<b>bold</b>", "[tag]").replace("abc", "[short]c")
    );
    assert_eq!(whole(&rules, TEXTS[4]), "AKIAABCDEFGHIJKLMNOPQ is too long; [aws]");
}

proptest! {
    #[test]
    fn any_text_in_any_pieces_comes_out_as_in_one(
        parts in prop::collection::vec("(a@b\\.cc|AKIA|[A-Z]{4}|41111111|1111|[ \n.]|<b>|</b>|code:|é🙂|secret |ab){1,3}", 1..8),
        cut in prop::collection::vec(1usize..9, 1..20),
    ) {
        let (rules, text) = (many(), parts.concat());
        let mut pieces = Vec::new();
        let (mut from, mut sizes) = (0, cut.iter().cycle());
        while from < text.len() {
            let to = text.ceil_char_boundary((from + sizes.next().unwrap()).min(text.len()));
            pieces.push(&text[from..to]);
            from = to;
        }
        // Only what is longer than the window may differ.
        prop_assume!(text.len() <= WINDOW_BYTES);
        prop_assert_eq!(streamed(&rules, pieces), whole(&rules, &text));
    }
}

#[test]
fn only_what_could_become_a_match_is_held_back() {
    let rules = rules(&[("aws", Err("aws_access_key"))]);
    let (mut masker, mut hits) = (Masker::new(rules, ""), Vec::new());
    let mut told = |piece: &str| masker.push(piece, &mut hits).unwrap().text;
    assert_eq!(told("Hello, all is well. "), "Hello, all is well. ");
    assert_eq!(told("BAK"), "B".to_owned() + "AK".strip_prefix("AK").unwrap());
    assert_eq!(told("E"), "AKE");
    assert_eq!(told(" AKIA"), " ");
    assert_eq!(told("ABCDEFGHIJKLMNO"), "");
    assert_eq!(told("P"), "", "one more letter, and it is none");
    assert_eq!(told("."), "[aws].");
}

#[test]
fn no_more_than_the_window_is_held_and_a_longer_match_is_told_up_to_it() {
    let rules = rules(&[("long", Ok(r"x[a-z]*!"))]);
    let (mut masker, mut hits, mut out) = (Masker::new(rules, ""), Vec::new(), String::new());
    for _ in 0..1000 {
        out.push_str(&masker.push("xa", &mut hits).unwrap().text);
        assert!(masker.at() - out.len() <= WINDOW_BYTES);
    }
    out.push_str(&masker.push("! y", &mut hits).unwrap().text);
    out.push_str(&masker.finish(&mut hits).unwrap().text);
    assert!(out.ends_with("[long] y") && out.len() < 2000, "{}", &out[out.len() - 120..]);
    assert_eq!(hits.len(), 1);
}

#[test]
fn a_rule_that_blocks_names_itself_and_not_the_text() {
    let rule = Arc::new(Rule::new(spec("no-keys", Err("aws_access_key"), Action::Block)).unwrap());
    let rules = Arc::new(Rules::new(vec![rule], WINDOW_BYTES).unwrap());
    let error = rules.apply("AKIAABCDEFGHIJKLMNOP", &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "the rule `no-keys` forbids this text");
    let (mut masker, mut hits) = (Masker::new(rules, ""), Vec::new());
    assert!(masker.push("AKIAABCDEFGHIJ", &mut hits).is_ok());
    assert!(masker.push("KLMNOP", &mut hits).is_ok(), "one more letter, and it is none");
    assert!(masker.finish(&mut hits).is_err());
}

#[test]
fn what_is_no_rule_is_refused_with_why() {
    let bad = |pattern| Rule::new(spec("x", pattern, Action::Mask)).unwrap_err();
    assert!(matches!(bad(Ok("(")), BadRule::Pattern(_)));
    assert_eq!(bad(Ok("a*")), BadRule::Empty);
    assert_eq!(bad(Ok(r"\w{5000}")), BadRule::TooLarge);
    assert!(bad(Err("emial")).to_string().contains("there are email, credit_card"));
}

#[test]
fn texts_are_replaced_and_every_other_byte_stays() {
    let input = r#"{"x":1.0,"model":"s", "messages":[{"role":"s","content":"s\n"},{"content":[{"type":"text","text":"as"},
        {"image_url":{"url":"s"}}],"tool_calls":[{"id":"s","function":{"name":"f","arguments":"{\"a\":\"s\"}"}}]}],
        "tools":[{"description":"s"}],"user":"s","deep":[[{"messages":"s"}]],"input":["s"],"m\u0065ssages2":"s"}"#;
    let replaced = |text: &str| Ok::<_, ()>(text.contains('s').then(|| text.replace('s', "T\"")));
    let out = String::from_utf8(rewritten(input.as_bytes(), replaced).unwrap().unwrap()).unwrap();
    let expected = input
        .replace(r#""content":"s\n""#, r#""content":"T\"\n""#)
        .replace(r#""text":"as""#, r#""text":"aT\"""#)
        .replace(r#"{\"a\":\"s\"}"#, r#"{\"a\":\"T\"\"}"#)
        .replace(r#""input":["s"]"#, r#""input":["T\""]"#);
    assert_eq!(out, expected);
    assert_eq!(rewritten(b"{\"messages\":[\"a\"]}", replaced).unwrap(), None);
    assert_eq!(joined(input.as_bytes(), 100), "s\n\nas\nf\n{\"a\":\"s\"}\ns");
    let nested = format!(r#"{{"x":{}{},"messages":["s"]}}"#, "[".repeat(9999), "]".repeat(9999));
    assert!(rewritten(nested.as_bytes(), replaced).unwrap().unwrap().ends_with(br#""messages":["T\""]}"#));
}

#[test]
fn an_answer_is_capped_where_it_asks_for_more_and_where_it_does_not_say() {
    let capped = |input: &str| bounds::capped(input.as_bytes(), 9).unwrap().map(|out| String::from_utf8(out).unwrap());
    assert_eq!(capped(r#"{"max_tokens":9}"#), None);
    assert_eq!(capped(r#"{"max_tokens":10}"#).unwrap(), r#"{"max_tokens":9}"#);
    assert_eq!(capped(r#"{"max_completion_tokens":10,"z":1.0}"#).unwrap(), r#"{"max_completion_tokens":9,"z":1.0}"#);
    assert_eq!(
        capped(r#"{"max_completion_tokens":1,"max_tokens":"many"}"#).unwrap(),
        r#"{"max_completion_tokens":1,"max_tokens":9}"#
    );
    assert_eq!(capped(r#"{"max_tokens":null}"#).unwrap(), r#"{"max_tokens":9}"#);
    let refuse = Bounds { output_tokens: Some(5), over: Over::Refuse, ..Bounds::default() };
    let cap = Bounds { output_tokens: Some(3), input_bytes: Some(1), ..Bounds::default() };
    let both = Bounds { output_tokens: Some(3), input_bytes: Some(1), over: Over::Refuse, ..Bounds::default() };
    assert_eq!((refuse.and(cap), cap.and(refuse)), (both, both));
}

const ON: Runaway =
    Runaway { window: Duration::from_mins(1), slow_after: 5, stop_after: 8, delay: Duration::from_secs(1) };
const ME: (TenantId, Agent<'static>) = (TenantId(1), Agent::Payer(Some(KeyId(7)), None));

fn look(loops: &Loops, agent: (TenantId, Agent<'_>), input: &str, at_secs: u64) -> Verdict {
    loops.look(&ON, agent, ("r", input.as_bytes()), None, Duration::from_secs(at_secs))
}

#[test]
fn the_same_request_again_and_again_is_slowed_ever_more_and_then_stopped_until_it_was_quiet() {
    let loops = Loops::default();
    let same = r#"{"messages":[{"role":"user","content":"go on"}]}"#;
    let verdicts: Vec<Verdict> = (0..9).map(|_| look(&loops, ME, same, 0)).collect();
    assert!(verdicts[..4].iter().all(|verdict| *verdict == Verdict::Goes));
    let slowed = |times, secs| Verdict::Slowed { times, delay: Duration::from_secs(secs) };
    assert_eq!(verdicts[4..7], [slowed(5, 1), slowed(6, 2), slowed(7, 4)]);
    assert_eq!(verdicts[7..], [Verdict::Stopped { times: 8 }, Verdict::Stopped { times: 9 }]);
    let others = [(TenantId(2), ME.1), (ME.0, Agent::Payer(Some(KeyId(7)), Some("ann"))), (ME.0, Agent::Lane("l"))];
    for other in others {
        assert_eq!(look(&loops, other, same, 0), Verdict::Goes, "another agent");
    }
    assert_eq!(look(&loops, ME, same, 200), Verdict::Goes, "after a quiet window");
}

/// A conversation in which an agent has made these calls, one a step.
fn after_calls(first: &str, calls: &[&str]) -> String {
    let mut messages = vec![serde_json::json!({ "role": "user", "content": first })];
    for (index, call) in calls.iter().enumerate() {
        let function = serde_json::json!({ "name": "look", "arguments": call });
        let calls = serde_json::json!([{ "id": format!("call-{index}"), "type": "function", "function": function }]);
        messages.push(serde_json::json!({ "role": "assistant", "tool_calls": calls }));
        messages.push(serde_json::json!({ "role": "tool", "tool_call_id": format!("call-{index}"), "content": format!("at {index}") }));
    }
    serde_json::json!({ "messages": messages }).to_string()
}

#[test]
fn a_conversation_that_grows_by_the_same_call_is_a_loop_and_one_by_other_calls_is_not() {
    let loops = Loops::default();
    let stuck: Vec<Verdict> =
        (0..10).map(|steps| look(&loops, ME, &after_calls("find it", &vec!["{}"; steps]), 0)).collect();
    assert!(stuck[..5].iter().all(|verdict| *verdict == Verdict::Goes), "{stuck:?}");
    assert!(matches!(stuck[5], Verdict::Slowed { times: 5, .. }), "{stuck:?}");
    assert!(matches!(stuck[8], Verdict::Stopped { .. }), "{stuck:?}");
    let calls: Vec<String> = (0..30).map(|page| format!("{{\"page\":{page}}}")).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    for steps in 0..calls.len() {
        assert_eq!(look(&loops, ME, &after_calls("read all", &calls[..steps]), 0), Verdict::Goes, "{steps} pages");
    }
    // Many who ask the same once are no loop, whatever their conversations have in them.
    for user in 0..50 {
        let agent = (ME.0, Agent::Payer(Some(KeyId(7)), Some(&*user.to_string())));
        assert_eq!(look(&loops, agent, &after_calls("weather?", &["{}", "{}"]), 0), Verdict::Goes);
    }
}

#[test]
fn a_normal_chat_and_a_batch_of_titles_and_one_that_comes_again_by_its_key_are_no_loops() {
    let loops = Loops::default();
    let mut messages = Vec::new();
    for turn in 0..100 {
        messages.push(serde_json::json!({ "role": "user", "content": "ok" }));
        assert_eq!(look(&loops, ME, &serde_json::json!({ "messages": messages }).to_string(), turn), Verdict::Goes);
        messages.push(serde_json::json!({ "role": "assistant", "content": "go on" }));
    }
    for title in 0..2000 {
        let input = serde_json::json!({ "messages": [{ "role": "user", "content": format!("title {title}") }] });
        assert_eq!(look(&loops, ME, &input.to_string(), 100), Verdict::Goes);
    }
    let same = br#"{"messages":[{"role":"user","content":"retried"}]}"#;
    for _ in 0..20 {
        assert_eq!(loops.look(&ON, ME, ("r", same), Some("key"), Duration::from_secs(100)), Verdict::Goes);
    }
}

#[test]
fn what_is_remembered_is_bounded_for_one_tenant_and_for_all() {
    let room = looping::Room { of_tenant: 100, in_all: 250 };
    let loops = Loops::with_room(room);
    for tenant in 0..20 {
        for number in 0..90 {
            look(&loops, (TenantId(tenant), ME.1), &format!(r#"{{"messages":["{number}"]}}"#), 0);
        }
    }
    assert!((100..=250).contains(&loops.remembered()), "{}", loops.remembered());
    let one = Loops::with_room(room);
    for number in 0..1000 {
        look(&one, ME, &format!(r#"{{"messages":["{number}"]}}"#), 0);
    }
    assert!((50..=100).contains(&one.remembered()), "{}", one.remembered());
    // Room comes back with time.
    let same = r#"{"messages":["same"]}"#;
    assert_eq!((0..4).map(|_| look(&loops, ME, same, 500)).last(), Some(Verdict::Goes));
    assert!(matches!(look(&loops, ME, same, 500), Verdict::Slowed { times: 5, .. }));
}

#[test]
fn rules_are_told_apart_by_what_they_do_where_they_apply() {
    let print = |specs: &[Spec], route: &str| {
        let rules: Vec<_> = specs.iter().map(|spec| Arc::new(Rule::new(spec.clone()).unwrap())).collect();
        Policy::new(&rules, WINDOW_BYTES).unwrap().fingerprint("model", route)
    };
    let (mask, other) = (spec("a", Ok("secret"), Action::Mask), spec("b", Ok("token"), Action::Mask));
    let here = Spec { routes: vec!["here".to_owned()], ..mask.clone() };
    assert!(print(&[], "here").is_empty());
    assert_eq!(print(&[mask.clone(), other.clone()], "here"), print(&[mask.clone(), other.clone()], "here"));
    assert_eq!(print(std::slice::from_ref(&here), "there"), print(&[], "there"), "it is not for that route");
    let all = [
        vec![],
        vec![mask.clone()],
        vec![other.clone()],
        vec![mask.clone(), other.clone()],
        // Of two that begin at one place the first one counts.
        vec![other, mask.clone()],
        vec![Spec { action: Action::Block, ..mask.clone() }],
        vec![Spec { place: Place::Answer, ..mask.clone() }],
        vec![Spec { replacement: Some("x".to_owned()), ..mask }],
    ];
    for (place, one) in all.iter().enumerate() {
        for another in &all[..place] {
            assert_ne!(print(one, "here"), print(another, "here"), "{one:?} {another:?}");
        }
    }
}
