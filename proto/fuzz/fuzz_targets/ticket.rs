//! Tickets and node ids as people type them.
#![no_main]
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::Ticket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(ticket.to_string().parse::<Ticket>().as_ref(), Ok(&ticket));
    }
    if let Ok(node) = text.parse::<NodeId>() {
        assert_eq!(node.to_string().parse::<NodeId>().as_ref(), Ok(&node));
    }
});
