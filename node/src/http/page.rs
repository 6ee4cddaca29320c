//! `limit` and `cursor` of lists (API-9, A-63), and query strings in general.

use crate::http::error::Problem;
use amesh_proto::api::error::code;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::borrow::Cow;
use std::time::Duration;

/// The parameters of every list, for the API's document; handlers read them through [`Query`].
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct PageParams {
    /// At most so many; 100 unless given, and never more.
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// Where an earlier page ended: its `cursor`.
    cursor: Option<String>,
}

/// A message's id in the path, for the API's document.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct IdParam {
    /// A message's id.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9_-]+$",
        example = "msg_1790000000_a1b2c3"
    )]
    id: String,
}

/// The members of a query string, decoded; the first of a name counts.
#[derive(Debug)]
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Splits a query string.
    pub(crate) fn parse(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The value of `name`, unless it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref()).filter(|v| !v.is_empty())
    }

    /// `limit`: 100 unless given, never more.
    ///
    /// # Errors
    /// 400 `invalid_field` for what is not a number from 1.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let Some((_, text)) = self.0.iter().find(|(name, _)| name == "limit") else { return Ok(MAX) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<usize>() {
            Ok(limit) if limit > 0 => Ok(limit.min(MAX)),
            // More digits than fit are still a number from 1, and clamp.
            Err(_) if digits => Ok(MAX),
            _ => Err(Problem::invalid("limit", format!("expected a number from 1 to {MAX}"))),
        }
    }

    /// The position that an earlier page ended at.
    ///
    /// # Errors
    /// 400 `invalid_field` for what [`cursor`] did not make.
    pub(crate) fn cursor(&self) -> Result<Option<String>, Problem> {
        self.position("cursor")
    }

    /// The same under another name.
    ///
    /// # Errors
    /// As [`Self::cursor`].
    pub(crate) fn position(&self, name: &'static str) -> Result<Option<String>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let inner = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        match inner.as_deref().and_then(|inner| inner.strip_prefix(MARK)) {
            Some(position) => Ok(Some(position.to_owned())),
            None => Err(bad_cursor().field(name)),
        }
    }

    /// `wait`: seconds to wait for something new, 30 at most; none unless given.
    ///
    /// # Errors
    /// 400 `invalid_field` for what is not a number.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, Problem> {
        let Some((_, text)) = self.0.iter().find(|(name, _)| name == "wait") else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(Problem::invalid(
                "wait",
                format!("expected a number of seconds up to {LONGEST_WAIT}"),
            ));
        }
        let seconds = text.parse().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// Refuses API keys in the query string (WS-1): they end up in logs and histories.
    ///
    /// # Errors
    /// 400 `invalid_request`.
    pub(crate) fn refuse_tokens(&self) -> Result<(), Problem> {
        let secret = |name: &str| ["token", "api_key", "apikey", "access_token", "key"].contains(&name);
        if self.0.iter().any(|(name, value)| secret(name) || value.starts_with("amp_")) {
            return Err(Problem::new(
                code::INVALID_REQUEST,
                "API keys are not accepted in the query string; send the auth frame or the Authorization header",
            ));
        }
        Ok(())
    }
}

/// A cursor that no page gave.
pub(crate) fn bad_cursor() -> Problem {
    Problem::invalid("cursor", "expected the cursor of an earlier page")
}

/// An opaque cursor for `position`.
pub(crate) fn cursor(position: &dyn std::fmt::Display) -> String {
    URL_SAFE_NO_PAD.encode(format!("{MARK}{position}"))
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

const MAX: usize = 100;
const LONGEST_WAIT: u64 = 30;
const MARK: &str = "1:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_clamped_or_refused() {
        let limit = |query| Query::parse(Some(query)).limit().map_err(|p| p.code());
        assert_eq!(limit(""), Ok(100));
        assert_eq!(limit("limit=7"), Ok(7));
        assert_eq!(limit("limit=5000"), Ok(100));
        assert_eq!(limit("limit=99999999999999999999999"), Ok(100));
        for bad in ["limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5", "limit=%20"] {
            assert_eq!(limit(bad), Err("invalid_field"), "{bad}");
        }
    }

    #[test]
    fn a_cursor_comes_back_and_a_made_up_one_does_not() {
        let text = cursor(&17);
        let query = format!("cursor={text}");
        assert_eq!(Query::parse(Some(&query)).cursor().unwrap().as_deref(), Some("17"));
        for bad in ["cursor=17", "cursor=%ff%fe", "cursor=a"] {
            assert!(Query::parse(Some(bad)).cursor().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wait_is_cut_to_half_a_minute_or_refused() {
        let wait = |query| Query::parse(Some(query)).wait().map_err(|p| p.code());
        assert_eq!(wait(""), Ok(None));
        assert_eq!(wait("wait=0"), Ok(None));
        assert_eq!(wait("wait=7"), Ok(Some(Duration::from_secs(7))));
        assert_eq!(wait("wait=31"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(wait("wait=99999999999999999999999"), Ok(Some(Duration::from_secs(30))));
        for bad in ["wait=", "wait=-1", "wait=x", "wait=1.5"] {
            assert_eq!(wait(bad), Err("invalid_field"), "{bad}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_and_broken_encoding_survives() {
        let query = Query::parse(Some("id=msg%5F1%5Fa&x=a+b&y=%zz%4"));
        assert_eq!(query.get("id"), Some("msg_1_a"));
        assert_eq!(query.get("x"), Some("a b"));
        assert_eq!(query.get("y"), Some("%zz%4"));
    }
}
