//! What the command line takes and refuses.

use super::*;
use clap::CommandFactory as _;

fn parse(words: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(words.split(' '))
}

fn refused(words: &str) -> String {
    let error = parse(words).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_may_stand_behind_the_command() {
    let cli = parse("amesh status --json --data-dir /tmp/x --agent alice").unwrap();
    assert!(cli.global.json);
    assert_eq!(cli.global.data_dir.as_deref(), Some(std::path::Path::new("/tmp/x")));
    assert_eq!(cli.global.agent.as_deref(), Some("alice"));
}

#[test]
fn up_takes_several_api_addresses_and_peers() {
    let cli = parse("amesh up --api 127.0.0.1:0 --api [::1]:0 --peer a:1 --peer b:2 --no-mdns").unwrap();
    let Command::Up(up) = cli.command else { panic!("not up") };
    assert_eq!(up.api.len(), 2);
    assert_eq!(up.peer, ["a:1", "b:2"]);
    assert!(up.no_mdns);
}

#[test]
fn an_api_address_needs_a_port() {
    assert!(refused("amesh up --api 127.0.0.1").contains("--api"));
}

#[test]
fn a_ticket_lives_as_long_as_asked() {
    let cli = parse("amesh invite --ttl 90s").unwrap();
    let Command::Invite(invite) = cli.command else { panic!("not invite") };
    assert_eq!((invite.ttl, invite.introducer), (Duration::from_secs(90), false));
    for bad in ["0m", "m", "15x", "99999999999999999999h"] {
        refused(&format!("amesh invite --ttl {bad}"));
    }
}

#[test]
fn send_defaults_to_a_normal_notification() {
    let cli = parse("amesh send bob Subject Text").unwrap();
    let Command::Send(send) = cli.command else { panic!("not send") };
    assert_eq!((send.priority.as_str(), send.kind.as_str()), ("normal", "notification"));
}

#[test]
fn send_refuses_what_the_protocol_does_not_know() {
    assert!(refused("amesh send bob s m --priority asap").contains("urgent, high, normal or low"));
    assert!(refused("amesh send bob s m --type gossip").contains("namespace"));
    assert!(refused("amesh send bob s m --context [1]").contains("JSON object"));
    assert!(refused("amesh send bob s m --reply-to ../../etc").contains("msg_"));
    parse("amesh send bob s m --type github:issue").unwrap();
}

#[test]
fn an_id_that_is_a_path_is_refused_before_it_is_used() {
    for bad in ["../x", "msg_1_../a", "msg_a_b", "msg__b", "msg_1_", "msg_1_a/b"] {
        refused(&format!("amesh read {bad}"));
    }
    parse("amesh read msg-1706648400-a1B2").unwrap();
}

#[test]
fn the_protocols_own_inbox_spellings_work() {
    let cli = parse("amesh inbox ack msg_1_a").unwrap();
    let Command::Inbox(inbox) = cli.command else { panic!("not inbox") };
    assert!(matches!(inbox.action, Some(InboxAction::Ack { .. })));
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    refused("amesh frobnicate");
    refused("amesh");
}
