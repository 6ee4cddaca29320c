//! One registered agent as the rest of the node sees it: an immutable copy, replaced when the agent changes.

use amesh_proto::address::Address;
use amesh_proto::canonical::CanonicalForm;
use amesh_proto::key::{KeyError, PublicKey};
use amesh_store::{AgentNo, AgentRecord};
use std::sync::{Arc, Mutex, PoisonError};

/// A registered agent.
#[derive(Debug)]
pub struct Agent {
    /// Its number in the store; never reused.
    pub no: AgentNo,
    /// Its full address.
    pub address: Address,
    /// Its key, parsed.
    pub key: PublicKey,
    /// Everything else that was registered.
    pub record: AgentRecord,
    /// Every spelling under which its signatures may name it, the usual one first (A-4, ICL-26).
    spellings: Vec<String>,
    /// The form in which its last signature verified: tried first next time (DESIGN §6).
    last_form: Mutex<Option<CanonicalForm>>,
}

impl Agent {
    pub(crate) fn from_record(record: AgentRecord) -> Result<Arc<Self>, KeyError> {
        let key = PublicKey::from_spki_der(&record.public_key_der)?;
        let address = record.address.clone();
        let spellings = spellings(&address, &record.name);
        Ok(Arc::new(Self { no: record.no, address, key, record, spellings, last_form: Mutex::default() }))
    }

    /// `name@tenant.provider` (REG-12).
    #[must_use]
    pub fn short_address(&self) -> Address {
        self.address.short()
    }

    /// Every spelling under which this agent may name itself as sender.
    #[must_use]
    pub fn spellings(&self) -> &[String] {
        &self.spellings
    }

    /// Whether `typed` names this agent.
    #[must_use]
    pub fn is_named(&self, typed: &str) -> bool {
        self.spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(typed))
    }

    /// The form in which this agent's last signature verified.
    #[must_use]
    pub fn last_form(&self) -> Option<CanonicalForm> {
        *self.last_form.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the form that verified.
    pub fn remember_form(&self, form: CanonicalForm) {
        *self.last_form.lock().unwrap_or_else(PoisonError::into_inner) = Some(form);
    }
}

fn spellings(address: &Address, name_as_registered: &str) -> Vec<String> {
    let full = address.to_string();
    let short = address.short().to_string();
    let cased =
        |spelling: &str| spelling.find('@').map(|at| format!("{name_as_registered}{}", &spelling[at..]));
    let mut all = vec![full.clone()];
    for spelling in [cased(&full), Some(short.clone()), cased(&short)].into_iter().flatten() {
        if !all.contains(&spelling) {
            all.push(spelling);
        }
    }
    // `amp-init` registers a name in lower case, and then signs it as the environment spells it, which nobody told us:
    // the two usual spellings are tried, after everything else (ICL-26).
    if !name_as_registered.contains(|c: char| c.is_ascii_uppercase()) {
        let domain = &short[short.find('@').unwrap_or(short.len())..];
        for name in [capitalised(name_as_registered, false), capitalised(name_as_registered, true)] {
            let spelling = format!("{name}{domain}");
            if !all.contains(&spelling) {
                all.push(spelling);
            }
        }
    }
    all
}

/// `Backend-api`, or with `each` part `Backend-Api`.
fn capitalised(name: &str, each: bool) -> String {
    let mut at_start = true;
    let mut letter = |c: char| {
        let shown = if at_start { c.to_ascii_uppercase() } else { c };
        at_start = each && matches!(c, '-' | '_');
        shown
    };
    name.chars().map(&mut letter).collect()
}
