//! What a member does over its link that it should not: counted by kind, so that it costs the same however often it
//! comes, and shown to the owner by `amesh peers`. Noted by `session`, `incoming`, `accept` and
//! `peer`; read by `report`.

use super::frames::StreamError;
use super::greet::GreetError;
use super::membership::RefuseReason;
use super::roster::RosterFault;
use amesh_proto::time::UnixMillis;
use std::collections::BTreeMap;

/// One kind of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Mail that was refused, by the refusal's code.
    Mail(&'static str),
    /// A roster that was not taken.
    Roster(RosterFault),
    /// It could not show that it is the member whose key it has.
    Greeting(RefuseReason),
    /// A member list that was not taken.
    Members,
    /// Member lists that it had sent newer ones of.
    OldMembers,
    /// It broke the link's protocol; the link was ended.
    Protocol(&'static str),
    /// It stopped in the middle of a greeting, or owed an answer and fell silent.
    Stalled,
    /// It brought more of something at once than any honest member does.
    Flood(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mail("forbidden") => f.write_str("it brought mail that is not its own"),
            Self::Mail(code) => write!(f, "it brought mail that was refused ({code})"),
            Self::Roster(fault) => write!(f, "it passed on a roster that was not taken: {fault}"),
            Self::Greeting(reason) => write!(f, "it was not let in: {reason}"),
            Self::Members => f.write_str("it sent a member list that does not hold"),
            Self::OldMembers => f.write_str("it sent member lists that are older than one it had sent"),
            Self::Protocol(how) => write!(f, "it broke the link protocol: {how}"),
            Self::Stalled => f.write_str("it fell silent while it owed an answer"),
            Self::Flood(what) => write!(f, "it brought more {what} at once than a member may"),
        }
    }
}

impl Fault {
    /// The fault that a failed greeting of a member is; none where only the path broke, or it dialled twice.
    pub(crate) fn of_greeting(error: &GreetError) -> Option<Self> {
        match error {
            GreetError::NotAdmitted(reason) => Some(Self::Greeting(*reason)),
            GreetError::TimedOut => Some(Self::Stalled),
            GreetError::Unexpected => Some(Self::Protocol("a frame that has no place in a greeting")),
            GreetError::Stream(StreamError::Frame(_)) => Some(Self::Protocol(UNREADABLE)),
            _ => None,
        }
    }

    /// The fault that a refusal of mail is, if it says something about who brought it: a mailbox that is not there may
    /// have been there when the mail was sent.
    pub(crate) fn of_mail(code: &'static str) -> Option<Self> {
        let innocent = ["not_found", "message_expired", "attachment_rejected", "duplicate_message"];
        (!innocent.contains(&code)).then_some(Self::Mail(code))
    }
}

/// What stands for every frame that does not decode.
pub(crate) const UNREADABLE: &str = "a frame that cannot be read";

/// What one peer did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(BTreeMap<Fault, Times>);

/// How often, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) last: UnixMillis,
}

impl Faults {
    /// Once more.
    pub(crate) fn note(&mut self, fault: Fault, now: UnixMillis) {
        // The kinds are few by themselves: every text in them stands in this program.
        let times = self.0.entry(fault).or_insert(Times { count: 0, last: now });
        *times = Times { count: times.count.saturating_add(1), last: now };
    }

    /// All of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Fault, &Times)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_a_thousand_times_takes_one_place_and_is_counted() {
        let mut faults = Faults::default();
        for at in 0..1000 {
            faults.note(Fault::Mail("forbidden"), UnixMillis(at));
            faults.note(Fault::Roster(RosterFault::Older), UnixMillis(at));
        }
        let noted: Vec<_> = faults.iter().collect();
        assert_eq!(noted.len(), 2);
        assert!(noted.iter().all(|(_, times)| **times == Times { count: 1000, last: UnixMillis(999) }));
        assert_eq!(noted[0].0.to_string(), "it brought mail that is not its own");
    }

    #[test]
    fn mail_for_an_agent_that_has_gone_is_nobodys_fault() {
        assert_eq!(Fault::of_mail("not_found"), None);
        assert_eq!(Fault::of_mail("signature_invalid"), Some(Fault::Mail("signature_invalid")));
    }
}
