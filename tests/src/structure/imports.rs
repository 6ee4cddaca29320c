//! Every path a file names, absolute within its crate, with test-only items left out. Called by `structure`.

use super::Source;
use syn::visit_mut::{self, VisitMut};

/// A path that a file names, such as `crate::message::Hallway` or `sled::Tree`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The path's segments; the first is `crate` for paths within the crate.
    pub segments: Vec<String>,
}

impl Import {
    /// The top-level module that a path within the crate leads to.
    #[must_use]
    pub fn within_crate(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [first, module, ..] if first == "crate" => Some(module),
            _ => None,
        }
    }

    /// The crate or root name the path begins with.
    #[must_use]
    pub fn root(&self) -> &str {
        self.segments.first().map_or("", String::as_str)
    }
}

/// The imports of one file.
///
/// # Panics
/// When the file is not Rust.
#[must_use]
pub fn imports_of(source: &Source) -> Vec<Import> {
    let mut file = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
    let mut collector = Collector { module: source.module(), found: Vec::new() };
    collector.visit_file_mut(&mut file);
    collector.found
}

struct Collector {
    module: Vec<String>,
    found: Vec<Import>,
}

impl Collector {
    /// Turns `self::`, `super::` into a path from the crate's root.
    fn record(&mut self, segments: Vec<String>) {
        let mut base = self.module.clone();
        let mut rest = segments.as_slice();
        let relative = matches!(rest.first().map(String::as_str), Some("self" | "super"));
        while let Some((first, tail)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => {
                    base.pop();
                }
                _ => break,
            }
            rest = tail;
        }
        let segments = if relative {
            std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect()
        } else {
            segments
        };
        self.found.push(Import { segments });
    }

    fn use_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.to_vec();
            path.push(name.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.record(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.record(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.record(prefix.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(prefix, tree)),
        }
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

// `visit-mut` rather than `visit`: it is already built for other crates, and nothing is changed.
impl VisitMut for Collector {
    fn visit_item_mod_mut(&mut self, item: &mut syn::ItemMod) {
        if is_test_only(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit_mut::visit_item_mod_mut(self, item);
        self.module.pop();
    }

    fn visit_item_fn_mut(&mut self, item: &mut syn::ItemFn) {
        if !is_test_only(&item.attrs) {
            visit_mut::visit_item_fn_mut(self, item);
        }
    }

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        if !is_test_only(&item.attrs) {
            visit_mut::visit_item_impl_mut(self, item);
        }
    }

    fn visit_item_use_mut(&mut self, item: &mut syn::ItemUse) {
        if !is_test_only(&item.attrs) {
            self.use_tree(&[], &item.tree);
        }
    }

    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        if path.segments.len() > 1 {
            self.record(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit_mut::visit_path_mut(self, path);
    }
}
