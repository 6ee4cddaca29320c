//! What is believed of a roster.
