//! What frames promise: they survive the wire cut anywhere, and nothing a stranger sends can do harm.

use super::mail::{BadMail, LaneStamp};
use super::*;
use crate::member::{EpochSecret, MemberList, MeshId, Secrets};
use crate::message::Priority;
use crate::node_id::{NodeId, NodeKey};
use crate::roster::RosterHead;
use crate::ticket::Token;
use crate::time::UnixMillis;
use proptest::prelude::*;

fn greeting(list: &MemberList, key: &NodeKey) -> Greeting {
    Greeting {
        host: "stone".into(),
        roster_version: 3,
        members: list.digest(),
        generation: 1,
        boot: 77,
        clock: UnixMillis(1_800_000_000_000),
        evidence: list.evidence(&key.id()),
    }
}

fn mail(payload: Vec<u8>) -> MailFrame {
    MailFrame {
        outbox_seq: 900,
        lane: LaneStamp { generation: 1, number: 12, floor: 10 },
        remaining_ms: 5_000,
        age_ms: 20,
        roster_version: 3,
        form: None,
        receipt: false,
        id: "msg_1706648400_abc123".into(),
        from: "alice@default.aimaestro.local".into(),
        to: "bob@default.aimaestro.local".into(),
        priority: Priority::Normal,
        envelope: b"{}".to_vec(),
        payload,
    }
}

fn every_kind() -> Vec<Frame> {
    let key = NodeKey::from_seed(&[3; 32]);
    let list = MemberList::found(MeshId([1; 16]), &key, "stone", UnixMillis(5));
    let proof = Proof { epoch: 1, mac: [4; 32] };
    let greeting = greeting(&list, &key);
    let head = RosterHead::sign(&key, list.mesh(), 3, []);
    let secret = EpochSecret { epoch: 2, secret: [9; 32] };
    vec![
        Frame::Hello(Hello { versions: VERSIONS, proofs: vec![proof.clone()] }),
        Frame::Greeting(Box::new(greeting.clone())),
        Frame::HelloAck(Box::new(HelloAck { version: 1, proof, greeting })),
        Frame::Refuse(Refuse { code: RefuseCode::Busy }),
        Frame::Members(list.statements()),
        Frame::Secret(SecretFrame(secret.clone())),
        Frame::RosterAdvert(RosterAdvert(vec![RosterVersion { node: key.id(), version: 3 }])),
        Frame::RosterPull(RosterPull { node: key.id(), since: 1 }),
        Frame::RosterPart(Box::new(RosterPart {
            node: key.id(),
            since: 1,
            part: 0,
            entries: vec![],
            end: Some(Some(head)),
        })),
        Frame::Mail(Box::new(mail(b"{\"message\":\"hi\"}".to_vec()))),
        Frame::OutsideMail(Box::new(OutsideMail { mail: mail(b"{}".to_vec()), sender_key: vec![48, 42] })),
        Frame::Verdicts(Verdicts(vec![
            (900, Verdict::Committed),
            (901, Verdict::Later(LaterReason::MailboxFull)),
            (902, Verdict::Refused("invalid_signature".into())),
        ])),
        Frame::Ping(5),
        Frame::Pong(5),
        Frame::Receipts(Receipts(vec![receipt::ReceiptFrame {
            seq: 8,
            id: "msg_1706648400_abc123".into(),
            from: "alice@default.aimaestro.local".into(),
            word: receipt::Word::Delivered("websocket".into()),
            age_ms: 3,
        }])),
        Frame::ReceiptsTaken(8),
        Frame::Goodbye(Goodbye::Stopping),
        Frame::Neighbours(Neighbours(vec![Neighbour {
            node: key.id(),
            addresses: vec!["10.0.0.1:23001".parse().unwrap()],
        }])),
        Frame::Swarm(SwarmAddresses(vec!["10.0.0.1:23002".parse().unwrap()])),
        Frame::Software(Software("0.1.0".to_owned())),
        Frame::PresenceAsk(PresenceAsk { number: 7, agents: vec!["alice@default.aimaestro.local".into()] }),
        Frame::Presence(Presence { number: 7, online: vec![true] }),
        Frame::JoinRequest(Box::new(JoinRequest {
            versions: VERSIONS,
            mesh: list.mesh(),
            token: Token([6; 24]),
            host: "leaf".into(),
            agents: vec!["alice@default.aimaestro.local".into()],
        })),
        Frame::JoinClashes(JoinClashes { names: vec!["alice@default.aimaestro.local".into()] }),
        Frame::JoinConfirm(JoinConfirm),
        Frame::JoinGrant(Box::new(JoinGrant {
            mesh: list.mesh(),
            founder: list.founder(),
            secret,
            statements: list.statements(),
        })),
        Frame::JoinRefused(JoinRefused { code: JoinRefuseCode::Spent }),
    ]
}

fn drain(decoder: &mut FrameDecoder) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
}

#[test]
fn every_kind_survives_the_wire_one_byte_at_a_time() {
    let mut bytes = Vec::new();
    for frame in every_kind() {
        frame.encode(&mut bytes).unwrap();
    }
    let (mut decoder, mut got) = (FrameDecoder::default(), Vec::new());
    for byte in bytes {
        decoder.push(&[byte]);
        got.extend(drain(&mut decoder));
    }
    assert_eq!(got, every_kind());
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn an_unknown_kind_is_skipped_without_being_kept() {
    let mut bytes = vec![200];
    bytes.extend_from_slice(&1_000_000u32.to_be_bytes());
    bytes.extend(std::iter::repeat_n(7, 1_000_000));
    Frame::Ping(1).encode(&mut bytes).unwrap();
    let (mut decoder, mut got) = (FrameDecoder::default(), Vec::new());
    for chunk in bytes.chunks(1000) {
        decoder.push(chunk);
        got.extend(drain(&mut decoder));
        assert!(decoder.buffered() <= 1000);
    }
    assert_eq!(got, [Frame::Ping(1)]);
}

#[test]
fn an_overlong_frame_is_refused_by_its_header_alone() {
    let mut decoder = FrameDecoder::default();
    decoder.push(&[1, 0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong { kind: 1, .. })));
    decoder = FrameDecoder::default();
    decoder.push(&[250, 0, 0x10, 0, 1]);
    assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong { kind: 250, .. })));
}

#[test]
fn trailing_bytes_another_version_and_an_empty_body_are_refused() {
    let good = Frame::Ping(1).to_vec().unwrap();
    let with_body = |body: &[u8]| {
        let mut decoder = FrameDecoder::default();
        decoder.push(&[good[0], 0, 0, 0, u8::try_from(body.len()).unwrap()]);
        decoder.push(body);
        decoder.next_frame()
    };
    assert_eq!(with_body(&good[5..]), Ok(Some(Frame::Ping(1))));
    assert_eq!(with_body(&[1, 1, 0]), Err(FrameError::Malformed { kind: 11 }));
    assert_eq!(with_body(&[2, 1]), Err(FrameError::Version { kind: 11, version: 2 }));
    assert_eq!(with_body(&[]), Err(FrameError::Malformed { kind: 11 }));
}

#[test]
fn a_frame_that_grew_too_long_is_not_sent_and_leaves_the_batch_whole() {
    let mut out = Frame::Ping(1).to_vec().unwrap();
    let before = out.clone();
    let long = Frame::Mail(Box::new(mail(vec![b'x'; 2 << 20])));
    assert!(matches!(long.encode(&mut out), Err(FrameError::TooLong { .. })));
    assert_eq!(out, before);
}

#[test]
fn the_largest_message_that_amp_allows_fits_a_frame() {
    let largest = mail(vec![b'x'; crate::limits::TOTAL_BYTES]);
    assert!(Frame::Mail(Box::new(largest)).to_vec().is_ok());
}

#[test]
fn a_full_member_list_fits_a_frame() {
    let key = NodeKey::from_seed(&[3; 32]);
    let mut list = MemberList::found(MeshId([1; 16]), &key, "stone", UnixMillis(5));
    let node = NodeId::from_bytes([9; 32]);
    let entry = list.introduce(&key, node, &"h".repeat(63), true, UnixMillis(u64::MAX)).unwrap();
    let removal = list.remove(&key, node, true, &[1; 32], UnixMillis(u64::MAX)).unwrap();
    let statements =
        Statements { entries: vec![entry; MemberList::LIMIT], removals: vec![removal; MemberList::LIMIT] };
    assert!(Frame::Members(statements).to_vec().is_ok());
}

#[test]
fn mail_with_a_malformed_address_is_refused_by_itself() {
    let now = UnixMillis(100_000);
    let mut frame = mail(b"{}".to_vec());
    let good = frame.clone().into_mail(&[], now).unwrap();
    assert_eq!((good.accepted_at, good.expires_at), (UnixMillis(99_980), UnixMillis(105_000)));
    assert_eq!(MailFrame::carrying(good, 900, frame.lane, 3, now), frame);
    frame.from = "not an address".into();
    assert_eq!(frame.clone().into_mail(&[], now), Err(BadMail::From));
    frame.id = "../etc".into();
    assert_eq!(frame.into_mail(&[], now), Err(BadMail::Id));
}

#[test]
fn mail_that_a_jump_of_the_clock_made_ten_years_old_counts_as_new() {
    let now = UnixMillis(1_800_000_000_000);
    let good = mail(b"{}".to_vec()).into_mail(&[], now).unwrap();
    let lane = mail(Vec::new()).lane;
    let later = UnixMillis(now.0 + 10 * 365 * 24 * 3_600_000);
    let frame = MailFrame::carrying(good.clone(), 1, lane, 1, later);
    assert_eq!((frame.age_ms, frame.remaining_ms), (0, 0));
    let earlier = UnixMillis(0);
    assert_eq!(MailFrame::carrying(good, 1, lane, 1, earlier).age_ms, 0);
}

#[test]
fn secrets_never_show_in_debug_output() {
    let text = format!("{:?} {:?}", every_kind(), Secrets::new(1, [222; 32]));
    assert!(!text.contains("222") && !text.contains("[9, 9") && !text.contains("[6, 6"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_never_grow_the_buffer(chunks: Vec<Vec<u8>>) {
        let mut decoder = FrameDecoder::default();
        for chunk in &chunks {
            decoder.push(chunk);
            loop {
                match decoder.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
        }
    }

    #[test]
    fn an_arbitrary_body_of_any_kind_never_panics(kind: u8, mut body: Vec<u8>) {
        let _outcome = Frame::decode(kind, &body);
        body.insert(0, 1);
        let _outcome = Frame::decode(kind, &body);
    }

    #[test]
    fn a_damaged_frame_is_decoded_or_refused_but_never_panics(which in 0usize..20, at: prop::sample::Index, to: u8) {
        let mut bytes = every_kind()[which].to_vec().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let mut decoder = FrameDecoder::default();
        decoder.push(&bytes);
        let _outcome = decoder.next_frame();
    }

    #[test]
    fn mail_of_any_content_survives(payload: Vec<u8>, envelope: Vec<u8>, from: String, seq: u64) {
        let frame = Frame::Mail(Box::new(MailFrame { outbox_seq: seq, from, envelope, ..mail(payload) }));
        let mut decoder = FrameDecoder::default();
        decoder.push(&frame.to_vec().unwrap());
        prop_assert_eq!(decoder.next_frame().unwrap(), Some(frame));
    }
}
