//! The only place that spawns. Each part gets its own [`Tasks`] group, so that `node` can close the groups
//! one after another, in a written order, and wait for each (DESIGN §2: shutdown is ordered and tested).

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A named group of tasks with one stop signal.
#[derive(Debug, Clone)]
pub struct Tasks {
    name: &'static str,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// A group whose tasks did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("{left} task(s) of {name} were still running after {waited:?}")]
pub struct StillRunning {
    /// The group.
    pub name: &'static str,
    /// How many tasks were left.
    pub left: usize,
    /// How long the caller waited.
    pub waited: Duration,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, stop: CancellationToken::new(), tracker: TaskTracker::new() }
    }

    /// Runs `work` as a task of this group. Work that should end at shutdown watches [`Self::stopping`].
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(work)
    }

    /// Runs `work` until it ends or the group is told to stop, whichever is first.
    pub fn spawn_until_stopped<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    /// Runs blocking `work` off the async workers.
    pub fn spawn_blocking<F, T>(&self, work: F) -> tokio::task::JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tracker.spawn_blocking(work)
    }

    /// The signal that is raised when the group is to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Raises the stop signal and waits until every task has ended.
    ///
    /// # Errors
    /// [`StillRunning`] when tasks are left after `deadline`; they are abandoned, not aborted.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), StillRunning> {
        self.stop.cancel();
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(StillRunning { name: self.name, left: self.tracker.len(), waited: deadline }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_work_that_is_finishing() {
        let tasks = Tasks::new("test");
        let stopping = tasks.stopping();
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = done.clone();
        tasks.spawn(async move {
            stopping.cancelled().await;
            tokio::task::yield_now().await;
            seen.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        tasks.shutdown(Duration::from_secs(10)).await.unwrap();
        assert!(done.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[tokio::test]
    async fn shutdown_names_the_group_that_hangs() {
        let tasks = Tasks::new("stuck");
        tasks.spawn(std::future::pending::<()>());
        let error = tasks.shutdown(Duration::from_millis(10)).await.unwrap_err();
        assert_eq!((error.name, error.left), ("stuck", 1));
    }
}
