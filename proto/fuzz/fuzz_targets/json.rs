//! JSON as strangers send it: no panic, and every form means what was received.
#![no_main]
use amesh_proto::json::{KeyOrder, Spelling, parse_object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = parse_object(bytes) else { return };
    for order in [KeyOrder::Sorted, KeyOrder::AsReceived, KeyOrder::JavaScript] {
        for spelling in [Spelling::Verbatim, Spelling::Raw, Spelling::Ascii] {
            let once = document.write(order, spelling);
            let again = parse_object(once.as_bytes()).expect("what is written is JSON");
            assert_eq!(again.write(order, spelling), once);
            let sorted = document.write(KeyOrder::Sorted, Spelling::Raw);
            assert_eq!(again.write(KeyOrder::Sorted, Spelling::Raw), sorted);
        }
    }
});
