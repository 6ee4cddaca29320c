//! sign (being written).
