//! Reading a JSON object member by member, so that what is wrong is named (REG-4, RTE-8). Called by the request types.

use crate::api::error::code;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Why a request body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not JSON, not an object, or an object with a key twice.
    #[error("{0}")]
    Unreadable(String),
    /// A required member is absent, null or empty.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A member has the wrong type or a value that is not allowed.
    #[error("the field `{field}` is not valid: {why}")]
    Invalid {
        /// The member.
        field: &'static str,
        /// What is expected of it.
        why: String,
    },
}

impl BadBody {
    /// The code of API-6.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => code::INVALID_REQUEST,
            Self::Missing(_) => code::MISSING_FIELD,
            Self::Invalid { .. } => code::INVALID_FIELD,
        }
    }

    /// The member at fault.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable(_) => None,
            Self::Missing(field) | Self::Invalid { field, .. } => Some(field),
        }
    }
}

/// The members of one JSON object, unread. Null counts as absent; a key that comes twice is refused (SIG-13).
#[derive(Debug, Default)]
pub struct Fields<'a> {
    members: Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Splits `body` into members.
    ///
    /// # Errors
    /// [`BadBody::Unreadable`] for anything but one JSON object with distinct keys.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadBody> {
        let text =
            std::str::from_utf8(body).map_err(|_| BadBody::Unreadable("the body is not UTF-8".to_owned()))?;
        Self::parse_text(text)
    }

    fn parse_text(text: &'a str) -> Result<Self, BadBody> {
        let unreadable = |e: serde_json::Error| {
            BadBody::Unreadable(format!("the body is not the JSON object expected here: {e}"))
        };
        let mut source = serde_json::Deserializer::from_str(text);
        let members = source.deserialize_map(Members).map_err(unreadable)?;
        source.end().map_err(unreadable)?;
        Ok(Self { members })
    }

    /// The text of a required member; empty counts as missing.
    ///
    /// # Errors
    /// [`BadBody`] naming `field`.
    pub fn text(&mut self, field: &'static str) -> Result<String, BadBody> {
        match self.optional_text(field)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(BadBody::Missing(field)),
        }
    }

    /// The text of an optional member.
    ///
    /// # Errors
    /// [`BadBody`] naming `field`.
    pub fn optional_text(&mut self, field: &'static str) -> Result<Option<String>, BadBody> {
        self.optional(field, "a string")
    }

    /// An optional member of any shape; `expected` describes it in the error.
    ///
    /// # Errors
    /// [`BadBody`] naming `field`.
    pub fn optional<T: DeserializeOwned>(
        &mut self,
        field: &'static str,
        expected: &str,
    ) -> Result<Option<T>, BadBody> {
        let Some(raw) = self.take(field) else { return Ok(None) };
        serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|_| BadBody::Invalid { field, why: format!("expected {expected}") })
    }

    /// An optional member that must be a JSON object: serde would read a struct from an array as well.
    ///
    /// # Errors
    /// [`BadBody`] naming `field`.
    pub fn optional_object<T: DeserializeOwned>(
        &mut self,
        field: &'static str,
        expected: &str,
    ) -> Result<Option<T>, BadBody> {
        if self.members.iter().any(|(name, raw)| name == field && raw.get().starts_with('[')) {
            return Err(BadBody::Invalid { field, why: format!("expected {expected}") });
        }
        self.optional(field, expected)
    }

    /// A member that is an object itself.
    ///
    /// # Errors
    /// [`BadBody`] naming `field`.
    pub fn object(&mut self, field: &'static str) -> Result<Option<Self>, BadBody> {
        let Some(raw) = self.take(field) else { return Ok(None) };
        Self::parse_text(raw.get())
            .map(Some)
            .map_err(|_| BadBody::Invalid { field, why: "expected an object with distinct keys".to_owned() })
    }

    /// A member as it was written.
    pub fn raw(&mut self, field: &'static str) -> Option<Box<RawValue>> {
        self.take(field).map(ToOwned::to_owned)
    }

    /// Whether a member is present, null or not, and still unread.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.members.iter().any(|(name, _)| name == field)
    }

    /// What nobody asked for, in the order received.
    pub fn rest(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.members.into_iter().map(|(name, raw)| (name.into_owned(), raw))
    }

    fn take(&mut self, field: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(name, _)| name == field)?;
        let (_, raw) = self.members.remove(at);
        (raw.get() != "null").then_some(raw)
    }
}

/// Collects members and refuses repeated keys; linear for small objects, hashed beyond.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(std::borrow::Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::with_capacity(12);
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(Key(key)) = map.next_key()? {
            let repeated = if members.len() < 16 {
                members.iter().any(|(name, _)| *name == key)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(name, _)| name.clone().into_owned()));
                }
                !seen.insert(key.clone().into_owned())
            };
            if repeated {
                return Err(serde::de::Error::custom(format_args!("the key {key:?} comes twice")));
            }
            members.push((key, map.next_value()?));
        }
        Ok(members)
    }
}

/// A key, borrowed when it holds no escapes.
struct Key<'a>(std::borrow::Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Key(v.into()))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Key(v.to_owned().into()))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_an_empty_and_a_null_member_are_all_missing() {
        for body in [r#"{}"#, r#"{"to":""}"#, r#"{"to":null}"#] {
            let error = Fields::parse(body.as_bytes()).unwrap().text("to").unwrap_err();
            assert_eq!((error.code(), error.field()), ("missing_field", Some("to")), "{body}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        let read = |body: &'static [u8]| {
            Fields::parse(body).unwrap().optional_object::<crate::api::register::Scope>("scope", "an object")
        };
        assert_eq!(read(br#"{"scope":["github","amesh"]}"#).unwrap_err().field(), Some("scope"));
        assert_eq!(read(br#"{"scope":{"repo":"amesh"}}"#).unwrap().unwrap().repo.as_deref(), Some("amesh"));
        assert_eq!(read(br#"{"scope":null}"#), Ok(None));
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        let error = Fields::parse(br#"{"to":7}"#).unwrap().text("to").unwrap_err();
        assert_eq!((error.code(), error.field()), ("invalid_field", Some("to")));
    }

    #[test]
    fn what_is_not_one_object_with_distinct_keys_is_unreadable() {
        let wide: String = (0..40).map(|n| format!("\"k{n}\":0,")).collect();
        let wide = format!("{{{wide}\"k20\":1}}");
        let bad = ["", "[]", "7", "{", r#"{"a":1} x"#, r#"{"a":1,"\u0061":2}"#, &wide];
        for body in bad {
            let error = Fields::parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "invalid_request", "{body}");
        }
        assert!(Fields::parse(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn what_nobody_asked_for_keeps_its_text() {
        let mut fields = Fields::parse(br#"{"to":"a","n":1.0e2}"#).unwrap();
        fields.text("to").unwrap();
        let rest: Vec<_> = fields.rest().map(|(k, v)| (k, v.get().to_owned())).collect();
        assert_eq!(rest, [("n".to_owned(), "1.0e2".to_owned())]);
    }
}
