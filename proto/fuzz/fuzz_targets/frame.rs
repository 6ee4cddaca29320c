//! The link's byte stream, in chunks of any size: no panic, a bounded buffer, and frames survive re-encoding.
#![no_main]
use amesh_proto::wire::{Frame, FrameDecoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let mut decoder = FrameDecoder::default();
    for chunk in bytes.chunks(usize::from(*size).max(1)) {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => check(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

fn check(frame: &Frame) {
    let bytes = frame.to_vec().expect("what was decoded encodes");
    let mut decoder = FrameDecoder::default();
    decoder.push(&bytes);
    assert_eq!(decoder.next_frame().ok().flatten().as_ref(), Some(frame));
}
