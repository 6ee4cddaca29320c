//! What the folders keep, and what the reference client finds in them.

use super::*;

const NOW: UnixMillis = UnixMillis(1_706_648_400_000);
const ALICE: &str = "alice@acme.aimaestro.local";

struct Bench {
    _dir: tempfile::TempDir,
    home: AgentHome,
    mailbox: Mailbox,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let home = AgentHome::at(dir.path());
    home.make().unwrap();
    Bench { mailbox: Mailbox::of(&home), home, _dir: dir }
}

fn message(id: &str, from: &str, at: &str) -> RawObject {
    RawObject::parse(&format!(
        r#"{{"envelope":{{"id":"{id}","from":"{from}","subject":"s","timestamp":"{at}"}},
            "payload":{{"n": 1.50,"message":"m"}},"local":{{"received_at":"{at}","status":"unread"}}}}"#
    ))
    .unwrap()
}

impl Bench {
    fn save(&self, id: &str, from: &str) -> Saved {
        self.mailbox.save_received(id, from, &message(id, from, "2026-01-01T00:00:00Z"), NOW).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.mailbox.list(Folder::Inbox).0.into_iter().map(|stored| stored.id).collect()
    }
}

#[test]
fn a_message_lies_where_the_reference_client_looks() {
    let bench = bench();
    bench.save("msg_1_a", ALICE);
    let path = bench.home.inbox().join("alice_acme_aimaestro_local/msg_1_a.json");
    assert!(path.exists());
    let list = std::fs::read_to_string(bench.home.replay_db()).unwrap();
    assert!(list.starts_with("msg_1_a|1706648400|"), "{list}");
}

#[test]
fn a_message_is_taken_once_even_after_it_was_deleted() {
    let bench = bench();
    assert_eq!(bench.save("msg_1_a", ALICE), Saved::New);
    assert_eq!(bench.save("msg_1_a", ALICE), Saved::Known);
    bench.mailbox.find(Folder::Inbox, "msg_1_a").unwrap().unwrap().delete().unwrap();
    assert_eq!(bench.save("msg_1_a", ALICE), Saved::Known);
    assert!(bench.ids().is_empty());
}

#[test]
fn one_sender_cannot_suppress_anothers_message_by_its_id() {
    let bench = bench();
    assert_eq!(bench.save("msg_1_a", "mallory@evil.example.com"), Saved::New);
    assert_eq!(bench.save("msg_1_a", ALICE), Saved::New);
    // Addresses that share a directory are still two senders.
    assert_eq!(bench.save("msg_2_a", "a@b.x.y.z"), Saved::New);
    assert_eq!(bench.save("msg_2_a", "a_b@x.y.z"), Saved::New);
    assert_eq!(bench.ids().len(), 4);
}

#[test]
fn messages_are_listed_newest_first_from_flat_and_nested_files() {
    let bench = bench();
    for (id, at) in [("msg_1_a", "2026-01-01T00:00:01Z"), ("msg_2_a", "2026-01-01T00:00:03Z")] {
        bench.mailbox.save_received(id, ALICE, &message(id, ALICE, at), NOW).unwrap();
    }
    let flat = message("msg_3_a", ALICE, "2026-01-01T00:00:02Z");
    std::fs::write(bench.home.inbox().join("msg_3_a.json"), serde_json::to_vec(&flat).unwrap()).unwrap();
    std::fs::write(bench.home.inbox().join("msg_4_a.json"), "{").unwrap();
    assert_eq!(bench.ids(), ["msg_2_a", "msg_3_a", "msg_1_a"]);
    assert_eq!(bench.mailbox.list(Folder::Inbox).1, 1, "the broken file is counted");
}

#[test]
fn marking_as_read_is_written_in_both_places_and_leaves_the_payload_alone() {
    let bench = bench();
    bench.save("msg_1_a", ALICE);
    let mut stored = bench.mailbox.find(Folder::Inbox, "msg_1_a").unwrap().unwrap();
    assert_eq!(stored.status(), "unread");
    stored.set_status("read", NOW).unwrap();
    let again = bench.mailbox.find(Folder::Inbox, "msg_1_a").unwrap().unwrap();
    assert_eq!(again.status(), "read");
    assert_eq!(again.local.text("read_at").as_deref(), Some("2024-01-30T21:00:00Z"));
    assert_eq!(again.file.object("metadata").text("status").as_deref(), Some("read"));
    assert_eq!(again.file.get("payload").unwrap().get(), r#"{"n": 1.50,"message":"m"}"#);
}

#[test]
fn a_status_set_by_an_older_client_counts() {
    let bench = bench();
    let text = r#"{"envelope":{"id":"msg_9_a"},"payload":{},"metadata":{"status":"read"}}"#;
    std::fs::write(bench.home.inbox().join("msg_9_a.json"), text).unwrap();
    assert_eq!(bench.mailbox.find(Folder::Inbox, "msg_9_a").unwrap().unwrap().status(), "read");
}

#[test]
fn the_list_of_ids_forgets_what_no_message_outlives() {
    let bench = bench();
    let old = format!("msg_1_old|1|{}\n", "x".repeat(60)).repeat(5_000);
    std::fs::write(bench.home.replay_db(), old).unwrap();
    bench.save("msg_1_a", ALICE);
    let list = std::fs::read_to_string(bench.home.replay_db()).unwrap();
    assert_eq!(list.lines().count(), 1, "only the young line is left");
}

#[test]
fn unusual_addresses_make_harmless_directories() {
    for (address, dir) in
        [("a@b.c", "a_b_c"), ("../../etc/passwd", "____etcpasswd"), ("x/y@z", "xy_z"), ("💥", "unknown")]
    {
        assert_eq!(sanitized(address), dir);
    }
}
