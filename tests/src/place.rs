//! Where a test's own sockets are made: in this process's network, or in that of a host of the LAN lab.

use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A network to act in.
#[derive(Debug, Clone, Default)]
pub struct Place(Option<Arc<Namespace>>);

/// A network namespace, and a thread in it whose runtime makes sockets there.
#[derive(Debug)]
struct Namespace {
    path: PathBuf,
    runtime: Handle,
    /// Dropped with the place; ends the thread.
    _open: oneshot::Sender<()>,
}

impl Place {
    /// This process's own network.
    #[must_use]
    pub fn here() -> Self {
        Self(None)
    }

    /// The network namespace at `path`.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn namespace(path: PathBuf) -> Result<Self> {
        let (open, closed) = oneshot::channel();
        let (ready, entered) = mpsc::sync_channel(1);
        let entering = path.clone();
        std::thread::Builder::new().name(format!("in {}", path.display())).spawn(move || {
            match enter(&entering) {
                Ok(runtime) => {
                    if ready.send(Ok(runtime.handle().clone())).is_ok() {
                        drop(runtime.block_on(closed));
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        let runtime = entered.recv().context("the thread of a namespace")??;
        Ok(Self(Some(Arc::new(Namespace { path, runtime, _open: open }))))
    }

    /// Does `work` in this place.
    ///
    /// # Errors
    /// When the work panics or the place is gone.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        match &self.0 {
            None => Ok(work.await),
            Some(namespace) => namespace.runtime.spawn(work).await.context("work in a namespace"),
        }
    }

    /// A command that will run in this place.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> std::process::Command {
        let Some(namespace) = &self.0 else { return std::process::Command::new(program) };
        let mut command = std::process::Command::new("nsenter");
        let mut net = std::ffi::OsString::from("--net=");
        net.push(&namespace.path);
        // nsenter executes the program in its own stead, so that signals reach it.
        command.arg(net).arg("--").arg(program);
        command
    }
}

/// A port on loopback for a server that comes, or comes back, later: as long as the socket is kept nobody else is given
/// it, and whoever knocks meanwhile is refused.
///
/// # Errors
/// When there is none.
pub fn reserved_port() -> Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    // Servers of all kinds set the same, which lets them bind beside a socket that does not listen.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

fn enter(path: &std::path::Path) -> Result<tokio::runtime::Runtime> {
    use std::os::fd::AsFd;
    let namespace = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let network = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), network).context("entering a namespace")?;
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
