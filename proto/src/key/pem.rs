//! The texts that keys travel in: PEM, hex, base64. Called by [`super::PublicKey`] and [`super::AgentKey`].

use super::KeyError;
use crate::{fixed, limits};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// A key text, decoded.
pub(super) enum Text {
    /// A `SubjectPublicKeyInfo`, not yet looked at.
    Der(Vec<u8>),
    /// A bare Ed25519 key.
    Raw([u8; 32]),
}

/// Tells PEM, 64 hex digits and base64 apart.
pub(super) fn read(text: &str) -> Result<Text, KeyError> {
    if text.len() > limits::PUBLIC_KEY_TEXT {
        return Err(KeyError::Encoding);
    }
    if text.contains("-----BEGIN") {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        return read_labelled(text, "PUBLIC KEY").map(|der| Text::Der(der.to_vec()));
    }
    let text = text.trim();
    if let Some(raw) = fixed::from_hex(text) {
        return Ok(Text::Raw(raw));
    }
    let der = BASE64_STANDARD.decode(text).map_err(|_| KeyError::Encoding)?;
    Ok(<[u8; 32]>::try_from(&der[..]).map_or(Text::Der(der), Text::Raw))
}

/// The bytes of the one PEM block with this label. Line breaks and blanks inside do not matter.
pub(super) fn read_labelled(text: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (_, rest) = text.split_once(&begin).ok_or(KeyError::Encoding)?;
    let (body, after) = rest.split_once(&end).ok_or(KeyError::Encoding)?;
    if after.contains("-----BEGIN") {
        return Err(KeyError::Encoding);
    }
    let body = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    BASE64_STANDARD.decode(&*body).map(Zeroizing::new).map_err(|_| KeyError::Encoding)
}

/// PEM with lines of 64 characters and a final newline, as OpenSSL writes it.
pub(super) fn write(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(BASE64_STANDARD.encode(der));
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
