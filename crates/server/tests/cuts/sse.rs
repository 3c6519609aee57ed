//! A reader of server-sent events that knows nothing of tidewire's client: it comes back with `Last-Event-ID`.

use std::net::SocketAddr;
use tidewire_client::Answer;
use tidewire_client::proto::WireEvent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is known over all connections.
#[derive(Default)]
struct Reader {
    epoch: Option<String>,
    last: Option<u64>,
    answer: Answer,
}

/// Reads a task's log to its end, over as many connections as it takes. The text, and the end event's data.
pub(crate) async fn follow(address: SocketAddr, task: &str) -> (String, serde_json::Value) {
    let mut reader = Reader::default();
    loop {
        // A cut is an error here or an end there; what came whole before it counts.
        let heard = request(address, task, &reader).await;
        reader.take(&heard);
        if let Some(end) = reader.answer.end() {
            return (reader.answer.text().to_owned(), end.clone());
        }
    }
}

async fn request(address: SocketAddr, task: &str, reader: &Reader) -> Vec<u8> {
    let mut heard = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return heard };
    let epoch = reader.epoch.as_ref().map_or(String::new(), |epoch| format!("&epoch={epoch}"));
    let last = reader.last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
    // HTTP/1.0: the body comes as it is, without the lengths of chunks in it.
    let request = format!(
        "GET /v1/tasks/{task}/events?window_ms=0{epoch} HTTP/1.0\r\nhost: {address}\r\naccept: text/event-stream\r\n{last}\r\n"
    );
    if stream.write_all(request.as_bytes()).await.is_ok() {
        // A reset loses what the system had not handed over yet, and nothing that it had.
        let _ = stream.read_to_end(&mut heard).await;
    }
    heard
}

impl Reader {
    /// Takes what one connection brought: an event counts once its empty line has come.
    fn take(&mut self, heard: &[u8]) {
        let end_of_head = heard.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end_of_head) = end_of_head else { return };
        let head = String::from_utf8(heard[..end_of_head].to_vec()).unwrap().to_lowercase();
        assert!(head.lines().next().unwrap().contains(" 200"), "{head}");
        let epoch = head.lines().find_map(|line| line.strip_prefix("tidewire-epoch: ")).unwrap().to_owned();
        assert_eq!(self.epoch.get_or_insert_with(|| epoch.clone()), &epoch, "a durable log began a new epoch");
        let mut body = &heard[end_of_head + 4..];
        while let Some(length) = body.windows(2).position(|window| window == b"\n\n") {
            self.event(std::str::from_utf8(&body[..length]).unwrap());
            body = &body[length + 2..];
        }
    }

    fn event(&mut self, block: &str) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        // A comment is a sign of life.
        let (Some(id), Some(data)) = (field("id: "), field("data: ")) else { return };
        let event: WireEvent<'_> = serde_json::from_str(data).unwrap();
        assert_eq!(event.offset, self.last.map_or(0, |last| last + 1), "a gap, a double or a step back");
        assert_eq!(event.next() - 1, id.parse::<u64>().unwrap(), "the id is the last offset that it covers");
        self.last = Some(event.next() - 1);
        self.answer.apply(&event);
    }
}
