//! The table of endpoints: what `http::endpoints` fills, what the router and the document are both made from.

use crate::http::state::Shared;
use axum::Router;
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{RefOr, Server};
use utoipa_axum::router::UtoipaMethodRouter;

/// Endpoints, each with its place and its description.
#[derive(Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

struct Line {
    path: String,
    methods: MethodRouter<Shared>,
    under_bases: bool,
    /// Under addresses without a version, too.
    bare: bool,
}

impl Table {
    /// An endpoint at `path` under every base.
    #[must_use]
    pub(crate) fn at(self, path: &str, endpoint: UtoipaMethodRouter<Shared>) -> Self {
        self.add(path, endpoint, true, |_| {})
    }

    /// An endpoint at `path` under every base, and right below an address without a version (ICL-37).
    #[must_use]
    pub(crate) fn everywhere(self, path: &str, endpoint: UtoipaMethodRouter<Shared>) -> Self {
        let mut table = self.add(path, endpoint, true, |_| {});
        table.lines.iter_mut().filter(|line| line.path == path).for_each(|line| line.bare = true);
        table
    }

    /// Another spelling of an endpoint that stands elsewhere in the table.
    #[must_use]
    pub(crate) fn alias(self, path: &str, endpoint: UtoipaMethodRouter<Shared>) -> Self {
        self.add(path, endpoint, true, mark_as_alias)
    }

    /// An endpoint outside the bases.
    #[must_use]
    pub(crate) fn outside(self, path: &str, endpoint: UtoipaMethodRouter<Shared>) -> Self {
        self.add(path, endpoint, false, |_| {})
    }

    /// Another spelling, outside the bases.
    #[must_use]
    pub(crate) fn alias_outside(self, path: &str, endpoint: UtoipaMethodRouter<Shared>) -> Self {
        self.add(path, endpoint, false, mark_as_alias)
    }

    /// The router that serves every endpoint. Paths are written out rather than nested: nesting takes every request's
    /// path apart and builds it anew.
    pub(crate) fn into_router(self, bases: &[&str]) -> Router<Shared> {
        let mut router = Router::new();
        for line in self.lines {
            if line.under_bases {
                let bare = if line.bare { &["", "/api"][..] } else { &[] };
                for base in bases.iter().chain(bare) {
                    router = router.route(&format!("{base}{}", line.path), line.methods.clone());
                }
            } else {
                router = router.route(&line.path, line.methods);
            }
        }
        router
    }

    /// The paths, and the schemas that they refer to, sorted by name.
    pub(crate) fn into_document(mut self) -> (Paths, Vec<(String, RefOr<Schema>)>) {
        self.schemas.sort_by(|a, b| a.0.cmp(&b.0));
        self.schemas.dedup_by(|a, b| a.0 == b.0);
        (self.paths, self.schemas)
    }

    fn add(
        mut self,
        path: &str,
        endpoint: UtoipaMethodRouter<Shared>,
        under_bases: bool,
        mark: fn(&mut Operation),
    ) -> Self {
        let (schemas, mut paths, methods) = endpoint;
        self.schemas.extend(schemas);
        // Handlers are annotated without a path: the table alone says where they are.
        for (_, mut item) in std::mem::take(&mut paths.paths) {
            for (method, operation) in operations(&mut item) {
                operation.operation_id = Some(id(method, path));
                mark(operation);
            }
            if !under_bases {
                item.servers = Some(vec![Server::new("/")]);
            }
            match self.paths.paths.get_mut(path) {
                Some(known) => known.merge_operations(item),
                None => {
                    self.paths.paths.insert(path.to_owned(), item);
                }
            }
        }
        self.lines.push(Line { path: path.to_owned(), methods, under_bases, bare: false });
        self
    }
}

fn mark_as_alias(operation: &mut Operation) {
    let note = "Another spelling, for clients that know no other.";
    let description = operation.description.take().filter(|text| !text.is_empty());
    operation.description =
        Some(description.map_or_else(|| note.to_owned(), |text| format!("{note} {text}")));
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
        ("head", &mut item.head),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// One per method and path: `get_messages_pending_id`.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}
