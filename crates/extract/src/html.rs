//! The text of a page: token by token, without a tree, so that nesting costs nothing.

use crate::Unreadable;
use crate::bounded::Text;
use crate::plain::decode;
use encoding_rs::Encoding;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use std::cell::RefCell;

/// Where a page may name its encoding (HTML standard, "prescan a byte stream").
const PRESCANNED_BYTES: usize = 1024;

/// How much is handed to the tokenizer at once, so that it stops soon after the text has reached its bound.
const STEP_BYTES: usize = 64 * 1024;

/// Their contents are no text of the page.
const HIDDEN: &[&str] = &["script", "style", "noscript", "template", "iframe", "noembed", "noframes", "svg"];

/// They stand on lines of their own.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "head",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "option",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "textarea",
    "tfoot",
    "thead",
    "title",
    "tr",
    "ul",
];

/// An empty line parts them from the rest.
const PARTED: &[&str] = &["p", "h1", "h2", "h3", "h4", "h5", "h6"];

pub(crate) fn read(bytes: &[u8], text: &mut Text) -> Result<(), Unreadable> {
    let decoded = decode(bytes, named_encoding(bytes))?;
    let page = Page { state: RefCell::new(State { text, hidden: None, verbatim: 0, refused: None }) };
    let tokenizer = Tokenizer::new(page, TokenizerOpts::default());
    let input = BufferQueue::default();
    let mut rest = &*decoded;
    while !rest.is_empty() {
        let mut step = rest.len().min(STEP_BYTES);
        while !rest.is_char_boundary(step) {
            step += 1;
        }
        let (now, later) = rest.split_at(step);
        rest = later;
        input.push_back(StrTendril::from(now));
        let _ = tokenizer.feed(&input);
        if let Some(refused) = tokenizer.sink.state.borrow_mut().refused.take() {
            return Err(refused);
        }
    }
    tokenizer.end();
    let refused = tokenizer.sink.state.borrow_mut().refused.take();
    refused.map_or(Ok(()), Err)
}

/// The encoding that `<meta charset>` names.
fn named_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(PRESCANNED_BYTES)]).to_ascii_lowercase();
    let (_, after) = head.split_once("charset=")?;
    let label = after.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(|letter: char| !letter.is_ascii_alphanumeric() && !"-_:".contains(letter));
    Encoding::for_label(&label.as_bytes()[..end.unwrap_or(label.len())])
}

struct Page<'a> {
    state: RefCell<State<'a>>,
}

struct State<'a> {
    text: &'a mut Text,
    /// The element whose contents are passed over.
    hidden: Option<String>,
    /// How many `<pre>` are open.
    verbatim: usize,
    refused: Option<Unreadable>,
}

impl TokenSink for Page<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        if state.refused.is_some() {
            return TokenSinkResult::Continue;
        }
        let done = match token {
            Token::CharacterTokens(letters) => state.letters(&letters).map(|()| TokenSinkResult::Continue),
            Token::TagToken(tag) => state.tag(&tag),
            _ => Ok(TokenSinkResult::Continue),
        };
        done.unwrap_or_else(|refused| {
            state.refused = Some(refused);
            TokenSinkResult::Continue
        })
    }
}

impl State<'_> {
    fn letters(&mut self, letters: &str) -> Result<(), Unreadable> {
        if self.hidden.is_some() {
            return Ok(());
        }
        if self.verbatim > 0 {
            return self.text.push(letters);
        }
        for (place, word) in letters.split(|letter: char| letter.is_ascii_whitespace()).enumerate() {
            if place > 0 && !self.text.ends_with_space() {
                self.text.push(" ")?;
            }
            self.text.push(word)?;
        }
        Ok(())
    }

    fn tag(&mut self, tag: &Tag) -> Result<TokenSinkResult<()>, Unreadable> {
        let name = &*tag.name;
        let begins = tag.kind == TagKind::StartTag;
        if let Some(hidden) = &self.hidden {
            if !begins && name == hidden {
                self.hidden = None;
            }
            return Ok(TokenSinkResult::Continue);
        }
        if begins && !tag.self_closing && HIDDEN.contains(&name) {
            self.hidden = Some(name.to_owned());
            // What stands in these is no markup: `a<b` in a script opens no tag.
            return Ok(match name {
                "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                "style" | "iframe" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
                _ => TokenSinkResult::Continue,
            });
        }
        match name {
            "br" => self.text.end_line()?,
            "td" | "th" if !begins => self.text.push("\t")?,
            "pre" if begins => self.verbatim += 1,
            "pre" => self.verbatim = self.verbatim.saturating_sub(1),
            _ => {}
        }
        if PARTED.contains(&name) {
            self.text.break_line()?;
            self.text.end_line()?;
        } else if BLOCKS.contains(&name) {
            self.text.break_line()?;
        }
        if begins && name == "li" {
            self.text.push("- ")?;
        }
        Ok(match name {
            "title" | "textarea" if begins => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        })
    }
}
