//! An agent that moves here from another host of the mesh (DESIGN §3, Moving): by a statement signed with its own key and
//! by nothing else; also one that comes back. Called by `register`.

use super::error::RegisterError;
use super::registration::Checked;
use super::{Agent, Agents};
use amesh_proto::api::register::{HomeProof, RegisterRequest};
use amesh_proto::roster::HomeStatement;
use amesh_proto::time::UnixMillis;
use amesh_store::StoreError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

impl Agents {
    /// The statement by which the agent moves here, where it lives elsewhere; nothing where nobody has the address.
    pub(super) fn moves_here(
        &self,
        checked: &Checked,
        request: &RegisterRequest,
    ) -> Result<Option<HomeStatement>, RegisterError> {
        let directory = self.directory();
        let (node, mesh) = (directory.node(), directory.mesh());
        let home = directory.home_of(&checked.address).filter(|home| home.node != node);
        let (Some(home), Some(mesh)) = (home, mesh) else { return Ok(None) };
        if home.public_key != checked.key.to_spki_der() {
            let suggestions = self.suggestions(&checked.address, Some(&directory.naming().host));
            let (address, holder) = (checked.address.to_string(), Some(home.host));
            return Err(RegisterError::NameTaken { address, holder, suggestions });
        }
        let earliest = home.since.map_or(UnixMillis(0), |since| since.plus(TICK));
        let at = earliest.max(self.now());
        let Some(proof) = &request.home else {
            let (address, host) = (checked.address.to_string(), home.host);
            return Err(RegisterError::LivesElsewhere { address, host, node, mesh, at });
        };
        let statement = read(proof)?;
        if statement.at < earliest || statement.at > at.plus(CLOCKS_DIFFER) {
            let why = format!("`at` must be between {} and {}", earliest.0, at.plus(CLOCKS_DIFFER).0);
            return Err(RegisterError::invalid("home", why));
        }
        if !statement.holds(&checked.key, &checked.address, &node, &mesh) {
            let text = HomeStatement::text(&checked.address, &node, &mesh, statement.at);
            return Err(RegisterError::invalid(
                "home",
                format_args!("it is no signature of {text} by this key"),
            ));
        }
        Ok(Some(statement))
    }

    /// The statement by which an agent that moved away from here returns; nothing for one that lives here.
    pub(super) fn returns(
        &self,
        known: &Agent,
        request: &RegisterRequest,
        checked: &Checked,
    ) -> Result<Option<HomeStatement>, RegisterError> {
        let left = self.directory().leaving(&known.address).is_some();
        if left && known.key == checked.key { self.moves_here(checked, request) } else { Ok(None) }
    }

    /// The agent, which moved away from here, lives here again. Called while nothing else changes.
    pub(super) async fn come_home(&self, agent: &Agent, home: HomeStatement) -> Result<(), StoreError> {
        self.inner.store.set_home(agent.no, home).await?;
        self.show(&agent.address);
        self.inner.webhooks.have_changed();
        Ok(())
    }

    /// Mail that is still to be handed on is younger than what went before: it must come back behind that.
    pub(super) async fn has_departed(&self, agent: &Agent) {
        let mut roster = self.inner.store.watch_own_roster();
        let departed = || {
            let face = self.inner.store.own_face(&agent.address).ok().flatten();
            face.is_none_or(|face| face.tombstone.is_some())
        };
        let departing = async { while !departed() && roster.changed().await.is_ok() {} };
        if tokio::time::timeout(DEPARTING, departing).await.is_err() {
            tracing::debug!(address = %agent.address, "the host that it returns from is away");
        }
    }
}

fn read(proof: &HomeProof) -> Result<HomeStatement, RegisterError> {
    let signature = STANDARD.decode(proof.signature.trim());
    let signature = signature.map_err(|_| RegisterError::invalid("home", "the signature is not base64"))?;
    Ok(HomeStatement { at: UnixMillis(proof.at), signature })
}

/// A host that is there takes what is handed on within moments.
const DEPARTING: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(1);
/// A statement may be of a time that has not come yet only by as much as clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(300);
