//! Holds the house's shape (DESIGN §2): who may import whom, no cycles, one place for each dangerous word.

use amesh_tests::structure::{Source, find_cycle, imports_of, module_graph, sources, workspace_root};
use std::collections::{BTreeMap, BTreeSet};

const CRATES: [&str; 6] = ["proto", "store", "discovery", "node", "tests", "examples"];

/// What each top-level module of `node` may see. `client` and `cli` stand apart from the line.
const NODE_LINE: [(&str, &[&str]); 17] = [
    ("tasks", &[]),
    ("clock", &[]),
    ("waking", &["tasks", "clock"]),
    ("authorities", &[]),
    ("private", &[]),
    ("reach", &["tasks"]),
    ("attachments", &["tasks"]),
    ("agents", &["tasks", "clock", "reach"]),
    ("message", &["tasks", "clock", "waking", "authorities", "agents"]),
    ("mesh", &["tasks", "clock", "waking", "private", "attachments", "agents", "message"]),
    ("bridge", &["tasks", "clock", "waking", "authorities", "reach", "agents", "message"]),
    ("federation", &["tasks", "clock", "waking", "private", "authorities", "reach", "agents", "message"]),
    (
        "http",
        &["tasks", "clock", "waking", "attachments", "agents", "message", "mesh", "bridge", "federation"],
    ),
    (
        "config",
        &["tasks", "clock", "authorities", "agents", "message", "mesh", "bridge", "federation", "http"],
    ),
    (
        "node",
        &[
            "tasks",
            "clock",
            "waking",
            "private",
            "agents",
            "message",
            "mesh",
            "bridge",
            "federation",
            "http",
            "config",
        ],
    ),
    ("client", &["authorities"]),
    ("cli", &["client", "clock"]),
];

/// Only the command that runs a node in this process may see the node.
const MAY_RUN_A_NODE: [&str; 1] = ["cli/up.rs"];

#[test]
fn crates_depend_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("proto", &[][..]),
        ("store", &["amesh-proto"][..]),
        ("discovery", &["amesh-proto"][..]),
        ("node", &["amesh-proto", "amesh-store", "amesh-discovery"][..]),
        ("tests", &["amesh-proto", "amesh-store", "amesh-discovery", "amesh"][..]),
        ("examples", &["amesh-proto", "amesh"][..]),
    ]);
    for name in CRATES {
        let manifest = std::fs::read_to_string(workspace_root().join(name).join("Cargo.toml")).unwrap();
        let ours = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
        for dependency in ours.filter(|word| *word == "amesh" || word.starts_with("amesh-")) {
            assert!(allowed[name].contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn no_crate_has_a_cycle_of_modules() {
    for name in CRATES {
        let graph = module_graph(&sources(name));
        assert_eq!(find_cycle(&graph), None, "{name} has a cycle of top-level modules");
    }
}

#[test]
fn each_part_of_the_node_sees_only_the_parts_above_it() {
    assert_eq!(imports_against_the_line(&sources("node")), Vec::<String>::new());
}

#[test]
fn an_import_against_the_direction_is_noticed() {
    let turned = |path: &str, text: &str| {
        imports_against_the_line(&[Source { path: path.to_owned(), text: text.to_owned() }])
    };
    assert_eq!(turned("message/plan.rs", "use crate::http::state;"), ["message/plan.rs sees http"]);
    assert_eq!(turned("agents/mod.rs", "fn f() { crate::mesh::start(); }"), ["agents/mod.rs sees mesh"]);
    assert_eq!(
        turned("message/deliver/mod.rs", "use super::super::mesh::X;"),
        ["message/deliver/mod.rs sees mesh"]
    );
    assert_eq!(turned("cli/send.rs", "use crate::{client, node::run};"), ["cli/send.rs sees node"]);
    assert_eq!(turned("mesh/mod.rs", "#[cfg(test)] mod tests { use crate::node::run; }"), [""; 0]);
}

fn imports_against_the_line(sources: &[Source]) -> Vec<String> {
    let line: BTreeMap<&str, BTreeSet<&str>> =
        NODE_LINE.iter().map(|(module, sees)| (*module, sees.iter().copied().collect())).collect();
    let mut against = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let module = source.module();
        let Some(from) = module.first().map(String::as_str).filter(|module| *module != "bin") else {
            continue;
        };
        let Some(allowed) = line.get(from) else {
            against.insert(format!("{} is in no part the design names", source.path));
            continue;
        };
        for import in imports_of(source) {
            let Some(to) = import.within_crate().filter(|to| line.contains_key(to)) else { continue };
            let excused = MAY_RUN_A_NODE.contains(&source.path.as_str()) && matches!(to, "node" | "config");
            if to != from && !allowed.contains(to) && !excused {
                against.insert(format!("{} sees {to}", source.path));
            }
        }
    }
    against.into_iter().collect()
}

#[test]
fn each_outside_library_is_named_in_its_own_room_only() {
    let rooms: [(&str, &[&str]); 14] = [
        ("sled", &["store/"]),
        ("mdns_sd", &["discovery/"]),
        ("libp2p", &["discovery/hosts/libp2p/"]),
        ("hickory_resolver", &["discovery/providers/dns.rs"]),
        ("libp2p_stream", &["discovery/hosts/libp2p/"]),
        ("libp2p_identity", &["node/mesh/"]),
        ("libp2p_tls", &["node/mesh/"]),
        ("quinn", &["node/mesh/"]),
        ("axum", &["node/http/", "tests/bench/floor.rs", "tests/http_host.rs"]),
        ("utoipa", &["proto/", "node/http/"]),
        ("utoipa_axum", &["node/http/"]),
        ("yaml_serde", &["node/http/"]),
        ("clap", &["node/cli/", "node/bin/", "tests/bin/"]),
        ("anyhow", &["node/cli/", "node/bin/", "tests/", "examples/"]),
    ];
    for name in CRATES {
        for source in sources(name) {
            let path = format!("{name}/{}", source.path);
            for import in imports_of(&source) {
                let room = rooms.iter().find(|(library, _)| *library == import.root());
                if let Some((library, rooms)) = room {
                    assert!(rooms.iter().any(|room| path.starts_with(room)), "{path} names {library}");
                }
            }
        }
    }
}

#[test]
fn each_dangerous_word_has_one_place() {
    let places: [(&str, &str, &[&str]); 6] = [
        ("open_tree(", "store", &["trees.rs"]),
        ("tokio::spawn(", "node", &["tasks.rs"]),
        ("thread::spawn(", "node", &["tasks.rs"]),
        ("tokio::spawn(", "discovery", &[]),
        ("SystemTime::now(", "node", &["clock.rs"]),
        ("StatusCode", "node", &["http/"]),
    ];
    for (word, crate_dir, allowed) in places {
        for source in sources(crate_dir).iter().filter(|source| !source.is_test()) {
            let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
            let spoken = code.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
            let excused = allowed.iter().any(|place| source.path.starts_with(place));
            assert!(excused || !spoken, "{word} occurs in {crate_dir}/src/{}", source.path);
        }
    }
}

#[test]
fn every_file_opens_with_its_one_concern() {
    for name in CRATES {
        for source in sources(name) {
            assert!(source.text.starts_with("//!"), "{name}/src/{} has no opening `//!`", source.path);
        }
    }
}

#[test]
fn most_files_are_small() {
    let lines: Vec<(usize, String)> = CRATES
        .iter()
        .flat_map(|name| sources(name).into_iter().map(move |source| (source, *name)))
        .filter(|(source, _)| !source.is_test())
        .map(|(source, name)| {
            let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
            (code.lines().count(), format!("{name}/src/{}", source.path))
        })
        .collect();
    let small = lines.iter().filter(|(count, _)| *count <= 300).count();
    assert!(small * 100 >= lines.len() * 85, "only {small} of {} files have 300 lines or fewer", lines.len());
    let largest = lines.iter().max().cloned().unwrap_or_default();
    assert!(largest.0 <= 550, "{} has {} lines", largest.1, largest.0);
}

#[test]
fn whatever_the_list_of_requirements_names_exists() {
    let list = std::fs::read_to_string(workspace_root().join("docs/SPEC.md")).unwrap();
    for line in list.lines().filter(|line| line.starts_with('|')) {
        let mut file = String::new();
        for word in line.split('`').skip(1).step_by(2) {
            let rooted =
                CRATES.iter().any(|name| word.starts_with(&format!("{name}/"))) || word.starts_with(".ci/");
            if rooted {
                let path = workspace_root().join(word);
                assert!(path.exists(), "docs/SPEC.md names {word}, which does not exist");
                file = std::fs::read_to_string(path).unwrap_or_default();
            } else if word.matches('_').count() >= 2
                && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            {
                assert!(
                    file.contains(&format!("fn {word}(")),
                    "docs/SPEC.md names the test {word}, which does not exist there"
                );
            }
        }
    }
}
