//! The documents in which a provider says where it is and which key it has: the DNS TXT record, the well-known document and
//! the registry's entry (AMP 06 §Provider Discovery, FED-1…4). Read by `discovery`, which decides what of it is believed.
//!
//! All of them are read leniently (A-21, IPR-15): unknown members are skipped, versions are never branched on but for an
//! explicit major version that this program does not know.

use crate::json::{Document, Node, Text, parse_object};
use crate::key::{KeyAlgorithm, PublicKey};

/// What one document says of a provider. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The base of its API: `https://…`, without a slash at the end.
    pub endpoint: String,
    /// Of its key, as it was written.
    pub fingerprint: Option<String>,
    /// Its key, where the document holds it.
    pub key: Option<PublicKey>,
    /// What it says it can do.
    pub capabilities: Vec<String>,
    /// Whether the registry says that it has checked the provider.
    pub verified: bool,
}

/// Why a document is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Neither a record nor a document of AMP.
    #[error("it is no AMP record")]
    Foreign,
    /// An explicit major version from 2 on.
    #[error("it is of version {0:?}, which this node does not speak")]
    Version(String),
    /// A member is missing or is something else.
    #[error("{field}: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key is not the one that the document announces itself (FED-6).
    #[error("its public_key is not the key of its fingerprint")]
    Contradiction,
}

impl Announcement {
    /// Reads `v=AMP1; endpoint=<url>; pubkey=<fingerprint>[; capabilities=a,b]` (FED-2), in any order and spacing. Of members
    /// that stand twice the first counts.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn from_txt(text: &str) -> Result<Self, Unusable> {
        let member = |name: &str| {
            let mut members = text.split(';').filter_map(|member| member.split_once('='));
            members.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let version = member("v").ok_or(Unusable::Foreign)?;
        if !version.to_ascii_uppercase().starts_with("AMP") {
            return Err(Unusable::Foreign);
        }
        speaks(version)?;
        let fingerprint = member("pubkey").ok_or_else(|| missing("pubkey"))?;
        Ok(Self {
            endpoint: endpoint(member("endpoint"))?,
            fingerprint: Some(fingerprint_of(fingerprint, "pubkey")?),
            key: None,
            capabilities: listed(member("capabilities").unwrap_or_default().split(',')),
            verified: false,
        })
    }

    /// Reads `/.well-known/agent-messaging.json` (FED-3). A provider may have no key there (IPR-15).
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn from_well_known(text: &[u8]) -> Result<Self, Unusable> {
        let document = parse_object(text).map_err(|_| Unusable::Foreign)?;
        speaks(&text_of(&document, "version").ok_or(Unusable::Foreign)?)?;
        let pem = text_of(&document, "public_key");
        let key = pem
            .map(|pem| {
                PublicKey::parse(&pem, KeyAlgorithm::Ed25519).map_err(|_| bad("public_key", "it is no key"))
            })
            .transpose()?;
        let fingerprint =
            text_of(&document, "fingerprint").map(|text| fingerprint_of(&text, "fingerprint")).transpose()?;
        if let (Some(key), Some(fingerprint)) = (&key, &fingerprint)
            && !key.matches_fingerprint(fingerprint)
        {
            return Err(Unusable::Contradiction);
        }
        let endpoint = endpoint(text_of(&document, "endpoint").as_deref())?;
        Ok(Self { endpoint, fingerprint, key, capabilities: capabilities(&document), verified: false })
    }

    /// Reads the registry's entry for `domain` (FED-4).
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn from_registry(text: &[u8], domain: &str) -> Result<Self, Unusable> {
        let document = parse_object(text).map_err(|_| Unusable::Foreign)?;
        let provider = text_of(&document, "provider").ok_or_else(|| missing("provider"))?;
        if !provider.eq_ignore_ascii_case(domain) {
            return Err(bad("provider", "it is another provider"));
        }
        let fingerprint = text_of(&document, "fingerprint").ok_or_else(|| missing("fingerprint"))?;
        let verified = document.member("verified").is_some_and(|member| member.raw == "true");
        Ok(Self {
            endpoint: endpoint(text_of(&document, "endpoint").as_deref())?,
            fingerprint: Some(fingerprint_of(&fingerprint, "fingerprint")?),
            key: None,
            capabilities: Vec::new(),
            verified,
        })
    }
}

/// Whether a name is of the local network, so that nobody outside is asked for it (ADR-12). Names of one label are, too.
#[must_use]
pub fn stays_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.rsplit_once('.') {
        Some((_, last)) => matches!(last, "local" | "internal" | "localhost"),
        None => true,
    }
}

/// Whether a URL's path ends in `/v1` or the like, so that it is the base of an API as it stands.
#[must_use]
pub fn is_versioned(path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last.strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Where a provider whose API is at `endpoint` may take deliveries, the likeliest first.
#[must_use]
pub fn delivery_urls(endpoint: &str) -> Vec<String> {
    let base = endpoint.trim_end_matches('/');
    let (_, after) = base.split_once("://").unwrap_or(("", base));
    let path = after.find('/').map_or("", |at| &after[at..]);
    if is_versioned(path) {
        return vec![format!("{base}/federation/deliver")];
    }
    match base.strip_suffix("/api").filter(|_| path.ends_with("/api")) {
        Some(_) => vec![format!("{base}/v1/federation/deliver")],
        None => vec![format!("{base}/v1/federation/deliver"), format!("{base}/api/v1/federation/deliver")],
    }
}

/// The `public_key` of `GET /info`, where there is a whole one (FED-6).
#[must_use]
pub fn key_in(info: &[u8]) -> Option<PublicKey> {
    PublicKey::parse(&text_of(&parse_object(info).ok()?, "public_key")?, KeyAlgorithm::Ed25519).ok()
}

fn text_of(document: &Document<'_>, name: &str) -> Option<String> {
    document.member(name)?.value.as_text().map(|text| text.decode().into_owned())
}

fn capabilities(document: &Document<'_>) -> Vec<String> {
    let Some(Node::Array(items)) = document.member("capabilities").map(|member| &member.value) else {
        return Vec::new();
    };
    let words: Vec<_> = items.iter().filter_map(Node::as_text).map(Text::decode).collect();
    listed(words.iter().map(AsRef::as_ref))
}

/// Short words only: they are shown to the owner.
fn listed<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let words = words.map(str::trim);
    let words = words.filter(|word| (1..=WORD).contains(&word.len()) && word.chars().all(is_word));
    words.take(CAPABILITIES).map(str::to_owned).collect()
}

/// Only an explicit major version that is not ours is refused: `AMP2`, `amp/2.1`.
fn speaks(version: &str) -> Result<(), Unusable> {
    let number = version.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let (number, separated) = match number.strip_prefix('/') {
        Some(rest) => (rest, true),
        None => (number, false),
    };
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    // `AMP010` and `AMP01.3` are spellings of 0.1.
    let leading_zero = !separated && digits.len() > 1 && digits.starts_with('0');
    match digits.parse::<u64>() {
        Ok(major) if major >= 2 && !leading_zero => {
            Err(Unusable::Version(version.chars().take(WORD).collect()))
        }
        _ => Ok(()),
    }
}

/// The base of an API: HTTPS, a host, perhaps a port and a path, and nothing else.
fn endpoint(text: Option<&str>) -> Result<String, Unusable> {
    let wrong = |why| Unusable::Field { field: "endpoint", why };
    let text = text.ok_or_else(|| wrong("it is missing"))?;
    let rest = match text.get(..8) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https://") => &text[8..],
        _ => return Err(wrong("it is no https:// address")),
    };
    let rest = rest.trim_end_matches('/');
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '?' | '#' | '\\');
    if host.is_empty() || text.len() > ENDPOINT || rest.contains(odd) {
        return Err(wrong("it is not a host with a path"));
    }
    Ok(format!("https://{}{path}", host.to_ascii_lowercase()))
}

/// `SHA256:` and something: what it is compared with decides.
fn fingerprint_of(text: &str, field: &'static str) -> Result<String, Unusable> {
    let digest = text.strip_prefix("SHA256:").filter(|digest| !digest.is_empty());
    match digest {
        Some(_) if text.len() <= FINGERPRINT => Ok(text.to_owned()),
        _ => Err(bad(field, "it is no SHA256 fingerprint")),
    }
}

fn missing(field: &'static str) -> Unusable {
    bad(field, "it is missing")
}

fn bad(field: &'static str, why: &'static str) -> Unusable {
    Unusable::Field { field, why }
}

const CAPABILITIES: usize = 32;
const WORD: usize = 32;
const ENDPOINT: usize = 512;
const FINGERPRINT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::AgentKey;
    use proptest::prelude::*;

    fn key() -> PublicKey {
        AgentKey::from_seed(&[7; 32]).public()
    }

    fn document(members: &[(&str, &str)]) -> Vec<u8> {
        let members: serde_json::Map<_, _> =
            members.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        serde_json::to_vec(&members).unwrap()
    }

    #[test]
    fn a_record_is_read_whatever_its_order_and_spacing() {
        let print = key().fingerprint();
        for text in [
            format!("v=AMP1; endpoint=https://api.corp.io/v1; pubkey={print}; capabilities=e2ee,attachments"),
            format!(
                "capabilities=e2ee, attachments;pubkey={print};ENDPOINT=HTTPS://api.corp.io/v1/ ;V=AMP01.3; x=y"
            ),
            format!(
                " v = amp010 ;pubkey = {} ;endpoint=https://api.corp.io/v1;capabilities=e2ee,attachments",
                print.trim_end_matches('=')
            ),
        ] {
            let read = Announcement::from_txt(&text).unwrap();
            assert_eq!(
                (read.endpoint.as_str(), read.capabilities.len()),
                ("https://api.corp.io/v1", 2),
                "{text}"
            );
            assert!(key().matches_fingerprint(&read.fingerprint.unwrap()), "{text}");
        }
    }

    #[test]
    fn junk_records_are_refused_and_the_member_is_named() {
        for (text, why) in [
            ("v=spf1 include:example.com -all", "it is no AMP record"),
            ("", "it is no AMP record"),
            ("endpoint=https://a.b; pubkey=SHA256:x", "it is no AMP record"),
            (
                "v=AMP2; endpoint=https://a.b; pubkey=SHA256:x",
                "it is of version \"AMP2\", which this node does not speak",
            ),
            ("v=AMP1; pubkey=SHA256:x", "endpoint: it is missing"),
            ("v=AMP1; endpoint=http://a.b; pubkey=SHA256:x", "endpoint: it is no https:// address"),
            ("v=AMP1; endpoint=https://; pubkey=SHA256:x", "endpoint: it is not a host with a path"),
            ("v=AMP1; endpoint=https://u:p@a.b; pubkey=SHA256:x", "endpoint: it is not a host with a path"),
            ("v=AMP1; endpoint=https://a.b?x=1; pubkey=SHA256:x", "endpoint: it is not a host with a path"),
            ("v=AMP1; endpoint=https://a.b", "pubkey: it is missing"),
            ("v=AMP1; endpoint=https://a.b; pubkey=MD5:x", "pubkey: it is no SHA256 fingerprint"),
        ] {
            assert_eq!(Announcement::from_txt(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn versions_in_circulation_are_taken_and_later_major_versions_are_not() {
        for version in ["AMP1", "AMP010", "AMP01.3", "amp/0.1", "amp/0.1.0", "0.1.0", "1.0", "AMP"] {
            assert_eq!(speaks(version), Ok(()), "{version}");
        }
        for version in ["AMP2", "AMP2.1", "amp/2", "amp/10.0", "2.0"] {
            assert_eq!(speaks(version), Err(Unusable::Version(version.to_owned())));
        }
    }

    #[test]
    fn a_well_known_document_must_not_contradict_itself() {
        let (pem, print) = (key().to_pem(), key().fingerprint());
        let base = [("version", "AMP01.3"), ("endpoint", "https://corp.io/api/v1"), ("provider", "corp.io")];
        let with = |more: &[(&str, &str)]| Announcement::from_well_known(&document(&[&base, more].concat()));
        assert_eq!(with(&[("public_key", &pem), ("fingerprint", &print)]).unwrap().key, Some(key()));
        assert_eq!(with(&[]).unwrap().key, None, "the reference provider shows none (IPR-15)");
        let other = AgentKey::from_seed(&[8; 32]).public().fingerprint();
        assert_eq!(with(&[("public_key", &pem), ("fingerprint", &other)]), Err(Unusable::Contradiction));
        assert_eq!(with(&[("public_key", "x")]), Err(bad("public_key", "it is no key")));
        assert_eq!(Announcement::from_well_known(b"<html>"), Err(Unusable::Foreign));
    }

    #[test]
    fn the_registrys_entry_must_be_of_the_provider_that_was_asked_for() {
        let print = key().fingerprint();
        let entry =
            document(&[("provider", "Corp.io"), ("endpoint", "https://corp.io/v1"), ("fingerprint", &print)]);
        assert!(!Announcement::from_registry(&entry, "corp.io").unwrap().verified);
        assert_eq!(
            Announcement::from_registry(&entry, "evil.io"),
            Err(bad("provider", "it is another provider"))
        );
    }

    proptest! {
        #[test]
        fn whatever_a_stranger_writes_is_refused_or_names_a_place_over_https(
            text in ".{0,200}",
            members in "(v=AMP1|endpoint=https://|pubkey=SHA256:|capabilities=|a.b/c|;|=| |\\PC){0,20}",
            junk in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..400,
        ) {
            let mut documents = vec![junk.clone(), text.clone().into_bytes()];
            let print = key().fingerprint();
            let whole = document(&[
                ("version", "AMP1"), ("endpoint", "https://a.b"), ("provider", "a.b"), ("fingerprint", &print),
                ("public_key", &key().to_pem()), ("capabilities", &text),
            ]);
            // A good document with a spoiled place.
            let at = at.min(whole.len());
            documents.push([&whole[..at], &junk, &whole[at..]].concat());
            documents.push([&whole[..at], &whole[(at + junk.len()).min(whole.len())..]].concat());
            let mut read: Vec<_> = [&text, &members].into_iter().map(|text| Announcement::from_txt(text)).collect();
            for document in &documents {
                read.push(Announcement::from_well_known(document));
                read.push(Announcement::from_registry(document, "a.b"));
                drop(key_in(document));
            }
            for one in read.into_iter().flatten() {
                let rest = one.endpoint.strip_prefix("https://").unwrap();
                prop_assert!(!rest.is_empty() && !rest.starts_with('/') && rest.len() <= ENDPOINT);
                prop_assert!(!rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@'));
                prop_assert!(one.capabilities.len() <= CAPABILITIES);
                if let (Some(key), Some(print)) = (&one.key, &one.fingerprint) {
                    prop_assert!(key.matches_fingerprint(print));
                }
            }
        }
    }

    #[test]
    fn deliveries_are_posted_where_such_providers_take_them() {
        let paths = |endpoint: &str| {
            let urls = delivery_urls(endpoint);
            urls.iter().map(|url| url.replace("https://a.b:8443", "")).collect::<Vec<_>>()
        };
        assert_eq!(paths("https://a.b:8443/v1"), ["/v1/federation/deliver"]);
        assert_eq!(paths("https://a.b:8443/amp/v2/"), ["/amp/v2/federation/deliver"]);
        assert_eq!(paths("https://a.b:8443/api"), ["/api/v1/federation/deliver"]);
        assert_eq!(paths("https://a.b:8443"), ["/v1/federation/deliver", "/api/v1/federation/deliver"]);
        assert_eq!(
            paths("https://a.b:8443/vx"),
            ["/vx/v1/federation/deliver", "/vx/api/v1/federation/deliver"]
        );
    }
}
