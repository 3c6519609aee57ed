//! Every way to fail, and what it is told as.

use super::runs::{begin, failure, hello, read, request, text};
use super::upstream::{Step, Upstream, chunk, document, events, unfinished};
use super::{KEY, backend};
use std::time::Duration;
use tidewire_backends::openai::OpenAi;
use tidewire_core::port::{Backend, BackendError, Chunk, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How a request fails whose answer is this.
async fn told(steps: Vec<Step>) -> BackendError {
    let upstream = Upstream::start([steps]).await;
    failure(&backend(&upstream), hello()).await
}

#[tokio::test]
async fn every_refusal_has_its_fault() {
    let cases = [
        ("400 Bad Request", include_str!("../transcripts/openai_context.json"), Fault::ContextTooLong),
        ("400 Bad Request", include_str!("../transcripts/llamacpp_context.json"), Fault::ContextTooLong),
        ("400 Bad Request", include_str!("../transcripts/vllm_context.json"), Fault::ContextTooLong),
        ("400 Bad Request", include_str!("../transcripts/openai_invalid.json"), Fault::InvalidRequest),
        ("400 Bad Request", include_str!("../transcripts/llamacpp_invalid.json"), Fault::InvalidRequest),
        (
            "422 Unprocessable Entity",
            r#"{"detail":[{"loc":["body","top_p"],"msg":"too large"}]}"#,
            Fault::InvalidRequest,
        ),
        ("401 Unauthorized", include_str!("../transcripts/openai_key.json"), Fault::Unauthorized),
        ("403 Forbidden", "", Fault::Unauthorized),
        ("404 Not Found", include_str!("../transcripts/openai_model.json"), Fault::UnknownModel),
        ("404 Not Found", include_str!("../transcripts/vllm_model.json"), Fault::UnknownModel),
        ("408 Request Timeout", "", Fault::TimedOut),
        ("504 Gateway Timeout", "<html>nginx</html>", Fault::TimedOut),
        ("429 Too Many Requests", include_str!("../transcripts/openai_rate.json"), Fault::RateLimited),
        ("500 Internal Server Error", "", Fault::Overloaded),
        ("502 Bad Gateway", "<html>nginx</html>", Fault::Overloaded),
        ("503 Service Unavailable", include_str!("../transcripts/vllm_overloaded.json"), Fault::Overloaded),
        ("501 Not Implemented", "", Fault::InvalidRequest),
        ("307 Temporary Redirect", "", Fault::Broken),
    ];
    let answers = cases.map(|(status, body, _)| document(status, "location: http://127.0.0.1:1/\r\n", body));
    let upstream = Upstream::start(answers).await;
    let backend = backend(&upstream);
    for (status, body, fault) in cases {
        let error = backend.run(hello()).await.err().expect(status);
        assert_eq!(error.fault, fault, "{status} {body}: {error}");
        assert!(error.message.starts_with(&format!("the upstream answered {status}")), "{error}");
        assert_eq!(error.status, status[..3].parse().ok());
        assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    }
}

#[tokio::test]
async fn the_upstreams_own_words_are_kept() {
    let told = told(document("401 Unauthorized", "", include_str!("../transcripts/openai_key.json"))).await;
    let words = "the upstream answered 401 Unauthorized: Incorrect API key provided: [the key]. You can find";
    assert!(told.message.starts_with(words), "{told}");
}

#[tokio::test]
async fn a_wait_that_the_upstream_asks_for_is_kept() {
    let rate = include_str!("../transcripts/openai_rate.json");
    let date = "date: Sun, 22 Nov 2026 10:00:00 GMT\r\nretry-after: Sun, 22 Nov 2026 10:01:30 GMT\r\n";
    for (headers, wait_ms) in [
        ("retry-after: 3\r\n", Some(3000)),
        ("Retry-After-Ms: 60\r\nretry-after: 1\r\n", Some(60)),
        (date, Some(90_000)),
        ("", None),
    ] {
        let error = told(document("429 Too Many Requests", headers, rate)).await;
        assert_eq!(error.fault, Fault::RateLimited);
        assert_eq!(error.retry_after, wait_ms.map(Duration::from_millis), "{headers}");
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_an_answer_ends_it() {
    let upstream = Upstream::start([events(include_str!("../transcripts/vllm_error.sse"), 10)]).await;
    let (chunks, error) = read(begin(&backend(&upstream), hello()).await).await;
    assert_eq!(text(&chunks), "Hel");
    let error = error.unwrap();
    assert_eq!((error.fault, error.status), (Fault::Overloaded, Some(500)));
    assert!(error.message.contains("EngineCore encountered an issue"), "{error}");
}

#[tokio::test]
async fn an_error_in_place_of_an_answer_is_told_whatever_its_form() {
    for (steps, fault) in [
        (document("200 OK", "", include_str!("../transcripts/llamacpp_context.json")), Fault::ContextTooLong),
        (document("200 OK", "", r#"{"error":{"code":429,"message":"slow down"}}"#), Fault::RateLimited),
        (events("event: error\ndata: {\"message\":\"m\",\"code\":503}\n\n", 9), Fault::Overloaded),
        (events("data: {\"error\":\"text only\"}\n\n", 9), Fault::Broken),
    ] {
        assert_eq!(told(steps).await.fault, fault);
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_or_makes_no_sense_is_broken() {
    let whole = include_str!("../transcripts/openai_text.sse");
    let early = whole.split_inclusive("\n\n").take(3).collect::<String>();
    let mut cut = unfinished(&early, usize::MAX);
    cut.push(Step::Close);
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<hi>".to_owned();
    for (what, steps) in [
        ("cut off", cut),
        ("ended", events(&early, 50)),
        ("done without a reason", events(&(early.clone() + "data: [DONE]\n\n"), 50)),
        ("empty", events("", 1)),
        ("no JSON", events(&(early.clone() + "data: {\"choices\":[{\n\n"), 50)),
        ("another form", events(&(early + "data: {\"choices\":{\"delta\":1}}\n\n"), 50)),
        ("a document that is none", document("200 OK", "", "{\"choices\"")),
        ("a document without an end", document("200 OK", "", r#"{"choices":[{"message":{"content":"a"}}]}"#)),
        ("a page", vec![Step::Send(page.into())]),
        ("no HTTP", vec![Step::Send(b"hello\r\n\r\n".to_vec()), Step::Close]),
    ] {
        let error = told(steps).await;
        assert_eq!(error.fault, Fault::Broken, "{what}: {error}");
        assert!(!error.message.contains("Grüße"), "{what}: {error}");
    }
}

#[tokio::test]
async fn an_event_or_a_document_without_end_is_given_up() {
    let piece = "x".repeat(300 * 1024);
    let mut event = unfinished("data: ", 10);
    event.extend([chunk(piece.as_bytes()), chunk(piece.as_bytes()), chunk(piece.as_bytes()), chunk(piece.as_bytes())]);
    event.push(Step::Stall);
    assert_eq!(told(event).await.fault, Fault::Broken);
    assert_eq!(told(document("200 OK", "", &format!("\"{}\"", piece.repeat(4)))).await.fault, Fault::Broken);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_it_is_sent() {
    let upstream = Upstream::start([]).await;
    for input in [r#"{"n":2}"#, "[]", "no"] {
        assert_eq!(failure(&backend(&upstream), request(input)).await.fault, Fault::InvalidRequest);
    }
}

#[tokio::test]
async fn silence_is_timed_out() {
    let tiny = Duration::from_millis(30);
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let stalled = |transcript: &str| [unfinished(transcript, usize::MAX), vec![Step::Stall]].concat();

    for (what, steps) in [
        ("before the head", vec![Step::Stall]),
        (
            "before the first token",
            stalled(": alive\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"),
        ),
    ] {
        let mut upstream = Upstream::start([steps]).await;
        let mut request = hello();
        request.timeouts.first_token = tiny;
        assert_eq!(failure(&backend(&upstream), request).await.fault, Fault::TimedOut, "{what}");
        upstream.request().await;
        assert_eq!(upstream.saw().await, super::upstream::Saw::Gone { connection: 0 }, "{what}");
    }

    let upstream = Upstream::start([stalled(first)]).await;
    let mut request = hello();
    request.timeouts.between_tokens = tiny;
    let (chunks, error) = read(begin(&backend(&upstream), request).await).await;
    assert_eq!(chunks, [Chunk::Text("a".into())]);
    assert_eq!(error.unwrap().fault, Fault::TimedOut);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for base in [format!("http://{address}/v1"), "http://no-such-host.invalid/v1".to_owned()] {
        let backend = OpenAi::new(&base, None).unwrap();
        assert_eq!(failure(&backend, hello()).await.fault, Fault::Unreachable, "{base}");
        assert_eq!(backend.models().await.unwrap_err().fault, Fault::Unreachable, "{base}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_unreachable_under_https() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = OpenAi::new(&format!("https://{}/v1", listener.local_addr().unwrap()), Some(KEY)).unwrap();
    let plain = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4096];
        let read = socket.read(&mut hello).await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        assert!(!hello[..read].windows(KEY.len()).any(|part| part == KEY.as_bytes()));
    };
    let (error, ()) = tokio::join!(failure(&backend, hello()), plain);
    assert_eq!(error.fault, Fault::Unreachable, "{error}");
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_is_given_up() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Until its queue is full: the next one then waits for an accept that never comes.
    let mut waiting = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    let mut request = hello();
    request.timeouts.connect = Duration::from_millis(30);
    let error = failure(&OpenAi::new(&format!("http://{address}/v1"), None).unwrap(), request).await;
    assert_eq!(error.fault, Fault::Unreachable, "{error}");
}
