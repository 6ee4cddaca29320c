//! A source that says what a test tells it to say.

use crate::finder::{Announcement, Event, Finder, Running, Source, State};
use amesh_proto::node_id::NodeId;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The test's own source, and the record of what it was asked.
#[derive(Debug)]
pub struct Memory {
    say: mpsc::Sender<Event>,
    said: Mutex<Option<mpsc::Receiver<Event>>>,
    asked: Mutex<Asked>,
}

/// What the manager asked of the source so far.
#[derive(Debug, Default, Clone)]
pub struct Asked {
    /// The last announcement.
    pub announcement: Option<Announcement>,
    /// How often it was told to look again.
    pub refreshes: usize,
    /// Whom it was told to check.
    pub verified: Vec<NodeId>,
}

impl Default for Memory {
    fn default() -> Self {
        let (say, said) = mpsc::channel(64);
        Self { say, said: Mutex::new(Some(said)), asked: Mutex::default() }
    }
}

impl Memory {
    /// Makes the source report `event`.
    ///
    /// # Errors
    /// When the source no longer runs.
    pub async fn say(&self, event: Event) -> Result<(), mpsc::error::SendError<Event>> {
        self.say.send(event).await
    }

    /// What the source was asked so far.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, what: impl FnOnce(&mut Asked)) {
        what(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Finder for Memory {
    fn source(&self) -> Source {
        Source::Memory
    }

    fn run(&self, sink: mpsc::Sender<Event>, stop: CancellationToken) -> Running<'_> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let Some(mut said) = said else { return };
            let pass_on = async {
                while let Some(event) = said.recv().await {
                    if sink.send(event).await.is_err() {
                        return;
                    }
                }
            };
            stop.run_until_cancelled(pass_on).await;
        })
    }

    fn state(&self) -> State {
        State::Running
    }

    fn announce(&self, announcement: &Announcement) {
        self.note(|asked| asked.announcement = Some(announcement.clone()));
    }

    fn refresh(&self) {
        self.note(|asked| asked.refreshes += 1);
    }

    fn verify(&self, node: &NodeId) {
        self.note(|asked| asked.verified.push(*node));
    }
}
