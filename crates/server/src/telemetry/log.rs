//! The server's own log, on stderr.

use crate::config::LogFormat;
use std::io::IsTerminal;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// Under this name llama.cpp's own log arrives.
const LLAMA: &str = "llama-cpp-2";

/// What is logged, which may change.
#[derive(Clone)]
pub(crate) struct LogFilter(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl LogFilter {
    /// Directives as a filter.
    pub(crate) fn parse(filter: &str) -> Result<EnvFilter, String> {
        // llama.cpp tells every tensor that it loads; whoever wants to hear that names it in the filter.
        let quiet = if filter.contains(LLAMA) { String::new() } else { format!(",{LLAMA}=error") };
        EnvFilter::try_new(format!("{filter}{quiet}")).map_err(|error| format!("`log.filter` can't be read: {error}"))
    }

    /// From now on this.
    pub(crate) fn set(&self, filter: EnvFilter) {
        (self.0)(filter);
    }
}

/// Sends the server's log to stderr.
pub(crate) fn start_log(format: LogFormat, filter: &str) -> Result<LogFilter, String> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(LogFilter::parse(filter)?)
        .with_writer(std::io::stderr)
        // It would be told on stderr, and a thread that can't write there panics: a log on a full disk must not end
        // the thread that waits for the disk.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A handle fails only once the log is gone, and then there is nothing to filter.
    Ok(match format {
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogFilter(Arc::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogFilter(Arc::new(move |filter| drop(handle.reload(filter))))
        }
    })
}
