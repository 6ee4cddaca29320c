//! Opens the store that a power loss left and asks which messages it still knows, with their files. Called by `tests/tests/power_loss.rs`.

use amesh_proto::attachment::FileDigest;
use amesh_proto::id::MessageId;
use amesh_store::{Config, Place, Store};
use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;

/// Opens the store in `dir` and returns those of `ids` that are lost: in no mailbox, and neither queued for another node
/// nor with it. Nobody may have acknowledged any of them.
///
/// # Errors
/// When the store does not open, or cannot be read: then everything is lost. Also when an attached file is not what it was.
pub fn missing_after(dir: &Path, ids: &BTreeSet<String>) -> Result<Vec<String>> {
    let store = Store::open(dir, Config::default()).context("the store does not open")?;
    let mut missing = Vec::new();
    for id in ids {
        if !knows(&store, &MessageId::parse(id)?)? {
            missing.push(id.clone());
        }
    }
    let report = store.verify(&mut |_| {})?;
    ensure!(report.problems.is_empty(), "references are broken: {:?}", report.problems);
    whole_files(&dir.join("attachments"))?;
    store.close_and_wait()?;
    Ok(missing)
}

/// `verify` looks at sizes only; a disk may well keep the size of a file and lose what is in it.
fn whole_files(dir: &Path) -> Result<()> {
    for file in std::fs::read_dir(dir).with_context(|| format!("{} is gone", dir.display()))? {
        let path = file?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(named) = FileDigest::parse(&format!("sha256:{name}")) else { continue };
        let found = FileDigest(Sha256::digest(std::fs::read(&path)?).into());
        ensure!(found == named, "the attached file {named} holds other bytes");
    }
    Ok(())
}

fn knows(store: &Store, id: &MessageId) -> Result<bool> {
    for agent in store.all_agents()? {
        if store.entry(agent.no, id)?.is_some() {
            return Ok(true);
        }
        // That a queued message is in its queue, with its body, is for `verify` to say.
        let sent = store.message_status(agent.no, id)?;
        if sent.is_some_and(|sent| matches!(sent.place, Place::Outbox(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}
