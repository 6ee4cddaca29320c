//! What a message costs, as ratios to what it must cost: V, one strict verification of a 1 KB message, and F, one
//! append of 1 KB with `fdatasync`. Called by the binary `amesh-bench` (DESIGN §7).

pub mod floor;
pub mod load;
pub mod plot;
pub mod process;
pub mod rows;
pub mod spread;
pub mod table;
