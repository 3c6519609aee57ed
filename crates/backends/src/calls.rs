//! Tool calls as OpenAI's deltas, written for APIs that say them in other words.

use bytes::Bytes;
use tidewire_core::port::Chunk;

/// The calls of one answer: each has the next number.
#[derive(Default)]
pub(crate) struct Calls {
    begun: usize,
}

impl Calls {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.begun
    }

    /// A new call. All values are JSON; the arguments are a string with JSON in it, or its beginning. `extra` is a
    /// field of its own, with its name.
    pub(crate) fn begin(&mut self, id: &str, name: &str, arguments: &str, extra: Option<&str>) -> Chunk {
        let index = self.begun;
        self.begun += 1;
        let (comma, extra) = extra.map_or(("", ""), |extra| (",", extra));
        let json = format!(
            r#"[{{"index":{index},"id":{id},"type":"function","function":{{"name":{name},"arguments":{arguments}}}{comma}{extra}}}]"#
        );
        Chunk::ToolCall(Bytes::from(json))
    }

    /// More arguments of the last call; a string, as JSON.
    pub(crate) fn add(&self, arguments: &str) -> Chunk {
        let index = self.begun.saturating_sub(1);
        Chunk::ToolCall(Bytes::from(format!(r#"[{{"index":{index},"function":{{"arguments":{arguments}}}}}]"#)))
    }
}
