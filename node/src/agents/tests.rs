//! Registration, authentication and leaving, over a store in memory.

use super::*;
use amesh_proto::address::Address;
use amesh_proto::key::AgentKey;
use amesh_store::{AgentNo, AgentRecord, Delivery};

/// An agent that no store knows.
pub(crate) fn agent(no: u64, address: &str, seed: u8) -> Arc<Agent> {
    let key = AgentKey::from_seed(&[seed; 32]).public();
    let address = Address::parse(address, &["aimaestro.local"]).unwrap();
    Agent::from_record(AgentRecord {
        no: AgentNo(no),
        name: address.name().to_owned(),
        tenant: address.tenant().to_owned(),
        address,
        alias: None,
        key_algorithm: key.algorithm(),
        public_key_der: key.to_spki_der().to_vec(),
        delivery: Delivery::default(),
        metadata: None,
        registered_at: UnixMillis(0),
        changed_at: UnixMillis(0),
    })
    .unwrap()
}
