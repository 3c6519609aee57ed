//! What the disk sees: a task is synced between its receipt and its ack.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use support::{PATIENCE, Server, ask, scripted};

/// The line numbers of the calls of a kind, in the order in which they happened.
fn lines(trace: &str, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    trace.lines().enumerate().filter(|(_, line)| wanted(line)).map(|(number, _)| number).collect()
}

/// The trace, once the tracer has written its last line.
async fn whole_trace(path: &str, pid: u32) -> String {
    let last = format!("{pid} ");
    let written = async {
        loop {
            let trace = std::fs::read_to_string(path).unwrap();
            if trace.lines().any(|line| line.starts_with(&last) && line.contains("+++ exited")) {
                return trace;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the tracer ends with the server")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_fdatasync_stands_between_a_tasks_receipt_and_its_ack() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap().to_owned();
    let calls = "trace=fdatasync,fsync,recvfrom,read,sendto,write,writev,sendmsg";
    // `-D`: the tracer is the grandchild, so that the process that is started and ended here is the server itself.
    let wrapper = ["strace", "-D", "-f", "-q", "-s", "256", "-e", calls, "-o", &path];
    let mut server = Server::start_under(&scripted(4), &wrapper);
    let body = r#"{"prompt":"a-very-certain-prompt"}"#;
    let (status, _, answer) = ask(&server, "POST", "/v1/tasks", "", body).await;
    assert_eq!(status, 202, "{answer}");
    server.terminate();
    let trace = whole_trace(&path, server.pid()).await;
    let receipt = lines(&trace, |line| line.contains("a-very-certain-prompt") && line.contains("POST"));
    let ack = lines(&trace, |line| line.contains("HTTP/1.1 202"));
    // A call that another thread interrupts is told in two lines; it is done at the second.
    let synced = lines(&trace, |line| {
        (line.contains("fdatasync(") || line.contains("fdatasync resumed")) && line.trim_end().ends_with("= 0")
    });
    let (receipt, ack) = (receipt[0], ack[0]);
    assert!(synced.iter().any(|sync| (receipt..ack).contains(sync)), "no fdatasync in lines {receipt}..{ack}");
}
