//! Two nodes on a simulated network.
