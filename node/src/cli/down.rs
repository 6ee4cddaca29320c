//! `amesh down`: asks the node to stop and waits until it has.

use super::args::DownArgs;
use super::context::Context;
use super::output::Trouble;
use crate::client::control::{Control, ControlError};
use crate::client::find::{self, FindError, NodeFile};
use serde::Serialize;
use std::time::Duration;

/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(25);

#[derive(Serialize)]
struct Stopped {
    stopped: bool,
    pid: u32,
}

pub(super) async fn down(ctx: &Context, args: &DownArgs) -> anyhow::Result<()> {
    let data_dir = ctx.data_dir()?;
    let node = match find::find(&data_dir) {
        Ok(node) => node,
        Err(error @ (FindError::Gone { .. } | FindError::Silent { .. } | FindError::NotRunning(_))) => {
            return Err(Trouble::from(error).mend(ctx.command("up --detach")).into());
        }
        Err(error) => return Err(Trouble::from(error).into()),
    };
    match Control::of(&data_dir).down().await {
        // It may be gone before its answer is through. No signal is sent: the number could be another process's.
        Ok(_) | Err(ControlError::NotRunning(_) | ControlError::Broken(_)) => {}
        Err(error) => return Err(Trouble::from(error).into()),
    }
    let gone = async {
        while find::is_alive(node.pid) && still_its_file(&data_dir, &node) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(args.timeout, gone).await.is_err() {
        return Err(Trouble::new(
            "still_running",
            format!("the node (process {}) is still stopping", node.pid),
        )
        .because(format!("it did not finish within {} s", args.timeout.as_secs()))
        .mend(ctx.command("logs"))
        .into());
    }
    let stopped = Stopped { stopped: true, pid: node.pid };
    ctx.out.show(&stopped, || format!("stopped (process {})", node.pid))
}

/// The file goes on a clean stop; the process may linger as a zombie of whoever started it.
fn still_its_file(data_dir: &std::path::Path, node: &NodeFile) -> bool {
    NodeFile::read(data_dir).is_ok_and(|now| now.pid == node.pid)
}
