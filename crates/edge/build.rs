//! Lists the files of the built web app, where `web/build.sh` has made them, so that they become part of the program.
//! Without them the list is empty and the server has the plain page: `cargo build` needs no node.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a build script is told and tells so")]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // The folder is always there, because cargo would build anew each time for one that is not.
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    let app = dist.join("app");
    let mut list = String::from("pub(super) static ASSETS: &[Asset] = &[\n");
    if app.join("index.html").is_file() {
        for file in files(&app)? {
            asset(&mut list, &app, &file)?;
        }
    }
    list.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("app.rs"), list)?;
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

fn asset(list: &mut String, app: &Path, file: &Path) -> Result<(), Box<dyn Error>> {
    let name = file.strip_prefix(app)?.to_str().ok_or("a file's name is not UTF-8")?;
    let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
    let packed = |end: &str| {
        let path = PathBuf::from(format!("{}.{end}", file.display()));
        if path.is_file() {
            format!("Some(include_bytes!({:?}))", path.display().to_string())
        } else {
            "None".to_owned()
        }
    };
    let (brotli, gzip) = (packed("br"), packed("gz"));
    let plain = file.display().to_string();
    writeln!(
        list,
        "    Asset {{ path: {path:?}, plain: include_bytes!({plain:?}), brotli: {brotli}, gzip: {gzip} }},"
    )?;
    Ok(())
}
