//! One file over a stream of its own beside a link: the recipient's node asks, the sender's node answers and then
//! writes the bytes. Both messages come with their length in two bytes, so that nothing unbounded is read.

use crate::attachment::{AttachmentId, FileDigest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Asks for a file that mail for the asking node names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRequest {
    /// The file's id.
    pub id: AttachmentId,
    /// Its digest: an id alone is no file.
    pub digest: FileDigest,
}

/// The answer; with `Follows` the bytes come after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAnswer {
    /// So many bytes follow, then the stream ends.
    Follows {
        /// Bytes.
        size: u64,
    },
    /// No mail for the asking node names it.
    Unknown,
    /// It was there, and is lost.
    Gone,
    /// Not now.
    Busy,
}

/// The longest of either message, without its length.
pub const LONGEST: usize = 512;

/// The message with its length in front.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Option<Vec<u8>> {
    let body = postcard::to_stdvec(message).ok().filter(|body| body.len() <= LONGEST)?;
    let length = u16::try_from(body.len()).ok()?;
    Some([&length.to_be_bytes()[..], &body].concat())
}

/// Reads a message whose length was taken off.
#[must_use]
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_whole_and_cut_or_padded_ones_do_not() {
        let request =
            FileRequest { id: AttachmentId::parse("att_1_a").unwrap(), digest: FileDigest([7; 32]) };
        let bytes = encode(&request).unwrap();
        let body = &bytes[2..];
        assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), body.len());
        assert_eq!(decode(body), Some(request));
        assert_eq!(decode::<FileRequest>(&body[..body.len() - 1]), None);
        assert_eq!(decode::<FileRequest>(&[body, &[0]].concat()), None);
        let answer = FileAnswer::Follows { size: 1 << 40 };
        assert_eq!(decode(&encode(&answer).unwrap()[2..]), Some(answer));
    }
}
