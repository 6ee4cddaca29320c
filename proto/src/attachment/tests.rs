//! Tests of names, kinds and what payloads say.

use super::*;
use proptest::prelude::*;

fn payload(attachments: &str) -> Vec<u8> {
    format!(r#"{{"type":"t","message":"m","attachments":{attachments}}}"#).into_bytes()
}

fn entry(members: &str) -> String {
    let digest = format!("sha256:{}", "ab".repeat(32));
    format!(r#"{{"id":"att_1_a","filename":"a.txt","size":3,"digest":"{digest}"{members}}}"#)
}

#[test]
fn a_payload_tells_which_files_go_with_it() {
    let url = "http://localhost:23000/api/v1/attachments/att_1_a/download?token=T0k";
    let text = entry(&format!(r#","url":"{url}","scan_status":"basic_clean","local_path":"/x""#));
    let list = list_in(&payload(&format!("[{text}]"))).unwrap();
    let [one] = list.as_slice() else { panic!("{list:?}") };
    assert_eq!((one.id.as_str(), one.size, one.token()), ("att_1_a", 3, Some("T0k")));
    assert_eq!(one.scan_status, Some(ScanStatus::BasicClean));
    for none in ["null", "[]"] {
        assert_eq!(list_in(&payload(none)), Ok(Vec::new()));
    }
    assert_eq!(list_in(br#"{"type":"t","message":"m"}"#), Ok(Vec::new()));
}

#[test]
fn the_member_at_fault_is_named() {
    let many = format!("[{}]", vec![entry(""); 11].join(","));
    let other = entry("").replace("att_1_a", "att_2_b");
    for (attachments, field) in [
        ("{}".to_owned(), "payload.attachments"),
        ("[7]".to_owned(), "payload.attachments[0]"),
        ("[{}]".to_owned(), "payload.attachments[0].id"),
        (many, "payload.attachments"),
        (format!("[{},{}]", entry(""), entry("")), "payload.attachments[1].id"),
        (format!("[{other},{}]", entry("").replace("a.txt", "../a")), "payload.attachments[1].filename"),
        (format!("[{}]", entry("").replace("sha256", "md5")), "payload.attachments[0].digest"),
        (format!("[{}]", entry("").replace(":3,", ":26214401,")), "payload.attachments[0].size"),
        (format!("[{}]", entry("").replace(":3,", ":-1,")), "payload.attachments[0]"),
        (format!("[{}]", entry(r#","scan_status":"fine""#)), "payload.attachments[0].scan_status"),
    ] {
        assert_eq!(list_in(&payload(&attachments)).unwrap_err().field, field, "{attachments}");
    }
    let five: Vec<_> =
        (0..5).map(|n| entry("").replace("_1_", &format!("_{n}_")).replace(":3,", ":26214400,")).collect();
    assert_eq!(list_in(&payload(&format!("[{}]", five.join(",")))).unwrap_err().field, "payload.attachments");
    assert!(list_in(&payload(&format!("[{}]", five[..4].join(",")))).is_ok());
}

#[test]
fn a_url_that_leads_elsewhere_has_no_token() {
    for url in [
        "http://h/attachments/att_2_b/download?token=T",
        "http://h/att_1_a/download?token=T",
        "http://h/attachments/att_1_a/download?token=",
        "http://h/attachments/att_1_a/download?token=a%20b",
        "http://h/attachments/att_1_a/download",
    ] {
        let text = entry(&format!(r#","url":"{url}""#));
        assert_eq!(list_in(&payload(&format!("[{text}]"))).unwrap()[0].token(), None, "{url}");
    }
}

#[test]
fn ids_and_digests_of_other_shapes_are_refused() {
    for id in ["att_1706648400_abc123", "att-1-Z", "att_1-a"] {
        assert_eq!(AttachmentId::parse(id).map(|id| id.to_string()).as_deref(), Ok(id));
    }
    for id in ["", "att_", "att_1", "att_1_", "att_x_a", "att_1_a_b", "att_1_../a", "msg_1_a"] {
        assert_eq!(AttachmentId::parse(id), Err(BadId), "{id}");
    }
    let text = format!("sha256:{}", "0f".repeat(32));
    assert_eq!(FileDigest::parse(&text).unwrap().to_string(), text);
    for bad in ["", "sha256:", &text[..70], &text.replace("0f", "+f"), &text.replace("sha256", "sha1")] {
        assert_eq!(FileDigest::parse(bad), None, "{bad}");
    }
}

#[test]
fn names_are_made_safe() {
    for (given, safe) in [
        ("report.pdf", "report.pdf"),
        ("Größe 2026 (final).txt", "Größe 2026 (final).txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\system.ini", "system.ini"),
        ("..%2f..%2fx", "_2f.._2fx"),
        (".bashrc", "bashrc"),
        ("...", "unnamed_file"),
        ("", "unnamed_file"),
        ("a\0b\n.txt", "a_b_.txt"),
        ("con", "_con"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        ("COM10.txt", "COM10.txt"),
        ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
    ] {
        assert_eq!(safe_name(given), safe, "{given:?}");
    }
    let long = safe_name(&format!("{}.tar.gz", "é".repeat(300)));
    assert!(long.len() <= 255 && long.ends_with("é.gz"), "{long}");
}

proptest! {
    #[test]
    fn no_name_leads_out_of_its_directory(given in any::<String>()) {
        let name = safe_name(&given);
        prop_assert!(is_safe(&name), "{name:?} is not its own safe form");
        prop_assert!(!name.is_empty() && name.len() <= 256);
        prop_assert!(!name.contains(['/', '\\', ':', '%', '\0']) && !name.chars().any(char::is_control));
        prop_assert!(!name.starts_with('.') && !name.ends_with('.') && !name.ends_with(' '));
        let path = std::path::Path::new("/dir").join(&name);
        prop_assert_eq!(path.parent(), Some(std::path::Path::new("/dir")));
        prop_assert_eq!(path.components().count(), 3);
    }

    #[test]
    fn names_that_the_reference_client_makes_pass_unchanged(name in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,100}[a-zA-Z0-9_-]") {
        prop_assume!(!["con", "prn", "aux", "nul", "com", "lpt"].iter().any(|r| name.to_lowercase().starts_with(r)));
        prop_assert_eq!(safe_name(&name), name);
    }

    #[test]
    fn any_payload_is_read_or_refused(text in any::<Vec<u8>>(), json in r#"[\[\]{}",:a-z0-9]{0,40}"#) {
        list_in(&text).ok();
        list_in(&payload(&json)).ok();
    }
}

#[test]
fn what_can_be_run_is_rejected_whatever_it_is_called() {
    for (kind, name, head) in [
        ("text/plain", "notes.txt", &b"#!/bin/sh\n"[..]),
        ("application/octet-stream", "data", b"\x7fELF\x02\x01"),
        ("image/png", "a.png", b"MZ\x90\0"),
        ("application/X-Sh; charset=utf-8", "a.txt", b"hello"),
        ("application/zip", "tool.JAR", b"PK\x03\x04"),
    ] {
        assert!(matches!(judge(kind, name, head), Verdict::Rejected(_)), "{kind} {name}");
    }
}

#[test]
fn what_is_not_what_it_claims_to_be_is_suspicious() {
    for (kind, head) in [
        ("image/png", &b"%PDF-1.7"[..]),
        ("text/plain", b"%PDF-1.7"),
        ("text/plain", b"a\0b"),
        ("application/pdf", b"hello"),
        ("image/jpeg", b"\x89PNG\r\n\x1a\n"),
    ] {
        assert!(matches!(judge(kind, "a.bin", head), Verdict::Suspicious(_)), "{kind}");
    }
    for (kind, head) in [
        ("image/png", &b"\x89PNG\r\n\x1a\n..."[..]),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04.."),
        ("application/octet-stream", b"%PDF-1.7"),
        ("text/plain; charset=utf-8", "Größe".as_bytes()),
        ("text/plain", b""),
        ("", b"anything"),
    ] {
        assert_eq!(judge(kind, "a.bin", head), Verdict::Clean, "{kind}");
    }
}
