//! Documents made here, as people and as enemies make them, and the text that comes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod made;

use made::{docx, pdf, pdf_of_objects, zipped};
use tidewire_extract::{Bounds, Media, Unreadable, extract};

fn text(bytes: &[u8], media: Media) -> String {
    extract(bytes, Some(media), Bounds::default()).unwrap()
}

fn refused(bytes: &[u8], media: Media) -> Unreadable {
    extract(bytes, Some(media), Bounds::default()).unwrap_err()
}

#[test]
fn the_pages_of_a_pdf_are_read_in_order() {
    let bytes = pdf(&["First page of the contract", "Second page (with parentheses)"]);
    let found = text(&bytes, Media::Pdf);
    let (first, second) = (found.find("First page of the contract"), found.find("Second page (with parentheses)"));
    assert!(first.is_some() && first < second, "{found:?}");
    assert_eq!(extract(&bytes, None, Bounds::default()).unwrap(), found, "its bytes tell what it is");
}

#[test]
fn a_pdf_without_text_says_so() {
    assert_eq!(refused(&pdf(&[""]), Media::Pdf).code(), "unsupported");
}

#[test]
fn damaged_pdfs_are_errors_and_no_panics() {
    let whole = pdf(&["Some text"]);
    for bytes in [&whole[..whole.len() / 2], b"%PDF-1.4\nnothing".as_slice(), b"no pdf".as_slice(), b"".as_slice()] {
        assert_eq!(refused(bytes, Media::Pdf).code(), "damaged");
    }
    // No media box: the reader expects one, and panics.
    let page = "<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>";
    let bytes = pdf_of_objects(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page,
        "<< /Length 0 >>\nstream\n\nendstream",
    ]);
    assert_eq!(refused(&bytes, Media::Pdf), Unreadable::Damaged("its reader gave up on it".into()));
}

#[test]
fn a_page_tree_that_bites_its_tail_ends() {
    let bytes =
        pdf_of_objects(&["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"]);
    assert_eq!(refused(&bytes, Media::Pdf).code(), "unsupported");
}

#[test]
fn a_pdf_with_a_password_is_encrypted() {
    let encrypt = "<< /Filter /Standard /V 1 /R 2 /P -4 /O (12345678901234567890123456789012) \
                   /U (12345678901234567890123456789012) >>";
    let mut bytes = pdf_of_objects(&["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] >>", encrypt]);
    let trailer = String::from_utf8(bytes.clone()).unwrap().find("/Root").unwrap();
    bytes.splice(trailer..trailer, *b"/Encrypt 3 0 R /ID [(0123456789abcdef) (0123456789abcdef)] ");
    assert_eq!(refused(&bytes, Media::Pdf), Unreadable::Encrypted);
}

#[test]
fn a_word_document_has_its_paragraphs_tables_and_footnotes() {
    let body = "<w:p><w:r><w:t>Tide &amp; </w:t></w:r><w:r><w:t xml:space=\"preserve\">wire&#233;</w:t></w:r></w:p>\
                <w:p><w:r><w:tab/><w:t>Indented</w:t><w:br/><w:t>broken</w:t></w:r></w:p>\
                <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p>\
                </w:tc></w:tr></w:tbl>\
                <w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>";
    let notes = "<w:footnotes><w:footnote><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>";
    let bytes = docx(body, &[("word/footnotes.xml", notes.as_bytes())]);
    assert_eq!(text(&bytes, Media::Docx), "Tide & wireé\n\tIndented\nbroken\na\tb\nnew\nA note.\n");
    assert_eq!(extract(&bytes, None, Bounds::default()), extract(&bytes, Some(Media::Docx), Bounds::default()));
}

#[test]
fn other_archives_and_damaged_ones_are_told_apart() {
    assert_eq!(refused(&zipped(&[("a.txt", b"x")]), Media::Docx).code(), "unsupported");
    let bytes = docx("<w:p><w:r><w:t>text</w:t></w:r></w:p>", &[]);
    assert_eq!(refused(&bytes[..bytes.len() / 2], Media::Docx).code(), "damaged");
    assert_eq!(refused(&zipped(&[("word/document.xml", b"<w:p><w:t>x</w:p>")]), Media::Docx).code(), "damaged");
    assert_eq!(refused(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", Media::Docx), Unreadable::Encrypted);
}

#[test]
fn a_zip_bomb_ends_at_the_bound() {
    let bounds = Bounds { unpacked_bytes: 1024 * 1024, ..Bounds::default() };
    let body = " ".repeat(4 * 1024 * 1024);
    let bytes = docx(&body, &[]);
    assert!(bytes.len() < 64 * 1024, "it is packed small: {}", bytes.len());
    assert_eq!(extract(&bytes, Some(Media::Docx), bounds).unwrap_err().code(), "too_large");
}

#[test]
fn entities_that_a_document_declares_are_not_expanded() {
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE d [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>\
                <w:document><w:p><w:r><w:t>x&b;y</w:t></w:r></w:p></w:document>";
    let bytes = zipped(&[("word/document.xml", bomb.as_bytes())]);
    assert_eq!(text(&bytes, Media::Docx), "xy\n");
}

#[test]
fn a_page_has_its_words_and_not_its_scripts() {
    let page = "<!doctype html><html><head><title>A &lt;title&gt;</title><style>p > b { color: red }</style>\
                <script>if (a<b) document.write('<p>no</p>')</script></head><body><h1>Head\n ing</h1><p>One <b>bold</b> \
                word.<ul><li>first<li>second</ul><table><tr><td>a</td><td>b</td></tr></table>\
                <pre>  kept\n  so</pre>&eacute;<br>end<noscript>not this</noscript></body></html>";
    let expected = "A <title>\n\nHead ing\n\nOne bold word.\n- first\n- second\na\tb\n  kept\n  so\né\nend\n";
    assert_eq!(text(page.as_bytes(), Media::Html), expected);
}

#[test]
fn a_million_nested_elements_cost_no_stack() {
    let page = format!("{}deep{}", "<div>".repeat(1_000_000), "</div>".repeat(1_000_000));
    assert_eq!(text(page.as_bytes(), Media::Html).trim(), "deep");
}

#[test]
fn a_page_in_the_encoding_that_it_names() {
    let page = b"<meta charset=\"windows-1251\"><p>\xcf\xf0\xe8\xe2\xe5\xf2";
    assert_eq!(text(page, Media::Html).trim(), "Привет");
}

#[test]
fn text_in_any_encoding_becomes_the_same_text() {
    let german = "Größe und Länge: fünfzig Verträge über Häuser.";
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(german.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let latin: Vec<u8> = german.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    let marked = [b"\xef\xbb\xbf".as_slice(), german.as_bytes()].concat();
    for bytes in [german.as_bytes(), &utf16, &latin, &marked] {
        assert_eq!(text(bytes, Media::Text), german);
    }
    assert_eq!(text(b"# Head\r\n\r\ntext\r\n", Media::Markdown), "# Head\n\ntext\n");
    assert_eq!(text(b"", Media::Text), "");
}

#[test]
fn bytes_that_are_no_text_are_unsupported() {
    assert_eq!(refused(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", Media::Text).code(), "unsupported");
}

#[test]
fn text_over_the_bound_is_too_large_in_every_kind() {
    let bounds = Bounds { text_bytes: 100, ..Bounds::default() };
    let long = "word ".repeat(100);
    let word = format!("<w:p><w:r><w:t>{long}</w:t></w:r></w:p>");
    let page = format!("<p>{long}");
    for (bytes, media) in [
        (long.clone().into_bytes(), Media::Text),
        (page.into_bytes(), Media::Html),
        (docx(&word, &[]), Media::Docx),
        (pdf(&[&long]), Media::Pdf),
    ] {
        assert_eq!(extract(&bytes, Some(media), bounds).unwrap_err().code(), "too_large", "{media}");
    }
}
