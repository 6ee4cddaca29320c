//! The reference page: the document as one piece of HTML without scripts, so that it works where there is no network
//! and no trust. Called once, when the page is first asked for.

use serde_json::{Map, Value};
use std::fmt::Write;

/// The page for `document`.
pub(super) fn render(document: &Value) -> String {
    let mut page = Page { document, html: String::with_capacity(1 << 17) };
    let title = text(&document["info"]["title"]);
    page.put(&format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n"
    ));
    page.contents();
    page.put("<main>");
    page.head();
    for tag in array(&document["tags"]) {
        page.section(tag);
    }
    page.schemas();
    page.put("</main></body></html>\n");
    page.html
}

struct Page<'a> {
    document: &'a Value,
    html: String,
}

impl<'a> Page<'a> {
    fn put(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn contents(&mut self) {
        self.put("<nav><h2>Endpoints</h2><ul>");
        let operations: Vec<_> = operations(self.document).collect();
        for (path, method, operation) in &operations {
            let id = text(&operation["operationId"]);
            self.put(&format!(
                "<li><a href=\"#{id}\"><b>{}</b> {}</a></li>",
                method.to_uppercase(),
                escape(path)
            ));
        }
        self.put("</ul><h2>Schemas</h2><ul>");
        for name in object(&self.document["components"]["schemas"]).map(|(name, _)| escape(name)) {
            let _infallible = write!(self.html, "<li><a href=\"#schema-{name}\">{name}</a></li>");
        }
        self.put("</ul></nav>");
    }

    fn head(&mut self) {
        let info = &self.document["info"];
        self.put(&format!("<h1>{} <small>{}</small></h1>", text(&info["title"]), text(&info["version"])));
        self.prose(&info["description"]);
        self.put("<p>As data: <a href=\"openapi.json\">openapi.json</a>, <a href=\"openapi.yaml\">openapi.yaml</a>.</p><ul>");
        for server in array(&self.document["servers"]) {
            self.put(&format!(
                "<li><code>{}</code> {}</li>",
                text(&server["url"]),
                text(&server["description"])
            ));
        }
        self.put("</ul>");
        for (name, scheme) in object(&self.document["components"]["securitySchemes"]) {
            self.put(&format!("<p><b>{}</b>: {}</p>", escape(name), inline(&scheme["description"])));
        }
    }

    fn section(&mut self, tag: &Value) {
        self.put(&format!("<h2>{}</h2>", text(&tag["name"])));
        self.prose(&tag["description"]);
        let here: Vec<_> = operations(self.document)
            .filter(|(_, _, operation)| operation["tags"][0] == tag["name"])
            .collect();
        for (path, method, operation) in here {
            self.operation(path, method, operation);
        }
    }

    fn operation(&mut self, path: &str, method: &str, operation: &'a Value) {
        let id = text(&operation["operationId"]);
        self.put(&format!(
            "<section id=\"{id}\"><h3><span class=\"{method}\">{}</span> <code>{}</code></h3>",
            method.to_uppercase(),
            escape(path)
        ));
        self.prose(&operation["summary"]);
        self.prose(&operation["description"]);
        let open = operation["security"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == &Value::Object(Map::new())));
        self.put(if open {
            "<p class=\"key\">No API key needed.</p>"
        } else {
            "<p class=\"key\">Needs an API key.</p>"
        });
        self.parameters(array(&operation["parameters"]));
        if !operation["requestBody"].is_null() {
            self.put("<h4>Body</h4>");
            self.content(&operation["requestBody"]["content"]);
        }
        self.put("<h4>Answers</h4><table>");
        for (status, response) in object(&operation["responses"]) {
            let response = self.resolved(response);
            self.put(&format!("<tr><td><b>{}</b></td><td>", escape(status)));
            self.prose(&response["description"]);
            if !status.starts_with(['4', '5']) {
                self.content(&response["content"]);
            }
            let headers: Vec<_> = object(&response["headers"])
                .map(|(name, _)| format!("<code>{}</code>", escape(name)))
                .collect();
            if !headers.is_empty() {
                self.put(&format!("<p>Headers: {}</p>", headers.join(", ")));
            }
            self.put("</td></tr>");
        }
        self.put("</table></section>");
    }

    fn parameters(&mut self, parameters: &'a [Value]) {
        if parameters.is_empty() {
            return;
        }
        self.put("<h4>Parameters</h4><table>");
        for parameter in parameters {
            let needed = if parameter["required"] == true { ", required" } else { "" };
            self.put(&format!(
                "<tr><td><code>{}</code><br>{}{needed}</td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                kind(&parameter["schema"]),
                inline(&parameter["description"]),
            ));
        }
        self.put("</table>");
    }

    fn content(&mut self, content: &'a Value) {
        for (media, content) in object(content) {
            self.put(&format!("<p><code>{}</code>: {}</p>", escape(media), kind(&content["schema"])));
            self.example(content);
            self.example(self.resolved(&content["schema"]));
        }
    }

    fn schemas(&mut self) {
        self.put("<h2>Schemas</h2>");
        for (name, schema) in object(&self.document["components"]["schemas"]) {
            let name = escape(name);
            self.put(&format!("<section id=\"schema-{name}\"><h3>{name}</h3>"));
            self.prose(&schema["description"]);
            if schema["properties"].is_null() {
                self.put(&format!("<p>{}</p>", kind(schema)));
            }
            for part in array(&schema["allOf"]) {
                self.properties(part);
            }
            self.properties(schema);
            self.example(schema);
            self.put("</section>");
        }
    }

    fn properties(&mut self, schema: &'a Value) {
        if schema["properties"].is_null() {
            return;
        }
        self.put("<table>");
        for (name, property) in object(&schema["properties"]) {
            let needed = array(&schema["required"]).iter().any(|required| required == name);
            self.put(&format!(
                "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>",
                escape(name),
                if needed { "<br>required" } else { "" },
                kind(property),
                inline(&property["description"]),
            ));
        }
        self.put("</table>");
    }

    /// The example that a schema or a content gives, if any.
    fn example(&mut self, of: &Value) {
        let example = if of["example"].is_null() { &of["examples"][0] } else { &of["example"] };
        if example.is_null() {
            return;
        }
        let shown = serde_json::to_string_pretty(example).unwrap_or_default();
        self.put(&format!("<pre>{}</pre>", escape(&shown)));
    }

    /// Paragraphs.
    fn prose(&mut self, prose: &Value) {
        for line in prose.as_str().unwrap_or_default().lines().filter(|line| !line.trim().is_empty()) {
            self.put(&format!("<p>{}</p>", marked(line)));
        }
    }

    /// What a `$ref` leads to.
    fn resolved(&self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    object(&document["paths"]).flat_map(|(path, item)| {
        let methods = object(item).filter(|(_, operation)| operation["responses"].is_object());
        methods.map(move |(method, operation)| (path, method, operation))
    })
}

/// A schema in a few words, with links.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for (word, joint) in [("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")] {
        if let Some(parts) = schema[word].as_array() {
            return parts.iter().map(kind).collect::<Vec<_>>().join(joint);
        }
    }
    let words = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(word) if word == "array" => format!("array of {}", kind(&schema["items"])),
        Value::String(word) => escape(word),
        _ => "anything".to_owned(),
    };
    match schema["enum"].as_array() {
        Some(values) => format!(
            "{words}: {}",
            values.iter().map(|value| format!("<code>{}</code>", text(value))).collect::<Vec<_>>().join(", ")
        ),
        None => words,
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn inline(value: &Value) -> String {
    marked(value.as_str().unwrap_or_default())
}

/// Escaped, with `code` in its own face.
fn marked(line: &str) -> String {
    let parts = escape(line);
    let parts = parts.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = include_str!("page.css");
