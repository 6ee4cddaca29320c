//! Message ids: reading what others mint and minting our own. Called by every door and by the client.

use crate::guards::{self, Guard};
use crate::limits;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A well-formed message id: `msg_<time>_<suffix>` or `msg-<time>-<suffix>` (A-25, ICL-20).
///
/// It holds no character that is special in a path, a URL or a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(String);

/// Why a text is no message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Longer than any id we store.
    #[error("message id is longer than {} characters", limits::MESSAGE_ID_LEN)]
    TooLong,
    /// Not of the shape `msg_<digits>_<letters and digits>`.
    #[error("message id must look like msg_<unix time>_<letters and digits>")]
    Malformed,
}

impl MessageId {
    /// Reads an id as others write it; refuses everything that A-25 does not accept.
    ///
    /// # Errors
    /// When the text is too long or of another shape.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > limits::MESSAGE_ID_LEN {
            return Err(IdError::TooLong);
        }
        if is_well_formed(text) || guards::is_down(Guard::IdShape) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Malformed)
        }
    }

    /// Mints `msg_<unix seconds>_<16 lowercase hex>` from randomness that the caller brings.
    #[must_use]
    pub fn mint(now: UnixMillis, random: [u8; 8]) -> Self {
        Self(format!("msg_{}_{:016x}", now.as_secs(), u64::from_be_bytes(random)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_well_formed(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("msg_").or_else(|| text.strip_prefix("msg-")) else {
        return false;
    };
    let Some(end) = rest.find(['_', '-']) else { return false };
    let (time, suffix) = (&rest[..end], &rest[end + 1..]);
    !time.is_empty()
        && time.bytes().all(|b| b.is_ascii_digit())
        && !suffix.is_empty()
        && suffix.bytes().all(|b| b.is_ascii_alphanumeric())
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for MessageId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MessageId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

impl std::str::FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{IdError, MessageId};
    use crate::guards::{Guard, without};
    use crate::time::UnixMillis;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn ids_of_every_known_client_are_accepted() {
        for id in ["msg_1706648400_abc123", "msg_1706648400123_Zz9", "msg-1-a", "msg_1-a", "msg-1_a"] {
            assert_eq!(MessageId::parse(id).map(|id| id.to_string()).as_deref(), Ok(id));
        }
    }

    #[test]
    fn an_id_names_no_file_elsewhere_and_would_without_the_guard() {
        for text in ["/etc/passwd", "msg_1_/../../.ssh/id", "../sent/msg_1_a"] {
            let id = without(Guard::IdShape, "any: ids with path characters", || MessageId::parse(text));
            let file = Path::new("/home/bob/inbox").join(format!("{}.json", id.unwrap()));
            let leads_out = file.is_absolute() && !file.starts_with("/home/bob/inbox")
                || file.components().any(|part| part == Component::ParentDir);
            assert!(leads_out, "{text}");
            assert_eq!(MessageId::parse(text), Err(IdError::Malformed));
        }
    }

    #[test]
    fn what_could_be_a_path_or_is_incomplete_is_refused() {
        for id in [
            "",
            "msg_",
            "msg__a",
            "msg_1_",
            "msg_1_a/b",
            "msg_1_..",
            "msg_1_a_b",
            "msg_x_a",
            "MSG_1_a",
            "msg_1_é",
        ] {
            assert_eq!(MessageId::parse(id), Err(IdError::Malformed), "{id}");
        }
        assert_eq!(MessageId::parse(&format!("msg_1_{}", "a".repeat(300))), Err(IdError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_minted_is_well_formed(ms in any::<u64>(), random in any::<[u8; 8]>()) {
            let id = MessageId::mint(UnixMillis(ms), random);
            prop_assert_eq!(MessageId::parse(id.as_str()), Ok(id));
        }
    }
}
