//! Who is out there and how to reach them (DESIGN §2).
#![warn(missing_docs)]
