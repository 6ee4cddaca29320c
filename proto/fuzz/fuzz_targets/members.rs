//! Membership statements that nobody signed: merging them never panics and never admits anybody.
#![no_main]
use amesh_proto::member::MeshId;
use amesh_proto::member::list::{MemberList, Statements};
use amesh_proto::node_id::NodeKey;
use amesh_proto::time::UnixMillis;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(statements) = postcard::from_bytes::<Statements>(bytes) else { return };
    let founder = NodeKey::from_seed(&[1; 32]);
    let mut list = MemberList::found(MeshId([2; 16]), &founder, "host", UnixMillis(1));
    let before = list.members().count();
    let _changed = list.merge(&statements);
    assert_eq!(list.members().count(), before);
});
