//! Was anybody told before the disk knew? Every answer that leaves is held against the syncs before it.

use super::disk::Disk;
use super::message_ids;
use super::trace::{Call, Event};
use std::collections::BTreeSet;
use std::path::Path;

/// An acknowledgement that left too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The message.
    pub id: String,
    /// Line of the record at which the acknowledgement left.
    pub line: usize,
    /// What was missing.
    pub why: &'static str,
}

/// Holds every acknowledgement in `events` against the disk. `acknowledges` says which ids a call acknowledges.
/// Returns how many acknowledgements were checked, and those that left too early.
#[must_use]
pub fn acknowledged_too_early(
    root: &Path,
    events: &[Event],
    acknowledges: impl Fn(&Call) -> Vec<String>,
) -> (usize, Vec<Violation>) {
    let mut disk = Disk::new(root);
    let mut told = BTreeSet::new();
    let mut violations = Vec::new();
    // An answer counts from the moment it began to leave, a write or sync from the moment it was done.
    let mut steps: Vec<&Event> = events.iter().collect();
    steps.sort_by_key(|event| match event.call {
        Call::Send { .. } | Call::Log { .. } => event.began,
        _ => event.ended,
    });
    for event in steps {
        for id in acknowledges(&event.call) {
            if !told.insert(id.clone()) {
                continue;
            }
            let why = if !disk.is_durable(&id) {
                "no copy was durable"
            } else if disk.has_unsynced(&id) {
                "a write that holds it was not synced"
            } else if disk.has_unsynced_name(&id) {
                "the name of a file that holds it was not synced"
            } else {
                continue;
            };
            violations.push(Violation { id, line: event.began, why });
        }
        disk.apply(event);
    }
    (told.len(), violations)
}

/// The ids that an HTTP 2xx answer or a `route.result` frame acknowledges.
#[must_use]
pub fn answered(call: &Call) -> Vec<String> {
    let Call::Send { data } = call else { return Vec::new() };
    let accepted = data.starts_with(b"HTTP/1.1 2") || contains(data, b"\"route.result\"");
    if accepted { message_ids(data) } else { Vec::new() }
}

/// The ids in log lines that say a link acknowledgement is about to leave.
#[must_use]
pub fn link_acknowledged(call: &Call) -> Vec<String> {
    let Call::Log { data } = call else { return Vec::new() };
    if contains(data, b"link verdict committed") { message_ids(data) } else { Vec::new() }
}

fn contains(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(calls: Vec<Call>) -> Vec<Violation> {
        let events: Vec<Event> = calls
            .into_iter()
            .enumerate()
            .map(|(line, call)| Event { began: line, ended: line, call })
            .collect();
        acknowledged_too_early(Path::new("/d"), &events, answered).1
    }

    /// A message written, synced and acknowledged, `without` one of these calls.
    fn story(without: Option<usize>) -> Vec<Call> {
        let db = || "/d/db".into();
        let mut calls = vec![
            Call::Open { path: db(), create: true, truncate: false, append: false },
            Call::Write { path: db(), offset: Some(0), data: b"..msg_1_ab..".to_vec() },
            Call::Sync { path: "/d".into() },
            Call::Sync { path: db() },
            Call::Send { data: b"HTTP/1.1 200 OK\r\n\r\n{\"id\":\"msg_1_ab\"}".to_vec() },
        ];
        if let Some(missing) = without {
            calls.remove(missing);
        }
        calls
    }

    #[test]
    fn an_answer_after_the_sync_is_fine() {
        assert_eq!(run(story(None)), []);
    }

    #[test]
    fn what_is_written_of_a_message_once_it_is_durable_need_not_be_synced_before_its_answer() {
        let again = |path: &str| {
            let (path, data) = (path.into(), b"delivered msg_1_ab".to_vec());
            Call::Write { path, offset: Some(100), data }
        };
        let mut calls = story(None);
        calls.insert(4, again("/d/db"));
        assert_eq!(run(calls), []);
        let mut calls = story(None);
        // Half of a commit in another file, which no sync covers.
        calls.insert(1, Call::Open { path: "/d/log".into(), create: true, truncate: false, append: false });
        calls.insert(2, again("/d/log"));
        let caught = run(calls);
        assert_eq!((caught.len(), caught[0].why), (1, "a write that holds it was not synced"));
    }

    #[test]
    fn an_answer_without_a_sync_of_the_file_or_its_directory_is_caught() {
        for missing in [2, 3] {
            let caught = run(story(Some(missing)));
            assert_eq!(caught.len(), 1, "without call {missing}");
            assert_eq!(caught[0].id, "msg_1_ab");
        }
    }
}
