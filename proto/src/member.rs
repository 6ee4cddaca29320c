//! member (being written).
