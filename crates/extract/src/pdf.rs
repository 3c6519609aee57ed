//! The text of a PDF. `pdf-extract` reads it; what it may cost is bounded from outside, by the process it runs in.

use crate::Unreadable;
use crate::bounded::Text;
use pdf_extract::{Document, Error, OutputError, PlainTextOutput, output_doc};
use std::io::{ErrorKind, Write};

pub(crate) fn read(bytes: &[u8], text: &mut Text) -> Result<(), Unreadable> {
    let mut document = Document::load_mem(bytes).map_err(|error| misread(&error))?;
    // Many documents are encrypted with an empty password, to forbid printing or copying by agreement.
    if document.is_encrypted() {
        document.decrypt("").map_err(|error| misread(&error))?;
    }
    let mut refused = None;
    let mut writer = Refusing { text, refused: &mut refused };
    let written = output_doc(&document, &mut PlainTextOutput::new(&mut writer as &mut dyn Write));
    if let Some(refused) = refused {
        return Err(refused);
    }
    match written {
        Ok(()) if text.is_blank() => {
            Err(Unreadable::Unsupported("the PDF has no text: its pages may be pictures of text".to_owned()))
        }
        Ok(()) => text.break_line(),
        Err(OutputError::PdfError(error)) => Err(misread(&error)),
        Err(error) => Err(Unreadable::damaged(error)),
    }
}

fn misread(error: &Error) -> Unreadable {
    match error {
        Error::Decryption(_) | Error::InvalidPassword | Error::UnsupportedSecurityHandler(_) => Unreadable::Encrypted,
        error => Unreadable::damaged(error),
    }
}

/// Keeps the reason why nothing more is taken: the reader's own error says only that writing failed.
struct Refusing<'a> {
    text: &'a mut Text,
    refused: &'a mut Option<Unreadable>,
}

impl Write for Refusing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.write(bytes).inspect_err(|error| {
            let too_large = error.get_ref().and_then(|inner| inner.downcast_ref::<Unreadable>());
            *self.refused = too_large.cloned().filter(|_| error.kind() == ErrorKind::FileTooLarge);
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
