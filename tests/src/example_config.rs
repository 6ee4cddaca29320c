//! Writes `amesh.example.toml` out of the doc comments of the configuration structs and their defaults.
//! Called by `tests/tests/example_config.rs`, which holds the committed file against it.

use crate::structure::workspace_root;
use syn::{Attribute, Expr, Fields, Item, Lit, Meta};
use toml::{Table, Value};

/// Where each table's struct is declared: the table's path in the file, the source, the struct.
const STRUCTS: [(&str, &str, &str); 18] = [
    ("", "node/src/config.rs", "Config"),
    ("store", "store/src/config.rs", "Config"),
    ("message", "node/src/message/mod.rs", "Config"),
    ("message.retry", "node/src/message/retry.rs", "Config"),
    ("message.webhook", "node/src/message/deliver/webhook/mod.rs", "Config"),
    ("mesh_link", "node/src/mesh/config.rs", "Config"),
    ("agents", "node/src/agents/mod.rs", "Config"),
    ("tls", "node/src/http/tls/mod.rs", "Config"),
    ("http_mesh", "node/src/bridge/http_mesh/config.rs", "Config"),
    ("federation", "node/src/federation/config.rs", "Config"),
    ("federation.limits", "node/src/federation/config.rs", "DeliveryLimits"),
    ("gateway", "node/src/message/gateway.rs", "Config"),
    ("registrations", "node/src/bridge/registered/config.rs", "Config"),
    ("http.host_limits", "node/src/http/limit.rs", "Profile"),
    ("http", "node/src/http/mod.rs", "Config"),
    ("http.attachments", "node/src/attachments/mod.rs", "Config"),
    ("http.local_limits", "node/src/http/limit.rs", "Profile"),
    ("http.public_limits", "node/src/http/limit.rs", "Profile"),
];

/// The example file: every setting, commented out at its default, under its own documentation.
///
/// # Panics
/// When a setting has no documentation or its struct is not found: then the example cannot be written.
#[must_use]
pub fn render(defaults: &Table) -> String {
    let mut text = String::from(
        "# Every setting of amesh at its default. Uncomment a line to change it; `amesh up --config FILE` reads it.\n\
         # A variable AMESH_<NAME> (AMESH_<TABLE>__<NAME> in a table) wins over the file, and a flag over both.\n",
    );
    table(&mut text, "", defaults);
    text
}

fn table(text: &mut String, path: &str, values: &Table) {
    let (_, source, name) = STRUCTS
        .iter()
        .find(|(at, _, _)| *at == path)
        .unwrap_or_else(|| panic!("no struct is named for [{path}]"));
    let fields = documented_fields(source, name);
    if !path.is_empty() {
        *text += &format!("\n[{path}]\n");
    }
    let (tables, plain): (Vec<_>, Vec<_>) = fields
        .iter()
        .partition(|(field, _)| matches!(values.get(field), Some(Value::Table(table)) if !table.is_empty()));
    for (field, docs) in plain {
        text.push('\n');
        for line in docs {
            *text += &format!("#{line}\n");
        }
        *text += &match values.get(field) {
            Some(value) => format!("# {field} = {value}\n"),
            None => format!("# {field} = (not set)\n"),
        };
    }
    for (field, _) in tables {
        let below = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        if let Some(Value::Table(values)) = values.get(field) {
            table(text, &below, values);
        }
    }
}

fn documented_fields(source: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let text =
        std::fs::read_to_string(workspace_root().join(source)).unwrap_or_else(|e| panic!("{source}: {e}"));
    let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{source}: {error}"));
    let found = file.items.into_iter().find_map(|item| match item {
        Item::Struct(item) if item.ident == name => Some(item.fields),
        _ => None,
    });
    let Some(Fields::Named(fields)) = found else { panic!("{source} has no struct {name}") };
    let fields = fields.named.into_iter().filter_map(|field| {
        if field.attrs.iter().any(is_skipped) {
            return None;
        }
        let docs: Vec<String> = field.attrs.iter().filter_map(doc_line).collect();
        let ident = field.ident?.to_string();
        assert!(!docs.is_empty(), "{source}: {ident} has no documentation");
        Some((ident, docs))
    });
    fields.collect()
}

/// `#[serde(skip)]`: set elsewhere in the file.
fn is_skipped(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde")
        && attribute.parse_args::<syn::Path>().is_ok_and(|argument| argument.is_ident("skip"))
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    match &literal.lit {
        Lit::Str(line) if pair.path.is_ident("doc") => Some(line.value()),
        _ => None,
    }
}
