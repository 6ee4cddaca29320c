//! The API's document: it is current, it holds every route, and it knows every answer that any test of the doors gets.

use super::*;
use crate::http::openapi::{document, json_text};
use std::collections::BTreeSet;
use std::sync::OnceLock;

fn the_document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| document().unwrap())
}

#[test]
fn the_recorded_document_is_what_the_types_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let made = json_text().unwrap();
    if std::env::var_os("AMESH_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let recorded = std::fs::read_to_string(path).unwrap_or_default();
    assert!(recorded == made, "docs/openapi.json is out of date: run this test with AMESH_WRITE_GOLDEN=1");
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_reverse() {
    let table = include_str!("../mod.rs");
    let table = table.split_once("fn endpoints()").unwrap().1.split_once("\n}").unwrap().0;
    // `.at("/path", …)`, `.outside(PATH, …)`: what stands in the table, as text.
    let routed: BTreeSet<String> = table
        .split('(')
        .zip(table.split('(').skip(1))
        .filter(|(before, _)| {
            [".at", ".everywhere", ".alias", ".outside", ".alias_outside"]
                .iter()
                .any(|verb| before.ends_with(verb))
        })
        .map(|(_, after)| after.split(',').next().unwrap().trim().trim_matches('"').to_owned())
        .map(|path| path.replace("well_known::PATH", crate::http::well_known::PATH))
        .collect();
    let documented: BTreeSet<String> = the_document()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routed, documented);
    assert!(routed.len() > 20, "the table was not read: {routed:?}");
    assert!(!include_str!("../mod.rs").contains(".route("), "every route stands in the table of endpoints");
}

#[tokio::test]
async fn whatever_the_document_names_is_served_under_both_bases() {
    let rig = Rig::new();
    for (path, item) in the_document()["paths"].as_object().unwrap() {
        let outside = item.get("servers").is_some();
        for base in if outside { &[""][..] } else { &["/v1", "/api/v1"][..] } {
            for method in item.as_object().unwrap().keys().filter(|name| *name != "servers") {
                let path = format!("{base}{}", path.replace(['{', '}'], ""));
                let method: Method = method.to_uppercase().parse().unwrap();
                let request = Request::builder().method(&method).uri(&path).header("host", "localhost:23000");
                let peer = Peer {
                    remote: "127.0.0.1:50000".parse().unwrap(),
                    local: "127.0.0.1:23000".parse().unwrap(),
                    shown: None,
                    _place: None,
                };
                let response = rig.doors.answer(peer, request.body(Body::empty()).unwrap()).await;
                let status = response.status().as_u16();
                assert!(![404, 405, 500].contains(&status), "{method} {path}: {status}");
            }
        }
    }
}

#[tokio::test]
async fn the_three_forms_are_served_to_anybody() {
    let rig = Rig::new();
    let mut seen = Vec::new();
    for (path, kind) in [
        ("/v1/openapi.json", "application/json"),
        ("/api/v1/openapi.yaml", "application/yaml"),
        ("/v1/docs", "text/html"),
    ] {
        let request = Request::get(path).header("host", "localhost:23000").body(Body::empty()).unwrap();
        let peer = Peer {
            remote: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:23000".parse().unwrap(),
            shown: None,
            _place: None,
        };
        let response = rig.doors.answer(peer, request).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        seen.push(response.into_body().collect().await.unwrap().to_bytes());
    }
    let json: Value = serde_json::from_slice(&seen[0]).unwrap();
    let yaml: Value = yaml_serde::from_slice(&seen[1]).unwrap();
    assert_eq!((&json, &json), (the_document(), &yaml));
    let page = std::str::from_utf8(&seen[2]).unwrap();
    for operation in operations() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id} is not on the page");
    }
    let loads = ["<script", " src=", "@import", "url(", "<link", "http-equiv"];
    assert!(loads.iter().all(|word| !page.contains(word)), "the page must load nothing");
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let text = the_document().to_string();
    let references = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for reference in references {
        assert!(the_document().pointer(reference).is_some(), "{reference} leads nowhere");
    }
    let ids: Vec<_> = operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for operation in operations() {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
    }
}

#[test]
fn every_code_that_a_response_lists_is_explained() {
    for response in the_document()["components"]["responses"].as_object().unwrap().values() {
        let listed =
            &response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["error"]["enum"];
        for code in listed.as_array().unwrap() {
            let line = format!("`{}`: ", code.as_str().unwrap());
            let description = response["description"].as_str().unwrap();
            let explained =
                description.lines().any(|text| text.strip_prefix(&line).is_some_and(|rest| !rest.is_empty()));
            assert!(explained, "{code} is not explained: see openapi/errors.rs");
        }
    }
}

/// Every answer of every test of the doors passes here: its status and its code must be in the document.
pub(super) fn must_know(method: &Method, path: &str, status: u16, body: &Value) {
    let Some((template, operation)) = find(method, path) else {
        assert!(
            [400, 403, 404, 405, 421].contains(&status),
            "{method} {path} answers {status} and is in no document"
        );
        return;
    };
    let code = body["error"].as_str();
    let response = &operation["responses"][status.to_string()];
    let mend = "name the code in `x-errors` of the handler's #[utoipa::path] if the answer is right";
    assert!(
        !response.is_null(),
        "{method} {template} answers {status} {code:?}, which is not documented: {mend}"
    );
    if let (Some(code), Some(reference)) = (code, response["$ref"].as_str()) {
        let name = reference.rsplit('/').next().unwrap();
        let known = name.split('.').skip(1).any(|known| known == code);
        assert!(
            known,
            "{method} {template} answers {status} {code}, which is not documented ({name}): {mend}"
        );
    }
}

fn operations() -> impl Iterator<Item = &'static Value> {
    let items = the_document()["paths"].as_object().unwrap().values();
    items.flat_map(|item| item.as_object().unwrap().values()).filter(|operation| operation.is_object())
}

/// The operation that serves `path`: literal segments win over variable ones, as in the router.
fn find(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = the_document()["paths"].as_object().unwrap();
    let bare = || path.strip_prefix("/api").filter(|rest| rest.starts_with("/attachments/"));
    let within =
        path.strip_prefix("/api/v1").or_else(|| path.strip_prefix("/v1")).or_else(bare).unwrap_or(path);
    let method = method.as_str().to_lowercase();
    let mut matching: Vec<_> = paths
        .iter()
        .filter(|(template, item)| {
            let wanted = if item.get("servers").is_some() { path } else { within };
            let (have, want): (Vec<_>, Vec<_>) = (template.split('/').collect(), wanted.split('/').collect());
            have.len() == want.len()
                && have
                    .iter()
                    .zip(&want)
                    .all(|(have, want)| have == want || (have.starts_with('{') && !want.is_empty()))
        })
        .collect();
    matching.sort_by_key(|(template, _)| template.matches('{').count());
    let (template, item) = matching.first()?;
    Some((template.as_str(), item.get(&method)?))
}
