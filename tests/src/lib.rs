//! The vocabulary of amesh's end-to-end tests: nodes, agents, the LAN lab, and the checker of the house's structure.

pub mod bench;
pub mod power;
pub mod structure;
