//! The hallway as a whole, over a store in memory: what is accepted, where it ends up, and what the sender is told.

pub(crate) mod attacks;
mod gateway;
pub(crate) mod house;
mod links;
mod local;
mod remote;
pub(crate) mod webhook;
