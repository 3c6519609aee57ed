//! Each session holds a socket, and a shell gives a process 1,024 descriptors where it may have many more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of descriptors to the most that is allowed, and says how many that is.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // Where it can't be raised, the number that is too low is named when there are more sessions.
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    current.unwrap_or(u64::MAX)
}
