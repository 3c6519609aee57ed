//! Files on an engine whose clock is turned by hand: what expires, what a crash leaves, who takes a text.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TenantId;
use tidewire_core::files::{About, Bounds, ContentError, File, Files, MessageError, Status, Sweep};
use tidewire_core::port::{Clock, LogKeeping};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;

const TENANT: TenantId = TenantId::DEFAULT;

struct World {
    clock: Arc<HandClock>,
    engine: Arc<memory::Engine>,
    files: Arc<Files>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new(11));
        let engine = Arc::new(memory::Engine::new(memory::Bounds::default(), clock.clone()));
        let files = Files::new(engine.clone(), engine.clone(), engine.clone(), clock.clone(), Bounds::default());
        Self { clock, engine, files: Arc::new(files) }
    }

    async fn put(&self, bytes: &'static [u8], expires_after: Option<Duration>) -> File {
        let mut upload = self.files.upload(TENANT).await.unwrap();
        upload.push(bytes.into()).await.unwrap();
        let (filename, purpose) = ("a \"quoted\".txt".to_owned(), "user_data".to_owned());
        upload.finish(About { filename, purpose, media: String::new(), expires_after }).await.unwrap()
    }

    async fn logs(&self) -> usize {
        self.engine.list(TENANT, None, 100).await.unwrap().len()
    }

    async fn sweep(&self) -> Sweep {
        let mut sweep = Sweep::default();
        self.files.sweep(TENANT, &mut sweep, 100).await.unwrap();
        sweep
    }
}

fn naming(file: &File) -> bytes::Bytes {
    format!(
        r#"{{"x":1.50,"messages":[{{"role":"user","content":[ {{"type":"file","file":{{"file_id":"{}"}}}} ]}}]}}"#,
        file.id
    )
    .into()
}

#[tokio::test]
async fn a_file_that_expired_is_gone_at_once_and_swept_later() {
    let world = World::new();
    let file = world.put(b"text", Some(Duration::from_hours(1))).await;
    assert_eq!((world.logs().await, world.sweep().await.removed), (1, 0));
    world.clock.advance(Duration::from_hours(1));
    assert!(world.files.get(TENANT, file.id).await.unwrap().is_none());
    assert!(world.files.list(TENANT).await.unwrap().is_empty());
    assert_eq!((world.sweep().await.removed, world.logs().await), (1, 0));
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_off_is_swept_but_not_while_it_may_still_run() {
    let world = World::new();
    let kept = world.put(b"kept", None).await;
    let mut cut_off = world.files.upload(TENANT).await.unwrap();
    cut_off.push(vec![0; 2_000_000].into()).await.unwrap();
    std::mem::forget(cut_off);
    assert_eq!((world.sweep().await.removed, world.logs().await), (0, 2));
    world.clock.advance(Duration::from_hours(2));
    assert_eq!((world.sweep().await.removed, world.logs().await), (1, 1));
    assert!(world.files.get(TENANT, kept.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_text_whose_reader_was_lost_is_taken_once_more_and_then_given_up() {
    let world = World::new();
    let file = world.put(b"text", None).await;
    assert_eq!(world.sweep().await.unread, [file.id]);
    for _ in 0..2 {
        assert!(world.files.begin_reading(TENANT, file.id).await.unwrap().is_some());
    }
    assert!(world.files.begin_reading(TENANT, file.id).await.unwrap().is_none());
    let (file, _) = world.files.get(TENANT, file.id).await.unwrap().unwrap();
    assert_eq!((file.status, file.details.is_some()), (Status::Error, true));
    let handed_back = world.put(b"text", None).await;
    for _ in 0..5 {
        let reading = world.files.begin_reading(TENANT, handed_back.id).await.unwrap().expect("it was handed back");
        world.files.hand_back(reading).await.unwrap();
    }
    assert_eq!(world.logs().await, 2, "lost readings leave no logs");
}

#[tokio::test]
async fn a_file_that_is_deleted_while_it_is_read_leaves_no_text() {
    let world = World::new();
    let file = world.put(b"text", None).await;
    let reading = world.files.begin_reading(TENANT, file.id).await.unwrap().unwrap();
    assert!(world.files.remove(TENANT, file.id).await.unwrap());
    world.files.end_reading(reading, Ok("text".to_owned())).await.unwrap();
    assert_eq!(world.logs().await, 0);
    let file = world.put(b"text", None).await;
    let reading = world.files.begin_reading(TENANT, file.id).await.unwrap().unwrap();
    let (ended, removed) = tokio::join!(
        world.files.end_reading(reading, Ok("long ".repeat(1_000_000))),
        world.files.remove(TENANT, file.id)
    );
    assert_eq!((ended, removed, world.logs().await), (Ok(()), Ok(true), 0));
    assert!(!world.files.remove(TENANT, file.id).await.unwrap());
}

#[tokio::test]
async fn bytes_that_are_not_the_uploaded_ones_are_never_told_to_be_whole() {
    let world = World::new();
    let mut file = world.put(b"text", None).await;
    let mut content = world.files.content(TENANT, &file).await.unwrap();
    assert_eq!(content.next().await, Ok(Some("text".into())));
    assert_eq!(content.next().await, Ok(None));
    file.sha256.replace_range(..1, if file.sha256.starts_with('0') { "1" } else { "0" });
    let mut content = world.files.content(TENANT, &file).await.unwrap();
    assert_eq!(content.next().await, Ok(Some("text".into())));
    assert_eq!(content.next().await, Err(ContentError::Damaged));
}

#[tokio::test]
async fn a_text_takes_the_place_of_its_files_name_and_of_nothing_else() {
    let world = World::new();
    let file = world.put(b"text", None).await;
    let input = naming(&file);
    let wait = Duration::from_secs(5);
    world.files.check(TENANT, &input).await.expect("a file whose text is still being taken may be named");
    let reading = world.files.begin_reading(TENANT, file.id).await.unwrap().unwrap();
    // Longer than one append, and no character of it falls between two events.
    let text = "é漢\n".repeat(200_000);
    let (waited, ()) = tokio::join!(world.files.with_texts(TENANT, &input, wait), async {
        world.files.end_reading(reading, Ok(text[..900_000].to_owned())).await.unwrap();
    });
    let output: serde_json::Value = serde_json::from_slice(&waited.unwrap()).unwrap();
    let part = &output["messages"][0]["content"][0];
    assert_eq!(part["text"], format!("File \"a \\\"quoted\\\".txt\":\n{}", &text[..900_000]));
    let waited = world.files.with_texts(TENANT, &input, wait).await.unwrap();
    assert!(waited.starts_with(br#"{"x":1.50,"messages":[{"role":"user","content":[ {"#) && waited.ends_with(b" ]}]}"));
    world.files.remove(TENANT, file.id).await.unwrap();
    let gone = MessageError::Unknown(file.id.to_string());
    assert_eq!(world.files.check(TENANT, &input).await, Err(gone.clone()));
    assert_eq!(world.files.with_texts(TENANT, &input, wait).await, Err(gone));
}

#[tokio::test]
async fn a_text_that_does_not_come_is_not_waited_for_for_ever() {
    let world = World::new();
    let file = world.put(b"text", None).await;
    let (files, input) = (world.files.clone(), naming(&file));
    let waiting = files.with_texts(TENANT, &input, Duration::from_mins(2));
    tokio::pin!(waiting);
    let timeout = loop {
        tokio::select! {
            biased;
            outcome = &mut waiting => break outcome,
            () = tokio::task::yield_now() => world.clock.advance(Duration::from_secs(1)),
        }
    };
    assert_eq!(timeout, Err(MessageError::NotProcessed { id: file.id }));
    assert!(world.clock.monotonic() < Duration::from_mins(4), "and not much longer than it was told");
}
