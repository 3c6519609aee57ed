//! Lists the files of the built web app, where `web/build.sh` has made them, so that they become part of the program.
//! Without them the list is empty and the server has the plain page: `cargo build` needs no node.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a build script is told and tells so")]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // Told when it runs, and named from the package: a target directory that several clones share keeps what was compiled in another.
    let dist = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../web/dist");
    // The folder is always there, because cargo would build anew each time for one that is not.
    println!("cargo:rerun-if-changed=../../web/dist");
    let app = dist.join("app");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut list = String::from("pub(super) static ASSETS: &[Asset] = &[\n");
    if app.join("index.html").is_file() {
        for (number, file) in files(&app)?.iter().enumerate() {
            asset(&mut list, &app, file, &out.join(format!("app-{number}")))?;
        }
    }
    list.push_str("];\n");
    fs::write(out.join("app.rs"), list)?;
    Ok(())
}

/// All files that are not another one's compressed form, in an order that does not change.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_none_or(|end| end != "br" && end != "gz") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Adds a file and its compressed forms to the list. They are copied: the app may be built anew while this is compiled.
fn asset(list: &mut String, app: &Path, file: &Path, copy: &Path) -> Result<(), Box<dyn Error>> {
    let name = file.strip_prefix(app)?.to_str().ok_or("a file's name is not UTF-8")?;
    let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
    let include = |end: &str| -> Result<Option<String>, Box<dyn Error>> {
        let (from, to) = (format!("{}{end}", file.display()), format!("{}{end}", copy.display()));
        if !Path::new(&from).is_file() {
            return Ok(None);
        }
        fs::copy(&from, &to)?;
        Ok(Some(format!("include_bytes!({to:?})")))
    };
    let plain = include("")?.ok_or("a file of the app is gone")?;
    let packed = |end| include(end).map(|found| found.map_or("None".to_owned(), |bytes| format!("Some({bytes})")));
    let (brotli, gzip) = (packed(".br")?, packed(".gz")?);
    writeln!(list, "    Asset {{ path: {path:?}, plain: {plain}, brotli: {brotli}, gzip: {gzip} }},")?;
    Ok(())
}
