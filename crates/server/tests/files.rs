//! Files: uploaded whole or not at all, read by a helper that can't do harm, and named by messages.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[path = "../../extract/tests/documents/made.rs"]
mod made;
mod support;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use made::{docx, pdf, pdf_of_objects};
use serde_json::json;
use support::{PATIENCE, Server, ask, scripted};
use tidewire_client::{Http, NewFile};
use tidewire_proto::Submission;
use tidewire_proto::http::FileView;
use tokio::io::AsyncWriteExt;

fn new_file(filename: &str, bytes: usize) -> NewFile {
    let (filename, media) = (filename.to_owned(), "application/octet-stream".to_owned());
    NewFile { filename, media, purpose: "user_data".to_owned(), bytes: bytes as u64, expires_after: None }
}

async fn upload(http: &Http, filename: &str, bytes: Vec<u8>) -> FileView {
    let file = new_file(filename, bytes.len());
    http.upload_file(&file, stream::iter([Ok(Bytes::from(bytes))])).await.unwrap()
}

/// The file once its text was taken, or not.
async fn settled(http: &Http, id: &str) -> FileView {
    let _ = http.file_text(id, Some(PATIENCE)).await;
    http.file(id).await.unwrap()
}

/// A task that names files.
fn naming(files: &[&str]) -> Submission {
    let mut content = vec![json!({ "type": "text", "text": "Summarise." })];
    content.extend(files.iter().map(|id| json!({ "type": "file", "file": { "file_id": id } })));
    let input =
        json!({ "messages": [{ "role": "user", "content": content }], "script": { "tokens": 1, "delay_ms": 0 } });
    Submission { input: Some(serde_json::value::to_raw_value(&input).unwrap()), ..Submission::default() }
}

/// How many words the model was given: what the scripted backend counts.
async fn words_read(http: &Http, task: &str) -> u64 {
    http.text(task, Some(PATIENCE)).await.unwrap();
    let end = http.task(task).await.unwrap().end.unwrap();
    assert_eq!(end["state"], "done", "{end}");
    end["usage"]["input_tokens"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_back_byte_for_byte_over_a_restart_and_is_gone_once_deleted() {
    let mut server = Server::start(&scripted(1));
    let http = server.http();
    let bytes: Vec<u8> = (0..3_000_001u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = upload(&http, "some.bin", bytes.clone()).await;
    assert_eq!((file.bytes, file.object.as_str(), file.filename.as_str()), (3_000_001, "file", "some.bin"));
    // FIPS 180-2, appendix B.1.
    let abc = upload(&http, "abc", b"abc".to_vec()).await;
    assert_eq!(abc.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    http.delete_file(&abc.id).await.unwrap();
    server.terminate();
    server.restart();
    let http = server.http();
    let content = http.file_content(&file.id).await.unwrap();
    let read: Vec<Bytes> = content.try_collect().await.unwrap();
    assert_eq!(read.concat(), bytes);
    let small = upload(&http, "empty.txt", Vec::new()).await;
    // Of no bytes at all.
    assert_eq!(small.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let ids = |list: tidewire_proto::http::FileList| list.data.into_iter().map(|file| file.id).collect::<Vec<_>>();
    assert_eq!(ids(http.files(None, None).await.unwrap()), [small.id.clone(), file.id.clone()], "newest first");
    assert_eq!(ids(http.files(Some(1), Some(&small.id)).await.unwrap()), [&*file.id]);
    assert!(http.delete_file(&file.id).await.unwrap().deleted);
    for gone in [
        http.file(&file.id).await.unwrap_err().to_string(),
        http.delete_file(&file.id).await.unwrap_err().to_string(),
        http.submit(&naming(&[&file.id])).await.unwrap_err().to_string(),
    ] {
        assert!(gone.contains("unknown_file") && gone.contains(&file.id), "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_contracts_are_read_by_the_fifty_tasks_that_name_them() {
    let server = Server::start(&scripted(8));
    let http = server.http();
    let words = |number: usize| vec!["word"; 10 + number].join(" ");
    let contracts = stream::iter(0..50).map(|number| {
        let (http, text) = (http.clone(), words(number));
        async move {
            let (name, bytes) = match number % 4 {
                0 => (format!("{number}.pdf"), pdf(&[&text])),
                1 => (format!("{number}.docx"), docx(&format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"), &[])),
                2 => (format!("{number}.html"), format!("<html><p>{text}</p></html>").into_bytes()),
                _ => (format!("{number}.md"), text.into_bytes()),
            };
            let file = upload(&http, &name, bytes).await;
            // At once: its text is not there yet.
            let task = http.submit(&naming(&[&file.id])).await.unwrap();
            (number, task.id)
        }
    });
    let tasks: Vec<(usize, String)> = contracts.buffer_unordered(8).collect().await;
    assert_eq!(tasks.len(), 50);
    for (number, task) in tasks {
        // `Summarise.`, `File "0.pdf":`, and the contract's own words.
        assert_eq!(words_read(&http, &task).await, 1 + 2 + 10 + number as u64, "contract {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_document_is_an_error_of_that_file_and_of_nothing_else() {
    let server = Server::start(&scripted(2));
    let http = server.http();
    let page =
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Resources << /XObject << /F 5 0 R >> >> /Contents 4 0 R >>";
    let draws_itself = pdf_of_objects(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page,
        "<< /Length 5 >>\nstream\n/F Do\nendstream",
        "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /F 5 0 R >> >> /Length 5 >>\n\
         stream\n/F Do\nendstream",
    ]);
    let deep = format!("%PDF-1.4\n1 0 obj\n{}\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF", "[".repeat(1_000_000));
    let bomb = docx(&" ".repeat(300 * 1024 * 1024), &[]);
    let picture = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR".to_vec();
    let mut hostile = Vec::new();
    for (name, bytes) in
        [("self.pdf", draws_itself), ("deep.pdf", deep.into_bytes()), ("bomb.docx", bomb), ("picture", picture)]
    {
        hostile.push(upload(&http, name, bytes).await);
    }
    let good = upload(&http, "good.txt", b"one two three".to_vec()).await;
    for file in hostile {
        let file = settled(&http, &file.id).await;
        let reason = file.status_details.unwrap_or_default();
        assert_eq!((file.status.as_str(), file.text_bytes), ("error", None), "{}: {reason}", file.filename);
        let refused = http.submit(&naming(&[&file.id])).await.unwrap_err().to_string();
        assert!(refused.contains("file_not_readable") && refused.contains(&reason), "{refused}");
    }
    assert_eq!(settled(&http, &good.id).await.status, "processed");
    assert_eq!(http.file_text(&good.id, None).await.unwrap(), "one two three");
    let both = http.submit(&naming(&[&good.id, &good.id])).await.unwrap();
    assert_eq!(words_read(&http, &both.id).await, 1 + 2 * (2 + 3));
    // A helper that is done is no longer there, not even as a zombie.
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let none_left = async {
        while !std::fs::read_to_string(&children).unwrap().trim().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, none_left).await.expect("all helpers end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_file_is_deleted_before_its_turn_fails_and_says_which() {
    let server = Server::start(&scripted(1));
    let (http, session) = (server.http(), server.session().await);
    let file = upload(&http, "a.txt", b"text".to_vec()).await;
    let endless = support::task(json!({ "tokens": 1_000_000, "delay_ms": 20 }));
    let holds_the_slot = session.submit(endless).await.unwrap();
    let waits = http.submit(&naming(&[&file.id])).await.unwrap();
    http.delete_file(&file.id).await.unwrap();
    session.stop(&holds_the_slot.ack.task).await.unwrap();
    http.text(&waits.id, Some(PATIENCE)).await.unwrap();
    let end = http.task(&waits.id).await.unwrap().end.unwrap();
    assert_eq!((&end["state"], &end["error"]["code"]), (&"failed".into(), &"unknown_file".into()), "{end}");
    assert!(end["error"]["message"].as_str().unwrap().contains(&file.id), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_leaves_no_file_and_a_kill_loses_none_that_was_answered() {
    let mut server = Server::start(&scripted(1));
    let http = server.http();
    let whole = upload(&http, "kept.txt", b"kept words".to_vec()).await;
    let host = server.address().to_owned();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: {host}\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: 4000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"half.txt\"\r\n\r\n"
    );
    let half = [head.as_bytes(), &vec![b'x'; 2_000_000]].concat();
    let mut hung_up = tokio::net::TcpStream::connect(&host).await.unwrap();
    hung_up.write_all(&half).await.unwrap();
    drop(hung_up);
    let mut killed = tokio::net::TcpStream::connect(&host).await.unwrap();
    killed.write_all(&half).await.unwrap();
    server.kill();
    server.restart();
    let http = server.http();
    let list = http.files(None, None).await.unwrap();
    assert_eq!(list.data.iter().map(|file| &*file.id).collect::<Vec<_>>(), [&*whole.id]);
    assert_eq!(settled(&http, &whole.id).await.status, "processed", "its text is taken, before the kill or after it");
    assert_eq!(http.file_text(&whole.id, None).await.unwrap(), "kept words");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_a_bound_is_refused_by_name() {
    let bounds = "[limits]\nfile_bytes = 1000\nfiles_bytes = 2500\nfiles = 3\nfile_text_bytes = 900\n";
    let server = Server::start(&format!("{bounds}{}", scripted(1)));
    let http = server.http();
    let put = async |bytes: usize| {
        let file = new_file("a.txt", bytes);
        http.upload_file(&file, stream::iter([Ok(Bytes::from(vec![b'a'; bytes]))])).await
    };
    let refused = put(1001).await.unwrap_err().to_string();
    assert!(refused.contains("too_large") && refused.contains("limits.file_bytes"), "{refused}");
    let first = put(1000).await.unwrap();
    settled(&http, &first.id).await;
    let long = http.submit(&naming(&[&first.id])).await.unwrap_err().to_string();
    assert!(long.contains("file_text_too_long") && long.contains("900"), "{long}");
    put(1000).await.unwrap();
    let full = put(501).await.unwrap_err().to_string();
    assert!(full.contains("files_full") && full.contains("limits.files_bytes"), "{full}");
    put(500).await.unwrap();
    let many = put(0).await.unwrap_err().to_string();
    assert!(many.contains("files_full") && many.contains("limits.files`"), "{many}");
    http.delete_file(&first.id).await.unwrap();
    put(0).await.expect("a deleted file gives its place back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_are_wrong_say_what_is_wrong() {
    let server = Server::start(&scripted(1));
    let form = "content-type: multipart/form-data; boundary=b\r\n";
    let field =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\ntext\r\n";
    let expiry =
        |seconds: &str| field("expires_after[anchor]", "created_at") + &field("expires_after[seconds]", seconds);
    for (body, word) in [
        (file.to_owned(), "`purpose`"),
        (field("purpose", "user_data"), "`file`"),
        (field("purpose", "nonsense") + file, "nonsense"),
        (field("purpose", "user_data") + file + file, "two files"),
        (field("purpose", "user_data") + &expiry("60") + file, "expires_after[seconds]"),
        (field("colour", "red") + file, "colour"),
    ] {
        let (status, _, answer) = ask(&server, "POST", "/v1/files", form, &(body + "--b--\r\n")).await;
        assert!(status == 400 && answer.contains("invalid_request") && answer.contains(word), "{word}: {answer}");
    }
    let (status, _, answer) = ask(&server, "POST", "/v1/files", "content-type: application/json\r\n", "{}").await;
    assert!(status == 400 && answer.contains("multipart/form-data"), "{answer}");
    assert!(server.http().files(None, None).await.unwrap().data.is_empty(), "nothing of them is left");
    let right = file.to_owned() + &field("purpose", "batch") + &expiry("3600") + "--b--\r\n";
    let (status, _, answer) = ask(&server, "POST", "/v1/files", form, &right).await;
    let file: FileView = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &*file.status, file.expires_at), (200, "processed", Some(file.created_at + 3600)));
}
