//! The amesh node as a library. The binary in `bin/amesh.rs` is a thin command line over it.
//!
//! Dependencies point one way: `tasks`, `clock`, `waking`, `private`, `authorities`, `reach` ← `attachments`, `agents` ← `message` ← `mesh`, `bridge`, `federation` ← `http` ← `config`, `node`;
//! apart from that, `authorities` ← `client` ← `cli` (DESIGN §2; `tests/tests/structure.rs` holds it).

pub mod agents;
pub mod attachments;
pub mod authorities;
pub mod bridge;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod federation;
pub mod http;
pub mod mesh;
pub mod message;
pub mod node;
pub mod private;
pub mod reach;
pub mod tasks;
pub mod waking;
