//! Which names there are in the recorded directory.

use crate::disk::FileId;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    File(FileId),
    Directory,
}

pub(super) struct Names {
    root: PathBuf,
    nodes: HashMap<PathBuf, Node>,
}

impl Names {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), nodes: HashMap::from([(PathBuf::new(), Node::Directory)]) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A path as the record names it: relative to the root. `None` for one that is elsewhere.
    pub(super) fn within(&self, base: &Path, path: &Path) -> Option<PathBuf> {
        let whole = base.join(path);
        let plain: PathBuf = whole.components().filter(|part| *part != Component::CurDir).collect();
        plain.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        self.nodes.get(path).copied()
    }

    pub(super) fn put(&mut self, path: PathBuf, node: Node) {
        self.nodes.insert(path, node);
    }

    pub(super) fn take(&mut self, path: &Path) -> Option<Node> {
        self.nodes.remove(path)
    }
}
