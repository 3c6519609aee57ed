//! The arrows of ARCHITECTURE.md, checked against the manifests and the sources.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which crates of ours each crate may use. Development dependencies are free: tests go everywhere.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("proto", &[]),
    ("requantise", &[]),
    ("extract", &[]),
    ("tokens", &["core"]),
    ("testkit", &["core"]),
    ("engines", &["core"]),
    ("backends", &["core", "requantise"]),
    ("worker", &["core"]),
    ("edge", &["core", "proto"]),
    ("client", &["proto"]),
    ("bench", &["client", "proto"]),
    // Development only, as the server: it puts all of it together.
    ("simulation", &["backends", "client", "core", "edge", "engines", "proto", "worker"]),
    ("server", &["backends", "bench", "client", "core", "edge", "engines", "extract", "proto", "tokens", "worker"]),
];

fn crates() -> PathBuf {
    // From the folder that tests run in: what is compiled in may be another clone, with which the target directory is shared.
    Path::new("..").canonicalize().unwrap()
}

fn ours(manifest: &toml::Table) -> BTreeSet<String> {
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(|table| table.keys());
    names.filter_map(|name| name.strip_prefix("tidewire-")).map(str::to_owned).collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(crates()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest = std::fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let used = ours(&toml::from_str(&manifest).unwrap());
        let (_, allowed) =
            ARROWS.iter().find(|(from, _)| *from == name).unwrap_or_else(|| panic!("{name} is new here"));
        let allowed: BTreeSet<String> = allowed.iter().map(|&to| to.to_owned()).collect();
        assert!(used.is_subset(&allowed), "{name} uses {used:?}, and may use {allowed:?}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), ARROWS.len(), "a crate is gone: {seen:?}");
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn engines_and_backends_are_named_in_the_wiring_alone() {
    let mut files = Vec::new();
    for name in ["server", "edge", "worker"] {
        sources(&crates().join(name).join("src"), &mut files);
    }
    let wiring = crates().join("server/src/wiring");
    let named: Vec<_> = files
        .into_iter()
        .filter(|path| !path.starts_with(&wiring))
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            // A file's own tests may run on the memory engine.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            code.contains("tidewire_engines") || code.contains("tidewire_backends")
        })
        .collect();
    assert!(named.is_empty(), "{named:?}");
}

#[test]
fn the_core_touches_no_socket_disk_clock_or_variable() {
    let mut files = Vec::new();
    sources(&crates().join("core/src"), &mut files);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for banned in
            ["std::net", "std::fs", "std::env", "tokio::net", "tokio::fs", "tokio::time", "Instant", "SystemTime"]
        {
            assert!(!text.contains(banned), "{} names {banned}", path.display());
        }
    }
}

#[test]
fn every_error_code_is_in_the_protocol_page() {
    let page = std::fs::read_to_string(crates().parent().unwrap().join("PROTOCOL.md")).unwrap();
    for code in tidewire_proto::Code::ALL {
        assert!(page.contains(&format!("`{}`", code.as_str())), "{} is not in PROTOCOL.md", code.as_str());
    }
    for kind in tidewire_core::Kind::ALL {
        assert!(page.contains(&format!("| `{}` |", kind.name())), "{} is not in PROTOCOL.md", kind.name());
    }
    for op in tidewire_proto::frame::OPS {
        assert!(page.contains(&format!("| `{op}` |")), "{op} is not in PROTOCOL.md");
    }
}
