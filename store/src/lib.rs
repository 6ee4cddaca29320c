//! Everything that must survive a crash; the only crate that names sled (DESIGN §5).
#![warn(missing_docs)]
