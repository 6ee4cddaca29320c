//! Short runnable programs, each a thing a user would do.
