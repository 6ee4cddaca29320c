//! Who is out there and how to reach them (DESIGN §2).
//!
//! Sources ([`finder::Finder`], one file each under [`hosts`]) report candidates; the [`manager::Manager`] merges and
//! ranks them for the mesh. Nothing found here is trusted: an address is a hint where to knock, and who answers is
//! proven inside the encrypted channel (DESIGN §1.5). Called by `node`, which runs the futures handed out here.
#![warn(missing_docs)]

pub mod cache;
pub mod finder;
pub mod hosts;
pub mod interfaces;
pub mod manager;
pub mod providers;
