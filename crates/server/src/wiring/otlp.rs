//! Where traces go, if anywhere.

use crate::config::Config;
use tidewire_core::trace::Sampling;

/// The variable that holds what goes with each export, as OpenTelemetry's own variable of this kind: `name=value`, with
/// commas between several.
#[cfg(feature = "otlp")]
const HEADERS: &str = "TIDEWIRE_OTLP_HEADERS";

/// What is wrong with the settings.
type Refused = Box<dyn std::error::Error>;

/// Which traces that begin here are recorded.
pub(crate) fn sampling(config: &Config) -> Sampling {
    if config.otlp.endpoint.is_empty() { Sampling::OFF } else { Sampling::ratio(config.otlp.sample_ratio) }
}

/// Refuses settings that can't work.
#[cfg(not(feature = "otlp"))]
pub(crate) fn check(config: &Config) -> Result<(), Refused> {
    if config.otlp.endpoint.is_empty() {
        return Ok(());
    }
    Err("`otlp.endpoint` is set, but this program was built without the feature `otlp`".into())
}

/// What the exporter needs, where a collector is named.
#[cfg(feature = "otlp")]
pub(crate) fn settings(config: &Config) -> Result<Option<crate::otlp::Settings>, Refused> {
    let otlp = &config.otlp;
    if otlp.endpoint.is_empty() {
        return Ok(None);
    }
    let is_http = ["http://", "https://"].iter().any(|scheme| otlp.endpoint.starts_with(scheme));
    if !is_http || otlp.endpoint.parse::<http::Uri>().is_err() {
        return Err("`otlp.endpoint` is a collector's http or https URL, such as \"http://127.0.0.1:4318\"".into());
    }
    if !(0.0..=1.0).contains(&otlp.sample_ratio) {
        return Err("`otlp.sample_ratio` is 0.0 to 1.0".into());
    }
    let text = match (&otlp.headers_file, crate::config::variable(HEADERS)) {
        (Some(_), Some(_)) => return Err(format!("leave out `otlp.headers_file` or the variable {HEADERS}").into()),
        (Some(file), None) => std::fs::read_to_string(file)
            .map_err(|error| format!("`otlp.headers_file`: {}: {error}", file.display()))?,
        (None, text) => text.unwrap_or_default(),
    };
    Ok(Some(crate::otlp::Settings {
        url: format!("{}/v1/traces", otlp.endpoint.trim_end_matches('/')),
        headers: headers(&text)?,
        include_text: otlp.include_text,
        providers: config.providers(),
        instance: config.worker.name.clone(),
    }))
}

/// `name=value`, with commas or line ends between them. An error names no value: most are secrets.
#[cfg(feature = "otlp")]
fn headers(text: &str) -> Result<http::HeaderMap, Refused> {
    let mut headers = http::HeaderMap::new();
    let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
    for (index, part) in parts.enumerate() {
        let header = part.split_once('=').and_then(|(name, value)| {
            let name: http::HeaderName = name.trim().parse().ok()?;
            let mut value = http::HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let (name, value) =
            header.ok_or_else(|| format!("the {}. header of `otlp` is no `name=value` that can be sent", index + 1))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_a_wrong_one_is_refused_without_its_value() {
        let read = headers("authorization=Bearer abc=\n x-team=a, x-more=b\n").unwrap();
        assert_eq!(read["authorization"], "Bearer abc=");
        assert_eq!((&read["x-team"], &read["x-more"]), (&"a".parse().unwrap(), &"b".parse().unwrap()));
        assert!(!format!("{read:?}").contains("abc"));
        let error = headers("a=b,bad name=secret").unwrap_err().to_string();
        assert!(error.contains("2.") && !error.contains("secret"), "{error}");
    }
}
