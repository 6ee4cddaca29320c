//! How an [`Address`] is written: as its text in JSON, with the provider's offset beside it in postcard.
//!
//! Binary readers know no own domains, and a mailbox read years later must not see another tenant.

use super::{Address, is_suffix_of};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.text)
        } else {
            (&*self.text, self.provider).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            return Self::parse(&text, &[]).map_err(de::Error::custom);
        }
        let (text, provider) = <(&str, u8)>::deserialize(deserializer)?;
        let own = text.get(usize::from(provider)..).unwrap_or_default();
        let address = Self::parse(text, &[own]).map_err(de::Error::custom)?;
        // Frames come from strangers: an offset that no parser could have chosen is refused.
        if address.provider == provider && is_suffix_of(own, address.domain()) {
            Ok(address)
        } else {
            Err(de::Error::custom("provider offset does not fit the address"))
        }
    }
}
