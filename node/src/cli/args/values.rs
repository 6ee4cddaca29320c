//! Turns single words of the command line into values, or says what is wrong with them (exit code 2).

use std::time::Duration;

/// The types of AMP 04 §Message Types (MSG-7); others need a namespace.
const TYPES: [&str; 10] =
    ["request", "response", "notification", "alert", "task", "status", "handoff", "ack", "update", "system"];

/// `90s`, `15m`, `2h`, `7d`; a bare number means seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => return Err(format!("`{other}` is not a unit of time; use s, m, h or d")),
    };
    let number: u64 = digits.parse().map_err(|_| "write a number and a unit, such as 15m".to_owned())?;
    match number.checked_mul(unit) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("the time must be longer than nothing and shorter than for ever".to_owned()),
    }
}

/// MSG-3.
pub(super) fn priority(text: &str) -> Result<String, String> {
    match text {
        "urgent" | "high" | "normal" | "low" => Ok(text.to_owned()),
        _ => Err("a priority is urgent, high, normal or low".to_owned()),
    }
}

/// MSG-7: a type of the protocol, or a namespaced one.
pub(super) fn message_type(text: &str) -> Result<String, String> {
    let namespaced = text.split_once(':').is_some_and(|(space, name)| !space.is_empty() && !name.is_empty());
    if TYPES.contains(&text) || namespaced {
        return Ok(text.to_owned());
    }
    Err(format!("a type is one of {}; or your own with a namespace, such as github:issue", TYPES.join(", ")))
}

/// CLI-10: ids become file names, so nothing else gets past here.
pub(super) fn message_id(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("msg_").or_else(|| text.strip_prefix("msg-"));
    let parts = rest.and_then(|rest| rest.split_once(['_', '-']));
    match parts {
        Some((time, random))
            if !time.is_empty()
                && time.bytes().all(|b| b.is_ascii_digit())
                && !random.is_empty()
                && random.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("an id looks like msg_1706648400_a1b2c3".to_owned()),
    }
}

/// A JSON object, kept as typed: its tokens are signed (ICL-24).
pub(super) fn json_object(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("the context must be a JSON object: {why}")),
    }
}
