//! `amesh identity card`: what an agent shows others to be known by, and checking what others show (IPR-28).

use super::context::Context;
use super::export;
use super::output::Trouble;
use amesh_proto::card::AgentCard;
use serde::Serialize;
use std::path::Path;

/// A card whose signature holds.
#[derive(Serialize)]
struct Checked {
    valid: bool,
    address: String,
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<String>,
    signed_at: String,
}

/// Prints the acting agent's card. It is JSON either way: that is what others read.
pub(super) async fn card(ctx: &Context) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let key = identity.key().map_err(Trouble::from)?;
    let card = AgentCard::new(&identity.address, &key.public(), ctx.now());
    let card = AgentCard { provider: identity.provider, ..card }.signed(&key);
    ctx.out.line(&serde_json::to_string_pretty(&card)?)
}

/// Says whose card it is, if the key in it signed it. Whether that key is the one that is known for the address is
/// for whoever knows one to say.
pub(super) fn check(ctx: &Context, file: &Path) -> anyhow::Result<()> {
    let refused =
        |why: String| Trouble::new("bad_card", format!("{} is no valid card", file.display())).because(why);
    let card: AgentCard =
        serde_json::from_str(&export::read(file)?).map_err(|error| refused(error.to_string()))?;
    let key = card.verify().map_err(|error| refused(error.to_string()))?;
    let checked = Checked {
        valid: true,
        address: card.address,
        fingerprint: key.fingerprint(),
        did: key.did(),
        signed_at: card.signed_at,
    };
    ctx.out.show(&checked, || {
        let did = checked.did.as_deref().map(|did| format!("\n{did}")).unwrap_or_default();
        format!("{} signed this card at {}\n{}{did}", checked.address, checked.signed_at, checked.fingerprint)
    })
}
