//! One system call as strace writes it. A call that another thread interrupts stands in two lines.

use std::collections::HashMap;
use std::path::PathBuf;

/// A call that has returned.
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: Vec<&'a str>,
    pub(super) result: i64,
}

/// Calls whose second line is still to come: the first half, and how many operations had been read then.
#[derive(Default)]
pub(super) struct Calls {
    begun: HashMap<String, (String, usize)>,
    joined: String,
}

const UNFINISHED: &str = " <unfinished ...>";
const RESUMED: &str = " resumed>";

impl Calls {
    /// Takes the first line of a call that is told in two; `false` for any other line.
    pub(super) fn begin(&mut self, line: &str, ops: usize) -> bool {
        let Some((thread, rest)) = line.split_once(' ') else { return false };
        let Some(half) = rest.trim_start().strip_suffix(UNFINISHED) else { return false };
        self.begun.insert(thread.to_owned(), (half.to_owned(), ops));
        true
    }

    /// The call that ends with this line, and how many operations had been read when it began. `None` for lines
    /// that are no calls, such as a thread's end.
    pub(super) fn whole<'a>(&'a mut self, line: &'a str, ops: usize) -> Result<Option<(Call<'a>, usize)>, String> {
        let Some((thread, rest)) = line.split_once(' ') else { return Ok(None) };
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            return Ok(None);
        }
        let Some((_, second)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(RESUMED)) else {
            return Ok(parse(rest)?.map(|call| (call, ops)));
        };
        let (first, since) = self.begun.remove(thread).ok_or("the second half of a call without its first")?;
        self.joined = first + second;
        Ok(parse(&self.joined)?.map(|call| (call, since)))
    }
}

fn parse(text: &str) -> Result<Option<Call<'_>>, String> {
    let wrong = || format!("this is no call: {}", text.chars().take(80).collect::<String>());
    let (name, rest) = text.split_once('(').ok_or_else(wrong)?;
    // Strings are hexadecimal (`-xx`), so that nothing in them looks like the end of the arguments.
    let (arguments, result) = rest.rsplit_once(" = ").ok_or_else(wrong)?;
    let arguments = arguments.trim_end().strip_suffix(')').ok_or_else(wrong)?;
    let result = result.split_whitespace().next().ok_or_else(wrong)?;
    let result = match result.strip_prefix("0x") {
        // An address.
        Some(_) => 0,
        // A call that never returned, because its thread ended.
        None if result == "?" => return Ok(None),
        None => result.parse().map_err(|_| wrong())?,
    };
    Ok(Some(Call { name, arguments: arguments.split(", ").collect(), result }))
}

impl Call<'_> {
    pub(super) fn argument(&self, at: usize) -> Result<&str, String> {
        self.arguments.get(at).copied().ok_or_else(|| format!("{} lacks an argument", self.name))
    }

    pub(super) fn number(&self, at: usize) -> Result<i64, String> {
        let text = self.argument(at)?;
        // `AT_FDCWD` and the like are no descriptors.
        Ok(text.parse().unwrap_or(-1))
    }

    pub(super) fn size(&self, at: usize) -> Result<u64, String> {
        let text = self.argument(at)?;
        text.parse().map_err(|_| format!("{text} is no size"))
    }

    pub(super) fn text(&self, at: usize) -> Result<PathBuf, String> {
        let bytes = unquote(self.argument(at)?)?;
        String::from_utf8(bytes).map(PathBuf::from).map_err(|_| "a path that is no text".to_owned())
    }

    /// All strings among the arguments.
    pub(super) fn strings(&self) -> Result<Vec<PathBuf>, String> {
        let quoted = (0..self.arguments.len()).filter(|at| self.arguments[*at].starts_with('"'));
        quoted.map(|at| self.text(at)).collect()
    }

    /// All data among the arguments, as one.
    pub(super) fn data(&self) -> Result<Vec<u8>, String> {
        let mut data = Vec::new();
        for argument in &self.arguments {
            if let Some(begin) = argument.find('"') {
                let quoted = &argument[begin..];
                let end = quoted.rfind('"').map_or(quoted.len(), |end| end + 1);
                data.extend(unquote(&quoted[..end])?);
            }
        }
        // A short write shows all that was offered.
        data.truncate(usize::try_from(self.result).unwrap_or(0));
        Ok(data)
    }
}

/// The bytes of a string like `"\x41\x42"`.
fn unquote(quoted: &str) -> Result<Vec<u8>, String> {
    let wrong = || "a string that is cut short, or not hexadecimal".to_owned();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = inner.as_bytes().chunks(4).map(|four| match four {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect::<Option<_>>().ok_or_else(wrong)
}
