//! The Agent Messaging Protocol as data and pure functions: no I/O, no clock, no randomness of its own.
//!
//! Everything else in amesh is built on this crate; it knows nothing of them (DESIGN §2).
#![warn(missing_docs)]

pub mod address;
pub mod api;
pub mod attachment;
pub mod canonical;
pub mod card;
pub mod delivery;
mod fixed;
mod fold;
mod guards;
pub mod id;
pub mod injection;
pub mod json;
pub mod key;
pub mod limits;
pub mod member;
pub mod message;
pub mod node_id;
pub mod priority;
pub mod provider;
pub mod record;
pub mod roster;
pub mod sign;
pub mod ticket;
pub mod time;
pub mod trust;
pub mod webhook;
pub mod wire;
