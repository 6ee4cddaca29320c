//! One frame's body by kind (hello, mail, rosters, members, tickets of joining, …); the first byte is the kind.
#![no_main]
use amesh_proto::wire::Frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = bytes.split_first() else { return };
    let Ok(Some(frame)) = Frame::decode(*kind, body) else { return };
    let again = frame.to_vec().expect("what was decoded encodes");
    assert_eq!(again.first(), Some(kind));
    if let Frame::RosterPart(part) = &frame {
        let _entries = format!("{part:?}");
    }
});
