//! canonical (being written).
