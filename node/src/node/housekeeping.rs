//! What a node does for its store besides serving: a backup a day, three kept, and bodies swept that no message names
//! (DESIGN §5). Started by `node`.

use crate::clock::SharedClock;
use crate::tasks::Tasks;
use crate::waking::Waking;
use amesh_proto::time::UnixMillis;
use amesh_store::{Store, backup_name, rotate_backups};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sweeps every hour, those in which this machine slept counted, and looks whether the newest backup is a day old.
pub(super) fn start(tasks: &Tasks, store: Store, clock: SharedClock, mut waking: Waking, data_dir: PathBuf) {
    let dir = data_dir.join("backups");
    tasks.spawn_until_stopped(async move {
        let mut next = clock.monotonic().saturating_add(LOOK);
        loop {
            waking.rest(next.saturating_sub(clock.monotonic())).await;
            if clock.monotonic() < next {
                continue;
            }
            next = clock.monotonic().saturating_add(LOOK);
            if let Err(error) = store.sweep().await {
                tracing::warn!(%error, "bodies that no message names could not be swept");
            }
            let now = clock.now();
            if is_due(&dir, now)
                && let Err(error) = backup(&store, &dir, now).await
            {
                tracing::error!(%error, "the daily backup failed; `amesh db backup` makes one by hand");
            }
        }
    });
}

/// Why there is no backup today.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] amesh_store::StoreError),
}

async fn backup(store: &Store, dir: &Path, now: UnixMillis) -> Result<(), BackupError> {
    std::fs::create_dir_all(dir)?;
    let file = dir.join(backup_name(now));
    store.backup(&file).await?;
    rotate_backups(dir, KEPT)?;
    tracing::info!(file = %file.display(), "backed up the store");
    Ok(())
}

/// Names sort by time, so the newest that may still be young enough is compared by name.
fn is_due(dir: &Path, now: UnixMillis) -> bool {
    let yesterday = backup_name(UnixMillis(now.0.saturating_sub(DAY_MS)));
    let young = |name: &str| name > yesterday.as_str() && name.ends_with(".backup");
    let Ok(entries) = std::fs::read_dir(dir) else { return true };
    !entries.flatten().any(|entry| young(&entry.file_name().to_string_lossy()))
}

const LOOK: Duration = Duration::from_secs(3600);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const KEPT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_due_once_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixMillis(1_700_000_000_000);
        assert!(is_due(dir.path(), now));
        std::fs::write(dir.path().join(backup_name(now)), "").unwrap();
        assert!(!is_due(dir.path(), UnixMillis(now.0 + DAY_MS / 2)));
        assert!(is_due(dir.path(), UnixMillis(now.0 + DAY_MS + 1_000)));
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_due() {
        assert!(is_due(Path::new("/nonexistent/amesh"), UnixMillis(0)));
    }
}
