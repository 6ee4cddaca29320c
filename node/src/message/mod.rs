//! The hallway: a message's life, top to bottom.
