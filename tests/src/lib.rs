//! The vocabulary of amesh's end-to-end tests: nodes, agents, the LAN lab.
