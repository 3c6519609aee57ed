//! The suite of the port `Backend`, on the scripted backend. The others run it where their models are.

use std::sync::Arc;
use tidewire_backends::scripted::{Script, Scripted, text};
use tidewire_core::port::{Request, Timeouts};

#[tokio::test]
async fn the_scripted_backend_keeps_the_promises_of_its_port() {
    for continues in [true, false] {
        let script = Script { tokens: 20, delay_ms: 0, continues, ..Script::default() };
        let request = Request {
            model: Arc::from("scripted"),
            input: br#"{"messages":[{"role":"user","content":"go"}]}"#.as_slice().into(),
            committed: String::new(),
            timeouts: Timeouts::default(),
            trace: None,
        };
        tidewire_testkit::backend::check(&Scripted::new(script.clone()), request, &text(&script)).await;
    }
}

#[tokio::test]
async fn the_scripted_backend_keeps_the_promises_of_an_embedder() {
    tidewire_testkit::embedder::check(&Scripted::new(Script::default()), "scripted").await;
}
