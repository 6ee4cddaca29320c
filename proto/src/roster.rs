//! roster (being written).
