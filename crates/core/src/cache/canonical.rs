//! When two requests are the same: whatever the order of their fields, their white space, and fields that say nothing
//! about the answer.

use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Fields that say how an answer is delivered, counted or filed, not what it says. The model's name is the route's.
const LEFT_OUT: [&str; 12] = [
    "encoding_format",
    "metadata",
    "model",
    "n",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "user",
];

/// Fields that make an answer more than words: what it brings about is brought about anew each time.
const ACTS: [&str; 7] =
    ["functions", "function_call", "mcp_servers", "tool_choice", "tool_resources", "tools", "web_search_options"];

/// Deeper than any request nests its values, and shallow enough for any thread's stack.
const MAX_DEPTH: usize = 64;

/// A request in the one form that all requests have which ask for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The form: JSON with sorted fields and no white space. Numbers are as they came.
    pub bytes: Vec<u8>,
    /// The model draws lots, and no seed says which: each answer differs.
    pub samples: bool,
}

/// The one form of a request; none where it uses tools, or where what it says can't be told for sure.
pub fn canonical(input: &[u8], wordless: bool) -> Option<Canonical> {
    let fields = fields(std::str::from_utf8(input).ok()?)?;
    if fields.iter().any(|(name, value)| ACTS.contains(&name.as_str()) && !is_empty(value.get())) {
        return None;
    }
    let of = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.get());
    let greedy = of("temperature").and_then(|number| number.parse::<f64>().ok()) == Some(0.0);
    let seeded = of("seed").is_some_and(|seed| seed.parse::<i64>().is_ok());
    let mut bytes = Vec::with_capacity(input.len());
    object(answer_fields(&fields), &mut bytes, 0)?;
    Some(Canonical { bytes, samples: !(wordless || greedy || seeded) })
}

/// Those of a request's fields that say something about its answer.
pub(super) fn answer_fields<'a>(
    fields: &'a [(String, &'a RawValue)],
) -> impl Iterator<Item = (&'a String, &'a RawValue)> {
    let counts = |(name, value): &&(String, &RawValue)| {
        !LEFT_OUT.contains(&name.as_str()) && !ACTS.contains(&name.as_str()) && value.get() != "null"
    };
    fields.iter().filter(counts).map(|(name, value)| (name, *value))
}

fn is_empty(value: &str) -> bool {
    matches!(value, "null" | "[]" | "{}")
}

/// An object's fields, sorted; none where one of them stands twice: which one counts is the reader's choice.
pub(super) fn fields(text: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some(field) = map.next_entry()? {
                fields.push(field);
            }
            fields.sort_by(|(one, _): &(String, _), (other, _)| one.cmp(other));
            if fields.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(A::Error::custom("a field stands twice"));
            }
            Ok(fields)
        }
    }
    let mut from = serde_json::Deserializer::from_str(text);
    let fields = from.deserialize_map(Fields).ok()?;
    from.end().ok()?;
    Some(fields)
}

pub(super) fn items(text: &str) -> Option<Vec<&RawValue>> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_seq(Items).ok()
}

pub(super) fn object<'a>(
    fields: impl Iterator<Item = (&'a String, &'a RawValue)>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Option<()> {
    out.push(b'{');
    for (place, (name, value)) in fields.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name).ok()?;
        out.push(b':');
        write(value.get(), out, depth + 1)?;
    }
    out.push(b'}');
    Some(())
}

fn write(value: &str, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value.as_bytes().first()? {
        b'{' => {
            let fields = fields(value)?;
            object(fields.iter().map(|(name, value)| (name, *value)), out, depth)
        }
        b'[' => {
            out.push(b'[');
            for (place, item) in items(value)?.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(item.get(), out, depth + 1)?;
            }
            out.push(b']');
            Some(())
        }
        // One text has many ways to be escaped.
        b'"' => {
            let text: String = serde_json::from_str(value).ok()?;
            serde_json::to_writer(&mut *out, &text).ok()
        }
        // A number that was parsed would be another one beyond 64 bits.
        _ => {
            out.extend_from_slice(value.as_bytes());
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn form(text: &str) -> Option<String> {
        canonical(text.as_bytes(), false).map(|canonical| String::from_utf8(canonical.bytes).unwrap())
    }

    #[test]
    fn order_white_space_and_escapes_make_no_difference() {
        let one = form(r#"{"messages":[{"role":"user","content":"a/é"}],"seed":1,"stream":true,"user":"u"}"#);
        let other = form(
            " { \"user\" : \"v\",\n\"seed\": 1, \"messages\" : [ { \"content\": \"a\\/\\u00e9\", \"role\":\"user\" } ], \
             \"n\":4 , \"stop\":null } ",
        );
        assert_eq!(one.as_deref(), Some(r#"{"messages":[{"content":"a/é","role":"user"}],"seed":1}"#));
        assert_eq!(one, other);
    }

    #[test]
    fn what_says_something_else_differs() {
        let base = form(r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":5}"#);
        for other in [
            r#"{"messages":[{"role":"user","content":"a "}],"max_tokens":5}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":6}"#,
            r#"{"messages":[{"role":"system","content":"a"}],"max_tokens":5}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":5,"unheard_of":0}"#,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"a"}],"max_tokens":5}"#,
        ] {
            assert_ne!(base, form(other), "{other}");
        }
        let seed = |seed: &str| form(&format!(r#"{{"messages":[],"seed":{seed}}}"#));
        assert_ne!(seed("18446744073709551616"), seed("18446744073709551617"));
    }

    #[test]
    fn requests_with_tools_or_in_doubt_have_no_form() {
        for input in [
            r#"{"messages":[],"tools":[{"type":"function"}]}"#,
            r#"{"messages":[],"functions":[{}]}"#,
            r#"{"messages":[],"web_search_options":{"a":1}}"#,
            r#"{"messages":[],"seed":1,"seed":2}"#,
            r#"{"messages":[{"role":"user","role":"system"}]}"#,
            r#"{"messages":["\ud800"]}"#,
            r#"["messages"]"#,
            "{} {}",
            "",
        ] {
            assert_eq!(form(input), None, "{input}");
        }
        let deep = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(form(&deep), None);
        assert!(form(r#"{"messages":[],"tools":[],"functions":null}"#).is_some(), "no tools at all");
    }

    #[test]
    fn a_request_samples_unless_it_is_greedy_seeded_or_wordless() {
        let samples = |text: &str| canonical(text.as_bytes(), false).unwrap().samples;
        assert!(samples(r#"{"messages":[]}"#) && samples(r#"{"messages":[],"temperature":0.1}"#));
        assert!(samples(r#"{"messages":[],"seed":null}"#));
        assert!(!samples(r#"{"messages":[],"temperature":0.0}"#) && !samples(r#"{"messages":[],"seed":7}"#));
        assert!(!canonical(br#"{"input":"a"}"#, true).unwrap().samples);
    }

    /// Writes a value with its fields in some order and some white space.
    fn shuffled(value: &Value, order: &mut impl FnMut() -> usize) -> String {
        let space = |order: &mut dyn FnMut() -> usize| ["", " ", "\n", "\t "][order() % 4];
        match value {
            Value::Object(fields) => {
                let mut left: Vec<_> = fields.iter().collect();
                let mut parts = Vec::new();
                while !left.is_empty() {
                    let (name, value) = left.swap_remove(order() % left.len());
                    let (before, after) = (space(order), space(order));
                    parts.push(format!("{before}{}{after}:{}", json!(name), shuffled(value, order)));
                }
                format!("{{{}}}", parts.join(","))
            }
            Value::Array(items) => {
                let items: Vec<_> =
                    items.iter().map(|item| format!("{}{}", space(order), shuffled(item, order))).collect();
                format!("[{}]", items.join(","))
            }
            other => format!("{}{other}{}", space(order), space(order)),
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(true)),
            any::<i64>().prop_map(|number| json!(number)),
            (-1.0e6..1.0e6).prop_map(|number: f64| json!(number)),
            ".{0,8}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_order_and_white_space_give_one_form(content in any_value(), numbers: [u8; 32]) {
            let request = json!({ "messages": [{ "role": "user", "content": content }], "max_tokens": 5, "x": 1 });
            let mut at = 0;
            let mut order = || { at += 1; numbers[at % numbers.len()] as usize };
            let text = shuffled(&request, &mut order);
            prop_assert_eq!(form(&text), form(&request.to_string()), "{}", text);
        }

        #[test]
        fn other_contents_give_other_forms(one in any_value(), other in any_value()) {
            let request = |content: &Value| json!({ "messages": [content] }).to_string();
            // Numbers are compared as they are written: 1 and 1.0 may well be the same and are told apart.
            let same = request(&one) == request(&other);
            prop_assert_eq!(form(&request(&one)) == form(&request(&other)), same);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
            let _ = (canonical(&bytes, false), canonical(text.as_bytes(), true));
        }
    }
}
