//! The suite of the port `Embedder`. Whoever runs it gives an embedder and the name of a model that it has.

use tidewire_core::port::{EmbedInput, EmbedRequest, Embedder, Timeouts};

/// Runs every check; panics with the name of the first that fails.
pub async fn check(embedder: &dyn Embedder, model: &str) {
    each_input_has_one_vector_in_its_place(embedder, model).await;
    a_vector_does_not_depend_on_its_neighbours(embedder, model).await;
    a_call_that_is_dropped_leaves_the_embedder_well(embedder, model).await;
}

fn request(model: &str, texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        model: model.into(),
        inputs: texts.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect(),
        dimensions: None,
        timeouts: Timeouts::default(),
    }
}

async fn vectors(embedder: &dyn Embedder, model: &str, texts: &[&str]) -> Vec<Vec<f32>> {
    let embedded = embedder.embed(request(model, texts)).await.unwrap();
    assert_eq!(embedded.vectors.len(), texts.len());
    assert_eq!(embedded.usage.output_tokens, 0, "vectors are no output");
    embedded.vectors
}

async fn each_input_has_one_vector_in_its_place(embedder: &dyn Embedder, model: &str) {
    let texts = ["one", "two words", "Grüße 🙂", "one"];
    let all = vectors(embedder, model, &texts).await;
    let length = all[0].len();
    for (vector, text) in all.iter().zip(texts) {
        assert_eq!(vector.len(), length, "{text}");
        assert!(vector.iter().all(|number| number.is_finite()), "{text}");
        assert!(vector.iter().any(|number| *number != 0.0), "{text}");
    }
    assert!(near(&all[0], &all[3]), "the same text has the same vector");
    assert!(!near(&all[0], &all[1]), "another text has another vector");
}

async fn a_vector_does_not_depend_on_its_neighbours(embedder: &dyn Embedder, model: &str) {
    let alone = vectors(embedder, model, &["two words"]).await;
    let among = vectors(embedder, model, &["one", "two words", "three"]).await;
    assert!(near(&alone[0], &among[1]));
}

async fn a_call_that_is_dropped_leaves_the_embedder_well(embedder: &dyn Embedder, model: &str) {
    let mut call = Box::pin(embedder.embed(request(model, &["one"])));
    // One look at it begins it, and may already end it.
    let _ = futures_util::poll!(call.as_mut());
    drop(call);
    vectors(embedder, model, &["one"]).await;
}

/// Batches change the order of a model's additions, and so the last digits.
fn near(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-3)
}
