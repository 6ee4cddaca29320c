//! The vocabulary of amesh's end-to-end tests: nodes, agents, the LAN lab, power loss, the bench's parts, and the
//! checker of the house's structure.

pub mod agent;
pub mod authority;
pub mod bench;
pub mod binary;
pub mod example;
pub mod example_config;
pub mod http;
pub mod http_host;
pub mod https;
pub mod lab;
pub mod ledger;
pub mod letters;
pub mod load;
pub mod mesh;
pub mod name_server;
pub mod node;
pub mod place;
pub mod power;
pub mod provider;
pub mod provider_node;
pub mod shell;
pub mod shell_client;
pub mod socket;
pub mod structure;
pub mod wait;
