//! Replacing and revoking what an agent proves itself with: its API key (KEY-3, KEY-4) and its key pair (KEY-5…7).
//! Called by the `auth` doors.

use super::api_key::{self, KeyHash};
use super::error::RotateError;
use super::{Agent, Agents};
use amesh_proto::api::fields::BadBody;
use amesh_proto::api::keys::RotateKeys;
use amesh_proto::key::{KeyAlgorithm, PublicKey};
use amesh_proto::limits;
use amesh_proto::time::UnixMillis;
use amesh_store::{NewKey, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::time::Duration;

/// An API key that was given out in the place of another.
#[derive(Debug)]
pub struct NewApiKey {
    /// The key, told once.
    pub api_key: String,
    /// Until then the earlier one opens the door too.
    pub previous_valid_until: UnixMillis,
}

impl Agents {
    /// Gives `agent` a new API key in the place of `presented`, the one it uses.
    ///
    /// # Errors
    /// [`RotateError::Replaced`] when that key was replaced before.
    pub async fn rotate_api_key(&self, agent: &Agent, presented: KeyHash) -> Result<NewApiKey, RotateError> {
        let api_key = api_key::mint(rand::random());
        let Some(hash) = api_key::hash(&api_key) else {
            return Err(StoreError::Failed { reason: "an API key could not be made".to_owned() }.into());
        };
        let previous_valid_until = self.now().plus(OVERLAP);
        let rotating = self.inner.store.rotate_api_key(agent.no, presented, hash, previous_valid_until);
        if !rotating.await? {
            return Err(RotateError::Replaced);
        }
        self.forget_keys();
        Ok(NewApiKey { api_key, previous_valid_until })
    }

    /// Ends every API key of `agent` at once.
    ///
    /// # Errors
    /// When the store fails; the keys are then as they were.
    pub async fn revoke_api_keys(&self, agent: &Agent) -> Result<UnixMillis, StoreError> {
        let now = self.now();
        self.inner.store.revoke_api_keys(agent.no).await?;
        self.forget_keys();
        Ok(now)
    }

    /// Gives `agent` another key pair. Mail that it sent before stays verifiable by the old one for 90 days, unless that
    /// one is compromised.
    ///
    /// # Errors
    /// [`RotateError`]; the old key stays.
    pub async fn rotate_key(&self, agent: &Agent, request: &RotateKeys) -> Result<Arc<Agent>, RotateError> {
        let key = wanted_key(request)?;
        let _one_at_a_time = self.inner.changing.lock().await;
        let directory = &self.inner.directory;
        let known = directory.local_agent(&agent.address).filter(|known| known.no == agent.no);
        let known = known.ok_or(StoreError::NoSuchAgent)?;
        self.judge(&known, &key, request)?;
        if self.is_full() {
            return Err(RotateError::Full);
        }
        let mut record = known.record.clone();
        record.key_algorithm = key.algorithm();
        record.public_key_der = key.to_spki_der().to_vec();
        let replaced = Agent::from_record(record).map_err(|error| unusable(error.to_string()))?;
        // From here on the old key signs nothing, and only then is its end noted: no mail that it signed is accepted
        // after that, to be judged by the new one.
        directory.put_local(replaced);
        let new = NewKey {
            replaces: known.record.public_key_der.clone(),
            key_algorithm: key.algorithm(),
            public_key_der: key.to_spki_der().to_vec(),
            old_is_compromised: request.compromised,
        };
        match self.inner.store.rotate_agent_key(known.no, new, self.now()).await {
            Ok(Some(record)) => {
                let rotated = Agent::from_record(*record).map_err(|error| unusable(error.to_string()))?;
                self.put(rotated.clone());
                Ok(rotated)
            }
            Ok(None) => {
                directory.put_local(known);
                Err(RotateError::Proof)
            }
            Err(error) => {
                directory.put_local(known);
                Err(error.into())
            }
        }
    }

    fn judge(&self, known: &Agent, key: &PublicKey, request: &RotateKeys) -> Result<(), RotateError> {
        let der = key.to_spki_der();
        if known.record.public_key_der == der {
            return Err(unusable("it is the key that is registered already".to_owned()));
        }
        let retired = self.inner.directory.retired_keys(&known.address);
        if retired.iter().any(|retired| retired.public_key == der) {
            return Err(unusable("this agent had that key before; make a new one".to_owned()));
        }
        let signature = STANDARD.decode(request.proof.trim()).map_err(|_| BadBody::Invalid {
            field: "proof",
            why: "expected a signature in base64".to_owned(),
        })?;
        let said = said_forms(&request.new_public_key, key);
        let proven = said.iter().any(|said| known.key.verify(said, &signature));
        if proven { Ok(()) } else { Err(RotateError::Proof) }
    }
}

fn wanted_key(request: &RotateKeys) -> Result<PublicKey, RotateError> {
    let text = &request.new_public_key;
    if text.len() > limits::PUBLIC_KEY_TEXT {
        return Err(unusable("it is longer than any key".to_owned()));
    }
    let parsed = match &request.key_algorithm {
        Some(name) => {
            let algorithm = KeyAlgorithm::parse(name)
                .map_err(|error| BadBody::Invalid { field: "key_algorithm", why: error.to_string() })?;
            PublicKey::parse(text, algorithm)
        }
        None => PublicKey::parse_any(text),
    };
    parsed.map_err(|error| unusable(error.to_string()))
}

/// Every form of the new key that a client may have signed: as sent, PEM with and without its final newline, DER,
/// the raw key, lowercase hex.
fn said_forms(sent: &str, key: &PublicKey) -> Vec<Vec<u8>> {
    let (sent_trimmed, pem, raw) = (sent.trim_end(), key.to_pem(), key.sender_key_text());
    let mut forms = vec![
        sent.as_bytes().to_vec(),
        sent_trimmed.as_bytes().to_vec(),
        format!("{sent_trimmed}\n").into_bytes(),
        pem.trim_end().as_bytes().to_vec(),
        format!("{}\n", pem.trim_end()).into_bytes(),
        key.to_spki_der().to_vec(),
        raw.as_bytes().to_vec(),
    ];
    forms.extend(unhex(&raw));
    forms
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn unusable(why: String) -> RotateError {
    BadBody::Invalid { field: "new_public_key", why }.into()
}

/// How long a replaced API key works on (KEY-3).
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
