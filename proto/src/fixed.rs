//! Serde for byte arrays of a fixed length: exactly N bytes in binary formats, lowercase hex in text ones.
//! Used through `#[serde(with = "crate::fixed")]` by every signed or hashed field of this crate.

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};
use std::fmt;

/// Lowercase hex of `bytes`.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// The N bytes written as `text`, in either letter case; `None` for anything else.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *slot = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

pub(crate) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], out: S) -> Result<S::Ok, S::Error> {
    if out.is_human_readable() {
        return out.serialize_str(&to_hex(bytes));
    }
    let mut tuple = out.serialize_tuple(N)?;
    for byte in bytes {
        tuple.serialize_element(byte)?;
    }
    tuple.end()
}

pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(input: D) -> Result<[u8; N], D::Error> {
    if input.is_human_readable() {
        input.deserialize_str(Bytes::<N>)
    } else {
        input.deserialize_tuple(N, Bytes::<N>)
    }
}

struct Bytes<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
    type Value = [u8; N];

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{N} bytes, in text as {} hex digits", N * 2)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
        from_hex(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
        let mut bytes = [0; N];
        for (at, slot) in bytes.iter_mut().enumerate() {
            *slot = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(bytes)
    }
}
