//! Rewrites a model's weights in the format that this processor is fast at. The one crate that calls C
//! directly: llama.cpp's quantiser and its list of build flags have no safe binding.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why weights could not be rewritten. The target is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that C cannot take: not UTF-8, or with a zero byte in it.
    #[error("{} cannot be passed to llama.cpp: give a path of plain UTF-8", .0.display())]
    Path(PathBuf),
    /// llama.cpp refused. It says why in its log.
    #[error("llama.cpp could not rewrite {} as Q4_0 (code {code})", source_path.display())]
    Refused {
        /// What it was to read.
        source_path: PathBuf,
        /// Its return code.
        code: u32,
    },
    /// The result could not be put in its place.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What went wrong with it.
        error: io::Error,
    },
}

/// Reads a GGUF file of any format and writes it as Q4_0. Takes about a second for 100 MB.
///
/// The target is whole or absent, whatever happens: the work is done in a file beside it, which gets the
/// target's name once it is on the disk. Two that do this at once do not disturb each other.
pub fn to_q4_0(source: &Path, target: &Path) -> Result<(), Error> {
    let unfinished = beside(target);
    let done = quantise(source, &unfinished).and_then(|()| put_in_place(&unfinished, target));
    if done.is_err() {
        // What is left of a failed try is of no use, and its own failure matters more than this one.
        let _ = fs::remove_file(&unfinished);
    }
    done
}

/// The instruction sets that llama.cpp was compiled with and found, in its own words: printed beside figures,
/// which mean little without them.
pub fn build_flags() -> String {
    // SAFETY: takes no argument, and returns a pointer to a static string that ends with a zero byte.
    let text = unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_print_system_info()) };
    text.to_string_lossy().into_owned()
}

/// A name of its own for each call: two calls, or two processes, must not write into one file.
fn beside(target: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{}.unfinished", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
    target.with_file_name(name)
}

fn quantise(source: &Path, target: &Path) -> Result<(), Error> {
    let from = c_path(source)?;
    let to = c_path(target)?;
    // SAFETY: initialises tables inside ggml; may be called any number of times.
    unsafe { llama_cpp_sys_2::llama_backend_init() };
    // SAFETY: takes no argument and returns a plain struct whose pointers are null.
    let mut options = unsafe { llama_cpp_sys_2::llama_model_quantize_default_params() };
    options.ftype = llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q4_0;
    // The source is quantised already. Without this llama.cpp takes only f16 and f32.
    options.allow_requantize = true;
    // SAFETY: both strings end with a zero byte and outlive the call, as `options` does. llama.cpp keeps
    // none of them, and turns its C++ exceptions into a return code before they reach us.
    let code = unsafe { llama_cpp_sys_2::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const options) };
    if code == 0 { Ok(()) } else { Err(Error::Refused { source_path: source.to_path_buf(), code }) }
}

fn c_path(path: &Path) -> Result<CString, Error> {
    path.to_str().and_then(|text| CString::new(text).ok()).ok_or_else(|| Error::Path(path.to_path_buf()))
}

fn put_in_place(unfinished: &Path, target: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| Error::Io { path, error }
    };
    // On the disk before it has the name: after a power loss the name must not stand for half a file.
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(failed(unfinished))?;
    fs::rename(unfinished, target).map_err(failed(target))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_model_is_refused_and_nothing_is_left_behind() {
        let folder = std::env::temp_dir().join(format!("tidewire-requantise-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let source = folder.join("source.gguf");
        fs::write(&source, "no model").unwrap();
        let refused = to_q4_0(&source, &folder.join("target.gguf"));
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn each_call_has_a_file_of_its_own() {
        let target = Path::new("/models/target.gguf");
        assert_ne!(beside(target), beside(target));
        assert_eq!(beside(target).parent(), target.parent());
    }

    #[test]
    fn the_build_says_what_it_was_made_for() {
        assert!(build_flags().contains("CPU"), "{}", build_flags());
    }
}
