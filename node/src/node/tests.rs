//! A whole node in this process: it starts, says where it is, and stops in order.

use super::*;
use std::net::{Ipv4Addr, SocketAddr};

fn config(data_dir: &Path) -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        data_dir: Some(data_dir.to_path_buf()),
        host: Some("tester".to_owned()),
        api: vec![any],
        mesh: any,
        mdns: false,
        no_swarm: true,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_node_starts_with_real_ports_and_stops_leaving_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::build(config(dir.path())).await.unwrap();
    assert!(app.ready().api[0].port() != 0 && app.ready().mesh.port() != 0);
    assert!(app.ready().line().starts_with("amesh ready api=http://127.0.0.1:"));
    assert!(dir.path().join("node.json").exists());
    app.close().await.unwrap();
    assert!(!dir.path().join("node.json").exists() && !dir.path().join("control.sock").exists());
}

#[tokio::test]
async fn two_nodes_run_in_one_process() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = App::build(config(one.path())).await.unwrap();
    let second = App::build(config(two.path())).await.unwrap();
    assert_ne!(first.ready().node_id, second.ready().node_id);
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = App::build(config(dir.path())).await.unwrap();
    let error = App::build(config(dir.path())).await.unwrap_err();
    assert!(matches!(error, BuildError::Store { .. }), "{error}");
    assert!(dir.path().join("node.json").exists() && dir.path().join("control.sock").exists());
    first.close().await.unwrap();
}

#[tokio::test]
async fn a_bad_injection_rule_is_named_before_the_store_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.txt");
    let mut config = config(&dir.path().join("data"));
    config.message.injection_rules = Some(file.clone());
    let error = App::build(config.clone()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("injection_rules: {} cannot be read", file.display())), "{error}");
    std::fs::write(&file, "[tool_abuse]\n# ours\nour-tool: press .. ..\n").unwrap();
    let error = App::build(config.clone()).await.unwrap_err().to_string();
    let named = format!("injection_rules: {}, line 3, rule \"our-tool\": a gap must", file.display());
    assert!(error.starts_with(&named), "{error}");
    assert!(!dir.path().join("data").exists());
    std::fs::write(&file, "[tool_abuse]\nour-tool: press .. button\n").unwrap();
    App::build(config).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_node_keeps_its_identity_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = App::build(config(dir.path())).await.unwrap();
    let id = first.ready().node_id;
    first.close().await.unwrap();
    let second = App::build(config(dir.path())).await.unwrap();
    assert_eq!(second.ready().node_id, id);
    second.close().await.unwrap();
}
