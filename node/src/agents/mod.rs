//! Who lives on this node.
