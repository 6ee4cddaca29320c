//! Which keys are taken, in which texts, and what verifies under them.
