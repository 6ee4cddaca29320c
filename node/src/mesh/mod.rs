//! The carrier between nodes of one mesh.
