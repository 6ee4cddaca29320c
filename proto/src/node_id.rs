//! node_id (being written).
