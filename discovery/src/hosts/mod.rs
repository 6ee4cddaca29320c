//! The sources of candidates, one file each; `node` picks those that the configuration asks for.

pub mod libp2p;
pub mod mdns;
pub mod memory;
pub mod static_list;
