//! The `amesh` binary: parse, log, run, exit code.
fn main() {}
