//! The texts of a request: what is said in it, found without reading the rest, so that all other bytes stay as they came.
//!
//! Texts are the strings of `messages`, `input`, `prompt` and `prediction`, at any depth, but for those that name something
//! (`role`, `type`, ids) or are data (pictures, sound, files).

/// The fields of a request that hold texts.
const SAID: &[&str] = &["messages", "input", "prompt", "prediction"];

/// Fields within them whose strings are no texts.
const NO_TEXT: &[&str] = &["role", "type", "id", "tool_call_id", "image_url", "input_audio", "file", "file_id"];

/// Where the reader is.
struct Level {
    at: At,
    /// Strings in here are texts.
    said: bool,
    /// Whether the value of the field that was named last is said.
    value_said: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    /// In a list.
    Item,
    /// In an object: the next string is a field's name.
    Name,
    /// In an object, after a field's name.
    Value,
}

/// Replaces texts: `change` gives the new one where it is another. `input` is JSON that was read before.
pub fn rewritten<E>(
    input: &[u8],
    mut change: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let (mut out, mut kept) = (Vec::new(), 0);
    let mut stack: Vec<Level> = Vec::new();
    let mut at = 0;
    while at < input.len() {
        match input[at] {
            b'"' => {
                let end = string_end(input, at);
                let source = &input[at..end];
                if let Some((key, is_top)) = key_of(&mut stack, source) {
                    let said = if is_top { SAID.contains(&&*key) } else { !NO_TEXT.contains(&&*key) };
                    if let Some(level) = stack.last_mut() {
                        level.value_said = said && (is_top || level.said);
                    }
                } else if is_said(&stack)
                    && let Ok(text) = serde_json::from_slice::<std::borrow::Cow<'_, str>>(source)
                    && let Some(new) = change(&text)?
                {
                    out.extend_from_slice(&input[kept..at]);
                    out.extend_from_slice(serde_json::Value::String(new).to_string().as_bytes());
                    kept = end;
                }
                at = end;
                continue;
            }
            opening @ (b'{' | b'[') => {
                let at = if opening == b'{' { At::Name } else { At::Item };
                stack.push(Level { at, said: is_said(&stack), value_said: false });
            }
            b'}' | b']' => {
                stack.pop();
            }
            b',' => {
                if let Some(level) = stack.last_mut().filter(|level| level.at == At::Value) {
                    level.at = At::Name;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if kept == 0 {
        return Ok(None);
    }
    out.extend_from_slice(&input[kept..]);
    Ok(Some(out))
}

/// All texts of a request, a line each, up to so many bytes.
pub fn joined(input: &[u8], most_bytes: usize) -> String {
    let mut all = String::new();
    let read = rewritten(input, |text| {
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(text);
        if all.len() > most_bytes { Err(()) } else { Ok(None) }
    });
    if read.is_err() {
        all.truncate(all.floor_char_boundary(most_bytes));
    }
    all
}

/// The name of a field, where this string is one; and whether it is one of the request itself.
fn key_of(stack: &mut [Level], source: &[u8]) -> Option<(String, bool)> {
    let is_top = stack.len() == 1;
    let level = stack.last_mut().filter(|level| level.at == At::Name)?;
    level.at = At::Value;
    Some((serde_json::from_slice(source).unwrap_or_default(), is_top))
}

fn is_said(stack: &[Level]) -> bool {
    stack.last().is_some_and(|level| if level.at == At::Item { level.said } else { level.value_said })
}

/// Where the string ends that begins at `at`.
fn string_end(input: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < input.len() {
        match input[end] {
            b'\\' => end += 2,
            b'"' => return end + 1,
            _ => end += 1,
        }
    }
    input.len()
}
