//! The bodies and socket frames of the HTTP API.
#![no_main]
use amesh_proto::api;
use amesh_proto::message::{Envelope, Mail};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _route = api::route::RouteRequest::parse(bytes);
    let _register = api::register::RegisterRequest::parse(bytes);
    let _frame = api::ws::ClientFrame::parse(bytes);
    let _frame = api::ws::ServerFrame::parse(bytes);
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) {
        serde_json::to_vec(&envelope).expect("what was read is written");
    }
    if let Ok(mail) = postcard::from_bytes::<Mail>(bytes) {
        let _envelope = mail.envelope();
    }
});
