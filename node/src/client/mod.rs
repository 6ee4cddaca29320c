//! How a program talks to a running node.
