//! Work that is carried to its end even when its caller hangs up. A handler's future is dropped with its connection; a
//! change that was handed to the store must all the same be followed by what belongs to it (waking carriers and
//! sockets, the directory). Called by every handler that changes something.

use crate::tasks::Tasks;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs `work`; should the caller be dropped, `tasks` finish it.
pub(crate) fn to_the_end<F>(tasks: &Tasks, work: F) -> Finishing<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Finishing { work: Some(Box::pin(work)), tasks: tasks.clone() }
}

/// See [`to_the_end`].
pub(crate) struct Finishing<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: Tasks,
}

impl<T: Send + 'static> Future for Finishing<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Finished futures are not polled again; should one be, it never ends rather than panics.
        let Some(work) = &mut self.work else { return Poll::Pending };
        let Poll::Ready(output) = work.as_mut().poll(cx) else { return Poll::Pending };
        self.work = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for Finishing<T> {
    fn drop(&mut self) {
        // Outside a runtime there is nobody left to finish it: the process is ending.
        if let Some(work) = self.work.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.tasks.spawn(work);
        }
    }
}

impl<T: Send + 'static> std::fmt::Debug for Finishing<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finishing").field("done", &self.work.is_none()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn work_whose_caller_hangs_up_is_finished_all_the_same() {
        let tasks = Tasks::new("test");
        let (go, gone) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let mut work = to_the_end(&tasks, async move {
            gone.await.ok();
            done.send(7).ok();
        });
        assert!(futures_util::poll!(&mut work).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(finished.await.unwrap(), 7);
    }
}
