//! What a provider's answer to a delivery means for the message (FED-12, FED-13, A-29, A-48). Pure. Called by `client`.

use amesh_proto::api::http_mesh::ForwardAnswer;
use amesh_proto::delivery;
use std::time::Duration;

/// The fate of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The provider has it.
    Taken(Box<ForwardAnswer>),
    /// It will never take it.
    Refused { code: String, detail: String },
    /// It does not take this one yet: its lane waits, others go on.
    Later { reason: String, patience: Option<Duration> },
    /// It takes nothing at the moment.
    Down { reason: String, patience: Option<Duration> },
    /// There is no such endpoint, or no such recipient.
    NotThere(Box<ForwardAnswer>),
}

impl Outcome {
    pub(super) fn down(reason: impl Into<String>) -> Self {
        Self::Down { reason: reason.into(), patience: None }
    }
}

/// Judges an answer; `patience` is its `Retry-After`. `is_old` says that the message has waited longer than others let an
/// envelope stay fresh.
pub(super) fn judge(status: u16, patience: Option<Duration>, body: &[u8], is_old: bool) -> Outcome {
    let answer = ForwardAnswer::parse(body);
    let said = format!("it answered {status}");
    let down = |reason: String| Outcome::Down { reason, patience };
    let later = |reason: String| Outcome::Later { reason, patience };
    match (status, answer) {
        (200..=299, Some(answer)) if delivery::is_taken(&answer) => Outcome::Taken(Box::new(answer)),
        (200..=299, Some(answer)) if answer.status.is_some() || answer.accepted.is_some() => {
            refused(&answer, "rejected")
        }
        (200..=299, _) => down(format!("{said} without saying that it took the message")),
        (300..=399, _) => down(format!("{said}; redirects are not followed")),
        // The bare word is also what is answered where there is no such endpoint.
        (404, Some(answer)) if is_amp(&answer) && !answer.is_one_of(&["not_found"]) => {
            refused(&answer, "not_found")
        }
        (404 | 405, answer) => Outcome::NotThere(Box::new(answer.unwrap_or_default())),
        // The message was there before: an earlier answer was lost.
        (409, Some(answer)) if answer.is_one_of(&["duplicate_message", "duplicate"]) => {
            Outcome::Taken(Box::new(answer))
        }
        (_, Some(answer)) if answer.is_one_of(&["timestamp_future"]) => clocks(&answer),
        // A-48: some judge the envelope by the rule for new mail. Of a new message it is the clocks that differ.
        (_, Some(answer)) if answer.is_one_of(&["timestamp_expired"]) && !is_old => clocks(&answer),
        (408 | 425 | 429 | 500 | 507, answer) => later(with_code(said, answer.as_ref())),
        (501..=599, answer) => down(with_code(said, answer.as_ref())),
        (401 | 403, Some(answer)) if is_amp(&answer) => refused(&answer, "refused"),
        // Not a word of a provider's: something before it is in the way.
        (401 | 403 | 407 | 421 | 426 | 451, _) => down(said),
        (400..=499, answer) => refused(&answer.unwrap_or_default(), "refused"),
        _ => down(said),
    }
}

/// What it means that every path was answered with 404.
pub(super) fn nowhere(answers: Vec<ForwardAnswer>) -> Outcome {
    match answers.into_iter().find(ForwardAnswer::knows_nobody) {
        Some(answer) => refused(&answer, "not_found"),
        None => Outcome::down("it takes no deliveries at its endpoint (404)"),
    }
}

fn refused(answer: &ForwardAnswer, otherwise: &str) -> Outcome {
    let code = answer.code_or(otherwise).to_owned();
    let detail = answer.message.iter().flat_map(|message| message.chars()).take(DETAIL).collect();
    Outcome::Refused { code, detail }
}

fn clocks(answer: &ForwardAnswer) -> Outcome {
    let code = answer.error.as_deref().unwrap_or_default();
    Outcome::down(format!("its clock and the one here differ too much ({code})"))
}

fn is_amp(answer: &ForwardAnswer) -> bool {
    answer.error.is_some() || answer.accepted == Some(false)
}

fn with_code(said: String, answer: Option<&ForwardAnswer>) -> String {
    match answer.map(|answer| answer.code_or("")) {
        Some(code) if !code.is_empty() => format!("{said} ({code})"),
        _ => said,
    }
}

/// Characters of a provider's own words that are kept.
const DETAIL: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn kind(status: u16, body: &str) -> String {
        word(judge(status, MINUTE, body.as_bytes(), false))
    }

    fn word(outcome: Outcome) -> String {
        match outcome {
            Outcome::Taken(answer) => {
                format!("taken {}", answer.id.unwrap_or_default()).trim_end().to_owned()
            }
            Outcome::Refused { code, .. } => format!("refused {code}"),
            Outcome::Later { patience, .. } => format!("later {}", patience.is_some()),
            Outcome::Down { patience, .. } => format!("down {}", patience.is_some()),
            Outcome::NotThere(_) => "not there".to_owned(),
        }
    }

    #[test]
    fn every_known_shape_of_yes_is_one_and_a_page_of_somebody_else_is_none() {
        for yes in [
            r#"{"accepted":true,"id":"msg_1_a","delivered":true,"method":"websocket"}"#,
            r#"{"id":"msg_1_a","status":"queued","method":"relay","queued_at":"2026-01-01T00:00:00Z"}"#,
        ] {
            assert_eq!(kind(200, yes), "taken msg_1_a");
        }
        assert_eq!(kind(202, r#"{"status":"delivered"}"#), "taken");
        assert_eq!(kind(409, r#"{"accepted":false,"error":"duplicate_message"}"#), "taken");
        for other in ["", "<html>welcome to the hotel</html>", "[]", "{}", r#"{"hello":1}"#] {
            assert_eq!(kind(200, other), "down true", "{other}");
        }
        assert_eq!(
            kind(200, r#"{"accepted":false,"error":"recipient_not_found"}"#),
            "refused recipient_not_found"
        );
        assert_eq!(kind(200, r#"{"status":"failed","id":"msg_1_a"}"#), "refused failed");
    }

    #[test]
    fn a_no_for_good_is_the_providers_own_word_and_everything_else_is_tried_again() {
        for (status, body, meant) in [
            (403, r#"{"accepted":false,"error":"provider_not_trusted"}"#, "refused provider_not_trusted"),
            (404, r#"{"accepted":false,"error":"recipient_not_found"}"#, "refused recipient_not_found"),
            (401, r#"{"error":"signature_invalid"}"#, "refused signature_invalid"),
            (400, r#"{"error":"invalid_field"}"#, "refused invalid_field"),
            (413, "", "refused refused"),
            (422, "<html>", "refused refused"),
            (400, r#"{"error":"<b>so long</b>"}"#, "refused refused"),
            (429, r#"{"error":"rate_limited","retry_after":9}"#, "later true"),
            (500, "", "later true"),
            (507, r#"{"error":"queue_full"}"#, "later true"),
            (503, "", "down true"),
            (502, "<html>bad gateway</html>", "down true"),
            (301, "", "down true"),
            (403, "<html>forbidden by your firewall</html>", "down true"),
            (401, "", "down true"),
            (404, "", "not there"),
            (405, "", "not there"),
            (404, r#"{"error":"not_found"}"#, "not there"),
        ] {
            assert_eq!(kind(status, body), meant, "{status} {body}");
        }
    }

    #[test]
    fn what_no_path_knows_is_nobody_only_where_a_provider_says_so() {
        let answer = |error: Option<&str>| ForwardAnswer {
            error: error.map(str::to_owned),
            ..ForwardAnswer::default()
        };
        assert_eq!(word(nowhere(vec![answer(None), answer(Some("not_found"))])), "refused not_found");
        assert_eq!(word(nowhere(vec![answer(None), answer(Some("no_route"))])), "down false");
    }

    #[test]
    fn old_mail_that_is_too_late_for_a_provider_comes_back_and_new_mail_waits_for_the_clocks() {
        let late = br#"{"error":"timestamp_expired"}"#;
        assert_eq!(word(judge(400, None, late, true)), "refused timestamp_expired");
        assert_eq!(word(judge(400, None, late, false)), "down false");
        assert_eq!(word(judge(400, None, br#"{"error":"timestamp_future"}"#, true)), "down false");
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(status in 100_u16..1000, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Outcome::Refused { code, .. } = judge(status, None, &body, true) {
                prop_assert!(code.len() <= 64 && (400..500).contains(&status) || (200..300).contains(&status));
            }
        }
    }
}
