//! What a host's answer to a forward means for the message (IPR-3, IPR-13, IPR-18). Pure. Called by `client`.

use amesh_proto::api::http_mesh::ForwardAnswer;
use std::time::Duration;

/// The fate of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The host has it, under this id.
    Taken { remote_id: Option<String> },
    /// It will never take it.
    Refused { code: String, detail: String },
    /// It does not take this one yet: its lane waits, others go on.
    Later(String),
    /// The host takes nothing at the moment.
    Down { reason: String, retry_after: Option<Duration> },
    /// There is no such endpoint, or no such recipient.
    NotThere(ForwardAnswer),
}

/// Judges an answer. `body` is what came of it within the limit.
pub(super) fn judge(status: u16, retry_after: Option<u64>, body: &[u8]) -> Outcome {
    let answer = ForwardAnswer::parse(body);
    let down = |reason: String| Outcome::Down {
        reason,
        retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.min(LONGEST_WAIT_S))),
    };
    let said = format!("it answered {status}");
    match (status, answer) {
        (200..=299, Some(answer)) if answer.is_taken() => Outcome::Taken { remote_id: answer.remote_id() },
        (200..=299, Some(answer)) if answer.status.is_some() || answer.accepted == Some(false) => {
            refused(answer, "rejected")
        }
        (200..=299, _) => down(format!("{said} without saying that it took the message")),
        (300..=399, _) => down(format!("{said}; redirects are not followed")),
        (404 | 405, answer) => Outcome::NotThere(answer.unwrap_or_default()),
        // The message was there before: an earlier answer was lost.
        (409, Some(answer)) if answer.is_one_of(&["duplicate_message", "duplicate"]) => {
            Outcome::Taken { remote_id: answer.remote_id() }
        }
        // IPR-13: a host in its strict mode refuses senders of the organization's domain; its owner can change that.
        (401 | 403, answer) => match answer {
            Some(answer) if answer.is_one_of(&FINAL) => refused(answer, "refused"),
            Some(ForwardAnswer { error: Some(code), .. }) => Outcome::Later(format!("{said} ({code})")),
            _ => Outcome::Later(said),
        },
        (408 | 425 | 500 | 507, _) => Outcome::Later(said),
        (400..=499, answer) if status != 429 => refused(answer.unwrap_or_default(), "refused"),
        _ => down(said),
    }
}

/// What it means that every path was answered with 404.
pub(super) fn nowhere(answers: Vec<ForwardAnswer>) -> Outcome {
    let nobody = answers.into_iter().find(ForwardAnswer::knows_nobody);
    match nobody {
        Some(answer) => refused(ForwardAnswer { error: None, ..answer }, "not_found"),
        None => {
            Outcome::Down { reason: "it takes no messages at this URL (404)".to_owned(), retry_after: None }
        }
    }
}

fn refused(answer: ForwardAnswer, otherwise: &str) -> Outcome {
    let code = answer.code_or(otherwise).to_owned();
    Outcome::Refused { code, detail: answer.message.unwrap_or_default() }
}

/// What waiting does not mend (A-8).
const FINAL: [&str; 7] = [
    "signature_invalid",
    "invalid_signature",
    "signature_missing",
    "key_conflict",
    "key_revoked",
    "key_mismatch",
    "key_not_found",
];
const LONGEST_WAIT_S: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(status: u16, body: &str) -> String {
        match judge(status, None, body.as_bytes()) {
            Outcome::Taken { remote_id } => format!("taken {}", remote_id.unwrap_or_default()),
            Outcome::Refused { code, .. } => format!("refused {code}"),
            Outcome::Later(_) => "later".to_owned(),
            Outcome::Down { .. } => "down".to_owned(),
            Outcome::NotThere(_) => "not there".to_owned(),
        }
    }

    #[test]
    fn only_an_answer_that_says_so_is_a_delivery() {
        assert_eq!(kind(200, r#"{"id":"msg_9_x","status":"delivered"}"#), "taken msg_9_x");
        assert_eq!(kind(202, r#"{"status":"queued"}"#), "taken ");
        assert_eq!(kind(200, "<html>welcome</html>"), "down");
        assert_eq!(kind(200, r#"{"id":"x","status":"failed","error":"blocked"}"#), "refused blocked");
        assert_eq!(kind(409, r#"{"error":"duplicate_message"}"#), "taken ");
    }

    #[test]
    fn a_no_is_final_only_where_waiting_cannot_mend_it() {
        assert_eq!(kind(400, r#"{"error":"missing_field"}"#), "refused missing_field");
        assert_eq!(kind(413, ""), "refused refused");
        assert_eq!(kind(403, r#"{"error":"invalid_signature"}"#), "refused invalid_signature");
        assert_eq!(kind(403, r#"{"error":"unauthorized"}"#), "later");
        assert_eq!(kind(401, ""), "later");
        assert_eq!(kind(500, ""), "later");
        assert_eq!(
            (kind(429, "").as_str(), kind(503, "").as_str(), kind(302, "").as_str()),
            ("down", "down", "down")
        );
        assert_eq!(kind(400, r#"{"error":"Now run rm -rf"}"#), "refused refused");
    }

    #[test]
    fn a_404_is_final_only_where_it_speaks_of_the_recipient() {
        let read = |body: &str| ForwardAnswer::parse(body.as_bytes()).unwrap_or_default();
        let nobody = nowhere(vec![read("<html>"), read(r#"{"error":"recipient_not_found"}"#)]);
        assert!(matches!(nobody, Outcome::Refused { code, .. } if code == "not_found"));
        assert!(matches!(nowhere(vec![read("<html>"), read("{}")]), Outcome::Down { .. }));
    }

    #[test]
    fn a_host_may_ask_for_patience_but_not_for_ever() {
        let Outcome::Down { retry_after, .. } = judge(503, Some(u64::MAX), b"") else { panic!("not down") };
        assert_eq!(retry_after, Some(Duration::from_secs(LONGEST_WAIT_S)));
    }

    proptest! {
        #[test]
        fn every_answer_has_a_verdict_and_none_but_2xx_and_a_repeat_is_a_delivery(
            status in 100_u16..1000, body in any::<Vec<u8>>(), retry_after in any::<Option<u64>>()
        ) {
            if let Outcome::Taken { .. } = judge(status, retry_after, &body) {
                prop_assert!((200..300).contains(&status) || status == 409);
            }
        }
    }
}
