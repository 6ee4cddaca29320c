//! Records by which a node is known before anybody talks to it: the TXT record of multicast DNS (DESIGN §3). Built and
//! parsed by `discovery`.
//!
//! The TXT record holds the protocol version, the node id and a short hash of the mesh id, and nothing else: whatever
//! is multicast is public.

use crate::node_id::NodeId;
use std::str::FromStr;

/// The TXT record of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxtRecord {
    /// Whose record it is, says the record.
    pub node: NodeId,
    /// Short hash of the mesh id; `None` before the node is in a mesh.
    pub mesh: Option<[u8; 8]>,
}

/// Why a TXT record is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxtError {
    /// `v` is missing or another version.
    #[error("protocol version is missing or not {TXT_VERSION}")]
    Version,
    /// `id` is missing or no node id.
    #[error("node id is missing or malformed")]
    Node,
    /// `m` is not 16 hex digits.
    #[error("mesh hash is malformed")]
    Mesh,
}

impl TxtRecord {
    /// The key and value pairs of the record, in their order.
    #[must_use]
    pub fn properties(&self) -> Vec<(String, String)> {
        let mut properties =
            vec![("v".to_owned(), TXT_VERSION.to_owned()), ("id".to_owned(), self.node.to_string())];
        if let Some(mesh) = self.mesh {
            properties.push(("m".to_owned(), format!("{:016x}", u64::from_be_bytes(mesh))));
        }
        properties
    }

    /// Reads a record; the first of equal keys counts and unknown keys are skipped (RFC 6763 §6.4).
    ///
    /// # Errors
    /// When a field is missing or malformed; nothing of such a record is used.
    pub fn parse<'a>(properties: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, TxtError> {
        let (mut version, mut node, mut mesh) = (None, None, None);
        for (key, value) in properties {
            let field = match key.to_ascii_lowercase().as_str() {
                "v" => &mut version,
                "id" => &mut node,
                "m" => &mut mesh,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        if version != Some(TXT_VERSION.as_bytes()) {
            return Err(TxtError::Version);
        }
        let node = node.and_then(|text| std::str::from_utf8(text).ok()).ok_or(TxtError::Node)?;
        let node = NodeId::from_str(node).map_err(|_| TxtError::Node)?;
        let mesh = mesh.map(parse_mesh_hash).transpose()?;
        Ok(Self { node, mesh })
    }
}

fn parse_mesh_hash(text: &[u8]) -> Result<[u8; 8], TxtError> {
    let plain = text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| plain).ok_or(TxtError::Mesh)?;
    u64::from_str_radix(text, 16).map(u64::to_be_bytes).map_err(|_| TxtError::Mesh)
}

/// Version of the link protocol, as multicast.
pub const TXT_VERSION: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(properties: &[(String, String)]) -> Result<TxtRecord, TxtError> {
        TxtRecord::parse(properties.iter().map(|(key, value)| (key.as_str(), value.as_bytes())))
    }

    fn record(mesh: Option<[u8; 8]>) -> TxtRecord {
        TxtRecord { node: NodeId::from_bytes([7; 32]), mesh }
    }

    #[test]
    fn a_record_says_version_node_and_mesh_and_nothing_else() {
        let keys: Vec<String> = record(Some([1; 8])).properties().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["v", "id", "m"]);
    }

    #[test]
    fn a_record_that_is_not_ours_is_refused_by_its_first_fault() {
        let mut properties = record(None).properties();
        properties.push(("m".into(), "xyz".into()));
        assert_eq!(parse(&properties), Err(TxtError::Mesh));
        properties[1].1 = "12D3KooWnot".into();
        assert_eq!(parse(&properties), Err(TxtError::Node));
        properties[0].1 = "2".into();
        assert_eq!(parse(&properties), Err(TxtError::Version));
        assert_eq!(parse(&[]), Err(TxtError::Version));
    }

    #[test]
    fn the_first_of_equal_keys_counts() {
        let mut properties = record(Some([1; 8])).properties();
        properties.push(("M".into(), "ff".repeat(8)));
        assert_eq!(parse(&properties), Ok(record(Some([1; 8]))));
    }

    proptest! {
        #[test]
        fn what_is_built_is_what_is_parsed(mesh in proptest::option::of(any::<[u8; 8]>())) {
            prop_assert_eq!(parse(&record(mesh).properties()), Ok(record(mesh)));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(key in "[vidm]{1,2}", value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _outcome = TxtRecord::parse([("v", b"1".as_slice()), (key.as_str(), value.as_slice())]);
        }
    }
}
