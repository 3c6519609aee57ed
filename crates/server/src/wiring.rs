//! Puts a server together: the only place that names engines and backends.

mod deployments;
mod engines;
mod guards;
pub(crate) mod identity;
mod local;
pub(crate) mod otlp;
mod prices;
pub(crate) mod store;
mod upstreams;
mod words;

pub(crate) use deployments::{Deployments, listed_models, models_of, upstreams_for};
pub(crate) use engines::Engines;
