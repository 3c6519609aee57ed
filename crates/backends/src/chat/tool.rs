//! Tools, and which of them the model is to use.

use crate::json::{self, Fields};
use crate::upstream::invalid;
use std::borrow::Cow;
use tidewire_core::port::BackendError;

/// One tool.
pub(crate) enum Tool<'a> {
    Function {
        /// Of the `function` in it.
        function: Fields<'a>,
        /// Of the tool around it.
        outer: Fields<'a>,
    },
    /// What OpenAI does not have: of the upstream's own form.
    Other(&'a str),
}

/// Which tool the model is to use.
pub(crate) enum ToolChoice<'a> {
    Auto,
    None,
    Required,
    /// This one.
    Function(Cow<'a, str>),
    /// What OpenAI does not have: of the upstream's own form.
    Other(&'a str),
}

pub(super) fn all<'a>(fields: &Fields<'a>) -> Result<Vec<Tool<'a>>, BackendError> {
    let Some(tools) = fields.get("tools") else { return Ok(Vec::new()) };
    let tools = json::array(tools).ok_or_else(|| invalid("tools is no array"))?;
    let read = |json: &'a str| {
        let outer = Fields::of(json).ok_or_else(|| invalid("a tool is no object"))?;
        match outer.object("function") {
            Some(function) if outer.text("type").as_deref() == Some("function") => {
                function.get("name").ok_or_else(|| invalid("a tool's function has no name"))?;
                Ok(Tool::Function { function, outer })
            }
            _ => Ok(Tool::Other(json)),
        }
    };
    tools.into_iter().map(read).collect()
}

impl<'a> ToolChoice<'a> {
    pub(super) fn read(json: &'a str) -> Self {
        match json {
            "\"auto\"" => return Self::Auto,
            "\"none\"" => return Self::None,
            "\"required\"" => return Self::Required,
            _ => {}
        }
        let named = Fields::of(json).filter(|choice| choice.text("type").as_deref() == Some("function"));
        let name = named.and_then(|choice| choice.object("function")?.text("name"));
        name.map_or(Self::Other(json), Self::Function)
    }
}
