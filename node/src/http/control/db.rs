//! The store, for its owner: backup and verification of a running node (`amesh db`).

use super::peers::optional;
use crate::http::body::{self, Json};
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::state::Shared;
use amesh_proto::api::control::{BackupDone, VerifyReport};
use amesh_store::{BackupReport, backup_name};
use axum::extract::State;
use std::path::PathBuf;

/// `POST /db/backup`
pub(crate) async fn backup(
    State(state): State<Shared>,
    body: Json<{ body::SMALL }>,
) -> Result<axum::Json<BackupDone>, Problem> {
    let path = optional(&body)?.optional_text("path")?.filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.as_ref().is_some_and(|path| path.is_relative()) {
        // The node's working directory is not the owner's.
        return Err(Problem::invalid("path", "expected an absolute path"));
    }
    let path = path.unwrap_or_else(|| state.parts.data_dir.join("backups").join(backup_name(state.now())));
    let cannot =
        |error: std::io::Error| Problem::unavailable(format!("cannot write {}: {error}", path.display()));
    if let Some(directory) = path.parent() {
        tokio::fs::create_dir_all(directory).await.map_err(cannot)?;
    }
    if tokio::fs::try_exists(&path).await.map_err(cannot)? {
        return Err(Problem::invalid("path", "there is a file of this name already; choose another"));
    }
    let backing_up = state.parts.store.backup(&path);
    let report = to_the_end(&state.parts.tasks, backing_up).await;
    let report = report.map_err(|error| Problem::unavailable(format!("the backup failed: {error}")))?;
    let BackupReport { bytes, files, missing_files, .. } = report;
    Ok(axum::Json(BackupDone { path: path.display().to_string(), bytes, files, missing_files }))
}

/// `POST /db/verify`
pub(crate) async fn verify(State(state): State<Shared>) -> Result<axum::Json<VerifyReport>, Problem> {
    let store = state.parts.store.clone();
    let report = state.parts.tasks.spawn_blocking(move || store.verify(&mut |_| {})).await;
    let report = report.map_err(|error| Problem::internal("verify", &error))??;
    Ok(axum::Json(VerifyReport { ok: report.is_whole(), problems: report.problems, checked: report.values }))
}
