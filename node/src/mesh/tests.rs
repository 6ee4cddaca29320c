//! Several nodes in one process, over real sockets on the loopback interface.

mod cable;
mod crowd;
mod discovery;
mod joining;
mod leaving;
mod mailing;
mod misbehaving;
mod moving;
mod presence;
mod receipts;
mod relayed;
mod rotation;
mod shown;
mod strangers;
mod village;
mod waking;
