//! How a program talks to a running node, and the files an agent keeps. Sees the protocol only, never the node's
//! insides (DESIGN §2). Called by the command line and by examples.

pub mod attachments;
pub mod bundle;
pub mod compose;
pub mod control;
pub mod disk;
pub mod find;
pub mod home;
pub mod http;
pub mod identity;
pub mod identity_md;
pub mod judge;
pub mod keys;
pub mod known_keys;
pub mod mailbox;
pub mod migrate;
pub mod raw;
pub mod received;
pub mod registration;
pub mod registrations;
mod shell_fence;
#[cfg(test)]
pub(crate) mod stand_in;
pub mod websocket;
