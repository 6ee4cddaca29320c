//! The node-to-node link: frames and their bodies.
