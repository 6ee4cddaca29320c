//! `amesh.example.toml` is made from the doc comments, and is current.

use amesh_tests::{example_config::render, structure::workspace_root};

#[test]
fn the_example_file_is_what_the_doc_comments_say() {
    let defaults = toml::Table::try_from(amesh::config::Config::default()).unwrap();
    let made = render(&defaults);
    let path = workspace_root().join("amesh.example.toml");
    if std::env::var_os("AMESH_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, made, "run this test with AMESH_WRITE_GOLDEN=1 to write it anew");
}

#[test]
fn an_example_with_every_line_uncommented_is_read_back() {
    let defaults = toml::Table::try_from(amesh::config::Config::default()).unwrap();
    let uncommented: String = render(&defaults)
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") && !setting.ends_with("(not set)") => {
                format!("{setting}\n")
            }
            _ if line.starts_with('[') => format!("{line}\n"),
            _ => String::new(),
        })
        .collect();
    let read: toml::Table = toml::from_str(&uncommented).unwrap();
    assert_eq!(read, defaults);
}
