//! The owner's socket `<data-dir>/control.sock` (DESIGN §6): HTTP over a Unix socket that only the owner can open. Its
//! routes are here and nowhere else; no API key opens them, and no TCP listener serves them. Called by `node`.

mod agents;
mod db;
mod federation;
mod hosts;
mod node;
mod owners;
mod peers;
mod queue;

use crate::http::serve::{answer, connection, no_such_method, no_such_path};
use crate::http::state::Shared;
use axum::Router;
use axum::routing::{get, post};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Every owner's action, one line each.
fn routes(state: Shared) -> Router {
    Router::new()
        .route("/status", get(node::status))
        .route("/doctor", get(node::doctor))
        .route("/agents", get(node::agents))
        .route("/agents/rename", post(agents::rename))
        .route("/agents/forget", post(agents::forget))
        .route("/agents/code", post(owners::code))
        .route("/owners", get(owners::list))
        .route("/owners/add", post(owners::add))
        .route("/owners/set", post(owners::set))
        .route("/owners/remove", post(owners::remove))
        .route("/down", post(node::down))
        .route("/invite", post(peers::invite))
        .route("/join", post(peers::join))
        .route("/leave", post(peers::leave))
        .route("/peers", get(peers::list))
        .route("/peers/remove", post(peers::remove))
        .route("/peers/promote", post(peers::promote))
        .route("/hosts", get(hosts::list))
        .route("/hosts/accept", post(hosts::accept))
        .route("/hosts/refuse", post(hosts::refuse))
        .route("/hosts/remove", post(hosts::remove))
        .route("/hosts/forget", post(hosts::forget))
        .route("/federation", get(federation::status))
        .route("/federation/resolve", post(federation::resolve))
        .route("/federation/test", post(federation::test))
        .route("/federation/allow", post(federation::allow))
        .route("/federation/block", post(federation::block))
        .route("/federation/forget", post(federation::forget))
        .route("/queue", get(queue::list))
        .route("/db/backup", post(db::backup))
        .route("/db/verify", post(db::verify))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state)
}

/// Why the owner's socket does not open.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the owner's socket {path}: {cause}{}", hint(path))]
pub struct ControlError {
    path: PathBuf,
    cause: io::Error,
}

/// Serves the owner's socket in `data_dir` until the doors' tasks are told to stop, and removes it then. Only the
/// holder of the store's lock may call this: it replaces what a killed node left behind.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(data_dir: &Path, state: Shared) -> Result<(), ControlError> {
    let path = data_dir.join("control.sock");
    let failed = |cause| ControlError { path: path.clone(), cause };
    let listener = open(data_dir, &path).map_err(failed)?;
    let tasks = state.parts.tasks.clone();
    let stopping = tasks.stopping();
    let accepting = accept(listener, state);
    tasks.spawn(async move {
        stopping.run_until_cancelled(accepting).await;
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, "the owner's socket was gone already");
        }
    });
    Ok(())
}

fn open(data_dir: &Path, path: &Path) -> io::Result<UnixListener> {
    if !data_dir.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    }
    // Closed to others before the socket exists: there is no moment in which they could connect.
    std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))?;
    if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, state: Shared) {
    let router = routes(state.clone());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The owner waits for a place; nobody else is affected.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve_one(stream, state.clone(), router.clone());
                state.parts.tasks.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept the owner's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: UnixStream, state: Shared, router: Router) {
    let (config, tasks) = (state.parts.config.clone(), state.parts.tasks.clone());
    connection(stream, config, tasks, move |request| {
        let router = router.clone();
        async move { answer(&router, request).await }
    })
    .await;
}

/// The address of a Unix socket has little room.
fn hint(path: &Path) -> &'static str {
    if path.as_os_str().len() > 100 {
        "; the path is too long for a socket, choose a shorter --data-dir"
    } else {
        ""
    }
}

const MAX_CONNECTIONS: usize = 32;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
