//! A JSON object whose members keep their text. Messages are stored and changed through it, because a payload that
//! was parsed and written again may no longer match its signature (ICL-24). Called by `received` and `mailbox`.

use amesh_proto::api::fields::{BadBody, Fields};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// Members in order, each as its JSON text.
#[derive(Debug, Clone, Default)]
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads an object; one with a repeated key is refused (SIG-13).
    ///
    /// # Errors
    /// When the text is something else.
    pub fn parse(text: &str) -> Result<Self, BadBody> {
        let members = Fields::parse(text.as_bytes())?.rest();
        Ok(Self(members.map(|(name, raw)| (name, raw.to_owned())).collect()))
    }

    /// A member's text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, raw)| raw.as_ref())
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A member that is true or false.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A member that is an object; empty when it is absent or something else.
    #[must_use]
    pub fn object(&self, name: &str) -> Self {
        self.get(name).and_then(|raw| Self::parse(raw.get()).ok()).unwrap_or_default()
    }

    /// Puts a member in, or in the place of the old one.
    pub fn put_raw(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Puts a member in. What cannot be JSON is left out; nothing that is put in here is of that kind.
    pub fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if let Ok(raw) = to_raw_value(value) {
            self.put_raw(name, raw);
        }
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, raw) in &self.0 {
            map.serialize_entry(name, raw)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_one_member_leaves_the_text_of_the_others() {
        let mut object =
            RawObject::parse(r#"{"payload": {"n": 1.50, "big": 12345678901234567890123}, "a":1}"#).unwrap();
        object.put("a", &"two");
        object.put("b", &true);
        let text = serde_json::to_string(&object).unwrap();
        assert_eq!(text, r#"{"payload":{"n": 1.50, "big": 12345678901234567890123},"a":"two","b":true}"#);
    }

    #[test]
    fn a_repeated_key_is_refused() {
        assert!(RawObject::parse(r#"{"a":1,"a":2}"#).is_err());
    }
}
