//! The certificate of the running node's doors: whether clients still believe it, and what its files hold by now. Called by `doctor`.

use super::Check;
use amesh_proto::api::control::CertificateFacts;
use amesh_proto::time::UnixMillis;
use std::time::Duration;

/// Renewals that work come a month before the end; this is time enough to do one by hand.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn check(shown: &CertificateFacts, now: UnixMillis) -> Check {
    let until = &shown.in_force_until;
    if let Some(trouble) = &shown.trouble {
        let what = format!(
            "its files cannot be used, and the one from before, in force until {until}, is shown: {trouble}"
        );
        return Check::bad("certificate", what)
            .mend("put both files right; the node looks at them again by itself");
    }
    let end = UnixMillis::parse_rfc3339(until).unwrap_or_default();
    let renew = "renew it; the node takes the new files by itself";
    if end <= now {
        return Check::bad("certificate", format!("it ended at {until}: nobody believes this node's doors"))
            .mend(renew);
    }
    if end <= now.plus(SOON) {
        return Check::warn("certificate", format!("it ends soon, at {until}")).mend(renew);
    }
    Check::ok("certificate", format!("in force until {until}"))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_its_end_and_named_after_it() {
        let now = UnixMillis::parse_rfc3339("2026-11-23T00:00:00Z").unwrap();
        for (until, state) in [
            ("2027-02-01T00:00:00Z", State::Ok),
            ("2026-12-01T00:00:00Z", State::Warning),
            ("2026-11-22T23:59:59Z", State::Problem),
        ] {
            let facts = CertificateFacts { in_force_until: until.to_owned(), trouble: None };
            let check = check(&facts, now);
            assert_eq!((check.state, check.mend.is_some()), (state, state != State::Ok), "{until}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_a_problem_though_the_old_certificate_holds() {
        let facts = CertificateFacts {
            in_force_until: "2027-02-01T00:00:00Z".to_owned(),
            trouble: Some("tls.key: it is open to others".to_owned()),
        };
        let check = check(&facts, UnixMillis::parse_rfc3339("2026-11-23T00:00:00Z").unwrap());
        assert!(check.state == State::Problem && check.what.contains("tls.key"), "{check:?}");
    }
}
