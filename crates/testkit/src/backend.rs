//! The suite of the port `Backend`. A backend is not made out of nothing, so whoever runs the suite gives one, a
//! request, and the text that it must answer with.

use futures_util::StreamExt;
use tidewire_core::port::{Backend, Begins, Chunk, Request};

/// Runs every check; panics with the name of the first that fails.
pub async fn check(backend: &dyn Backend, request: Request, text: &str) {
    the_chunks_joined_are_the_answer_and_the_last_one_is_the_finish(backend, request.clone(), text).await;
    a_run_that_is_dropped_leaves_the_backend_well(backend, request.clone(), text).await;
    a_run_that_goes_on_skips_what_is_committed(backend, request, text).await;
}

async fn answer(backend: &dyn Backend, request: Request) -> (Begins, String) {
    let mut run = backend.run(request).await.unwrap();
    let (mut text, mut finished) = (String::new(), 0);
    while let Some(chunk) = run.chunks.next().await {
        assert_eq!(finished, 0, "something comes after the finish");
        match chunk.unwrap() {
            Chunk::Text(piece) => text.push_str(std::str::from_utf8(&piece).expect("whole characters")),
            Chunk::Finish(_) => finished += 1,
            _ => {}
        }
    }
    assert_eq!(finished, 1, "the answer has one finish");
    (run.begins, text)
}

async fn the_chunks_joined_are_the_answer_and_the_last_one_is_the_finish(
    backend: &dyn Backend,
    request: Request,
    text: &str,
) {
    let (begins, answered) = answer(backend, request).await;
    assert_eq!((begins, answered.as_str()), (Begins::Afresh, text));
}

async fn a_run_that_is_dropped_leaves_the_backend_well(backend: &dyn Backend, request: Request, text: &str) {
    let mut run = backend.run(request.clone()).await.unwrap();
    let first = run.chunks.next().await;
    assert!(first.is_some_and(|chunk| chunk.is_ok()));
    drop(run);
    assert_eq!(answer(backend, request).await.1, text);
}

/// A backend that can't go on begins afresh, which is as good; what it must not do is to say one and do the other.
async fn a_run_that_goes_on_skips_what_is_committed(backend: &dyn Backend, request: Request, text: &str) {
    let half = text.char_indices().map(|(at, _)| at).find(|at| *at >= text.len() / 2).unwrap_or(0);
    let border = text[..half].rfind(' ').map_or(0, |space| space + 1);
    let committed = text[..border].to_owned();
    let (begins, rest) = answer(backend, Request { committed: committed.clone(), ..request }).await;
    match begins {
        Begins::Afresh => assert_eq!(rest, text),
        Begins::AfterCommitted => assert_eq!(committed + &rest, text),
    }
}
