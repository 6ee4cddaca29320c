//! Reads the workspace's sources as syntax and answers: who imports whom, and which words occur where.
//! Called by `tests/tests/structure.rs`, which states the rules (DESIGN §2).

mod imports;

pub use imports::{Import, imports_of};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One source file of a crate.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path below the crate's `src/`, with `/` between its parts.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// The module path of this file: `mesh/link/send.rs` is `["mesh", "link", "send"]`.
    #[must_use]
    pub fn module(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
            parts.pop();
        }
        parts
    }

    /// Files that hold only tests of their parent module.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("tests/")
    }
}

/// The workspace's root, found from this crate's own manifest.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Every `.rs` file below `<root>/<crate_dir>/src`.
///
/// # Panics
/// When the sources cannot be read: the test that asks has nothing to say then.
#[must_use]
pub fn sources(crate_dir: &str) -> Vec<Source> {
    let root = workspace_root().join(crate_dir).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let below = path.strip_prefix(&root).unwrap_or(&path);
                found.push(Source { path: below.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Which top-level modules of a crate each top-level module imports, tests left out.
#[must_use]
pub fn module_graph(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some(from) = source.module().first().cloned() else { continue };
        let seen = graph.entry(from.clone()).or_default();
        for import in imports_of(source) {
            if let Some(to) = import.within_crate().filter(|to| *to != from) {
                seen.insert(to.to_owned());
            }
        }
    }
    let known: BTreeSet<String> = graph.keys().cloned().collect();
    for seen in graph.values_mut() {
        seen.retain(|to| known.contains(to));
    }
    graph
}

/// A cycle in `graph`, as the modules along it, if there is one.
#[must_use]
pub fn find_cycle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        graph: &BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|seen| seen == at) {
            return Some(trail[start..].to_vec());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        trail.push(at.to_owned());
        let found = graph.get(at).into_iter().flatten().find_map(|next| visit(next, graph, trail, done));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| visit(start, graph, &mut Vec::new(), &mut done))
}
