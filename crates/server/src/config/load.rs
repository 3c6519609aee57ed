//! Reads the settings from their three places, and says what is wrong with them.

use super::reference::SETTINGS;
use super::{BackendKind, Config, DeploymentConfig};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Variables that begin with `TIDEWIRE_` and are no settings of the server.
const OTHER_VARIABLES: &[&str] = &[
    "TIDEWIRE_URL",
    "TIDEWIRE_CACHE",
    "TIDEWIRE_CONFIG",
    "TIDEWIRE_KEY",
    "TIDEWIRE_ADMIN_KEY",
    "TIDEWIRE_JWT_SECRET",
    "TIDEWIRE_OIDC_SECRET",
    "TIDEWIRE_OTLP_HEADERS",
];

/// How near a key must be to be suggested.
const NEAR: f64 = 0.7;

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or a value has the wrong type.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file's name, or what stands for it.
        origin: String,
        /// What and where.
        message: String,
    },
}

/// The settings of a file (or none) and of `TIDEWIRE_*` variables.
pub(crate) fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut table = match file {
        Some(path) => read(path)?,
        None => Table::new(),
    };
    let mut origin = file.map_or_else(|| "the defaults".to_owned(), |path| path.display().to_string());
    let overridden = overlay(&mut table, variables);
    if !overridden.is_empty() {
        origin = format!("{origin} with {}", overridden.join(", "));
    }
    let invalid = |message: String| ConfigError::Invalid { origin: origin.clone(), message };
    if let Some(message) = unknown_key(&table, "") {
        return Err(invalid(message));
    }
    let config: Config =
        Value::Table(table).try_into().map_err(|error: toml::de::Error| invalid(error.message().to_owned()))?;
    check(&config)?;
    Ok(config)
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Invalid {
        origin: path.display().to_string(),
        // TOML's own error shows the line and points at the place.
        message: error.to_string(),
    })
}

/// Puts `TIDEWIRE_A__B=value` at `a.b`; says which variables there were.
fn overlay(table: &mut Table, variables: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let mut overridden = Vec::new();
    for (name, text) in variables {
        let is_other = OTHER_VARIABLES.contains(&name.as_str()) || name.starts_with("TIDEWIRE_TEST_");
        let Some(path) = name.strip_prefix("TIDEWIRE_").filter(|_| !is_other) else { continue };
        let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        // A number or a list as TOML writes it; anything else is a string.
        let value = toml::from_str::<Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut parsed| parsed.remove("value"))
            .unwrap_or(Value::String(text));
        place(table, &path, value);
        overridden.push(name);
    }
    overridden
}

fn place(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Some(inner) = inner.as_table_mut() {
                place(inner, rest, value);
            }
        }
    }
}

/// The first key that is no setting, with the nearest one that is.
fn unknown_key(table: &Table, prefix: &str) -> Option<String> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let is_setting = SETTINGS.iter().any(|setting| setting.path == path);
        let is_table = SETTINGS.iter().any(|setting| setting.path.starts_with(&format!("{path}.")));
        let nested = match value {
            Value::Table(inner) if is_table => unknown_key(inner, &path),
            Value::Array(items) if is_table => {
                items.iter().filter_map(Value::as_table).find_map(|inner| unknown_key(inner, &path))
            }
            _ if is_setting || is_table => None,
            _ => Some(unknown(&path)),
        };
        if nested.is_some() {
            return nested;
        }
    }
    None
}

fn unknown(path: &str) -> String {
    let likeness = |known: &str| strsim::jaro_winkler(path, known);
    let nearest = SETTINGS.iter().max_by(|a, b| likeness(a.path).total_cmp(&likeness(b.path)));
    match nearest.filter(|setting| likeness(setting.path) >= NEAR) {
        Some(setting) => format!("there is no setting `{path}`; did you mean `{}`?", setting.path),
        None => format!("there is no setting `{path}`; `tidewire config reference` lists all"),
    }
}

/// What no type can say.
pub(crate) fn check(config: &Config) -> Result<(), ConfigError> {
    contradiction(config)
        .map_or(Ok(()), |message| Err(ConfigError::Invalid { origin: "the configuration".to_owned(), message }))
}

fn contradiction(config: &Config) -> Option<String> {
    let mut names = std::collections::BTreeSet::new();
    for deployment in &config.deployment {
        let name = &deployment.name;
        if !names.insert(name) {
            return Some(format!("two deployments are named `{name}`"));
        }
        if let Some(what) = incomplete(deployment) {
            return Some(format!("the deployment `{name}` {what}"));
        }
    }
    super::routes::contradiction(config).or_else(|| super::guard::contradiction(config))
}

fn incomplete(deployment: &DeploymentConfig) -> Option<&'static str> {
    let keys = usize::from(deployment.key_env.is_some()) + usize::from(deployment.key_file.is_some());
    match deployment.backend {
        _ if keys > 1 => Some("has two keys: leave out `key_env` or `key_file`"),
        BackendKind::Openai if deployment.url.is_none() => Some("needs `url`, such as \"https://api.openai.com/v1\""),
        BackendKind::Azure if deployment.url.is_none() => {
            Some("needs `url`, such as \"https://NAME.openai.azure.com\"")
        }
        BackendKind::Anthropic | BackendKind::Gemini if deployment.url.is_none() && keys == 0 => {
            Some("needs a key: `key_env` or `key_file`")
        }
        BackendKind::Local if deployment.weights.is_none() => Some("needs `weights`, a GGUF file or a WordLlama table"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let table: Table = toml::from_str(text).unwrap();
        match unknown_key(&table, "") {
            Some(message) => message,
            None => check(&Value::Table(table).try_into().unwrap()).unwrap_err().to_string(),
        }
    }

    #[test]
    fn a_wrong_key_is_refused_with_the_right_one() {
        assert_eq!(error("lisen = 1"), "there is no setting `lisen`; did you mean `listen`?");
        assert!(error("[limits]\nbody_byte = 1").contains("did you mean `limits.body_bytes`"));
        assert!(
            error("[[deployment]]\nname = \"x\"\nbackends = \"openai\"").contains("did you mean `deployment.backend`")
        );
        assert!(error("[zzz]\nq = 1").contains("config reference"));
    }

    #[test]
    fn an_incomplete_deployment_says_what_it_needs() {
        assert!(error("[[deployment]]\nname = \"x\"\nbackend = \"openai\"").contains("needs `url`"));
        assert!(error("[[deployment]]\nname = \"x\"\nbackend = \"azure\"").contains("needs `url`"));
        assert!(error("[[deployment]]\nname = \"x\"\nbackend = \"gemini\"").contains("needs a key"));
        let keys = "[[deployment]]\nname = \"x\"\nbackend = \"anthropic\"\nkey_env = \"A\"\nkey_file = \"b\"";
        assert!(error(keys).contains("two keys"));
        let twice = "[[deployment]]\nname = \"x\"\nbackend = \"scripted\"\n".repeat(2);
        assert!(error(&twice).contains("two deployments"));
    }

    #[test]
    fn variables_override_the_file_with_their_types() {
        let variables = [
            ("TIDEWIRE_LIMITS__BODY_BYTES", "5"),
            ("TIDEWIRE_LISTEN", "127.0.0.1:0"),
            ("TIDEWIRE_ACCESS__ORIGINS", "[\"https://a.example\"]"),
            ("TIDEWIRE_URL", "http://somewhere"),
            ("HOME", "/root"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = load(None, variables).unwrap();
        assert_eq!(config.limits.body_bytes, 5);
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.access.origins, ["https://a.example"]);
    }

    #[test]
    fn a_mistyped_variable_is_refused_too() {
        let error = load(None, [("TIDEWIRE_LISTN".to_owned(), "x".to_owned())]).unwrap_err().to_string();
        assert!(error.contains("did you mean `listen`") && error.contains("TIDEWIRE_LISTN"), "{error}");
    }
}
