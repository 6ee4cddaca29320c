//! Ways to agents that the mesh's own links do not reach. Built by `node` after the mesh, before the doors; the hallway knows
//! its parts as carriers.

pub mod http_mesh;
pub mod registered;
