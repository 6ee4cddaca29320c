//! Neighbours by multicast DNS (DESIGN §3): service `_amesh._udp.local.`, instance `<host label>-<8 of node id>`, and
//! a TXT record that holds the protocol version, the node id and a short hash of the mesh id, nothing else.
//!
//! One daemon (a thread of mdns-sd) per source, one source per process. The daemon is opened again when it fails.

use crate::finder::{Announcement, Candidate, Event, Finder, Running, Source, State};
use crate::interfaces::Interfaces;
use amesh_proto::node_id::NodeId;
use amesh_proto::record::TxtRecord;
use mdns_sd::{
    IfKind, IfPredicate, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// The multicast source.
#[derive(Debug)]
pub struct Mdns {
    interfaces: Interfaces,
    again: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    daemon: Option<ServiceDaemon>,
    announcement: Option<Announcement>,
    /// Full name of the instance that is announced.
    registered: Option<String>,
    /// Instances seen, by full name as written: a goodbye carries only that, and orders to the daemon match by case.
    seen: HashMap<String, NodeId>,
    state: State,
}

#[derive(Debug, thiserror::Error)]
enum MdnsError {
    #[error("multicast DNS does not start: {0}")]
    Start(mdns_sd::Error),
    #[error("multicast DNS does not take an order: {0}")]
    Order(#[from] mdns_sd::Error),
}

impl Mdns {
    /// A source that uses `interfaces`.
    #[must_use]
    pub fn new(interfaces: Interfaces) -> Self {
        Self { interfaces, again: Notify::new(), inner: Mutex::default() }
    }

    async fn run_until_stopped(&self, sink: &mpsc::Sender<Event>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.open() {
                Ok(daemon) => {
                    pause = FIRST_PAUSE;
                    self.listen(&daemon, sink).await
                }
                Err(error) => error,
            };
            tracing::warn!(%failure, retry_in = ?pause, "no multicast discovery");
            self.close_failed(&failure);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn open(&self) -> Result<ServiceDaemon, MdnsError> {
        let daemon = ServiceDaemon::new().map_err(MdnsError::Start)?;
        let interfaces = self.interfaces.clone();
        let unused = IfPredicate::new(move |each| !interfaces.uses(&each.name));
        daemon.set_ip_check_interval(IP_CHECK_SECONDS)?;
        daemon.disable_interface(IfKind::Predicate(unused))?;
        let mut inner = self.lock();
        inner.daemon = Some(daemon.clone());
        inner.state = State::Running;
        if let Some(announcement) = inner.announcement.clone() {
            inner.register(&announcement)?;
        }
        Ok(daemon)
    }

    /// Reports what the daemon sees until it fails. mdns-sd closes a subscription whose reader is slow, silently:
    /// whatever the reason, a closed one is opened again.
    async fn listen(&self, daemon: &ServiceDaemon, sink: &mpsc::Sender<Event>) -> MdnsError {
        loop {
            let browsing = match daemon.browse(SERVICE) {
                Ok(browsing) => browsing,
                Err(mdns_sd::Error::Again) => {
                    tokio::time::sleep(FIRST_PAUSE).await;
                    continue;
                }
                Err(error) => return error.into(),
            };
            tokio::select! {
                () = self.pass_on(&browsing, sink) => {}
                () = self.again.notified() => {}
            }
            // A daemon that closes subscriptions at once must not keep a core busy.
            tokio::time::sleep(BREATH).await;
        }
    }

    async fn pass_on(&self, browsing: &Receiver<ServiceEvent>, sink: &mpsc::Sender<Event>) {
        while let Ok(event) = browsing.recv_async().await {
            let news = match event {
                ServiceEvent::ServiceResolved(service) => self.resolved(&service),
                ServiceEvent::ServiceRemoved(_, name) => self.removed(&name),
                _ => None,
            };
            if let Some(event) = news
                && sink.send(event).await.is_err()
            {
                return;
            }
        }
    }

    fn resolved(&self, service: &ResolvedService) -> Option<Event> {
        let properties =
            service.txt_properties.iter().map(|property| (property.key(), property.val().unwrap_or(&[])));
        let record = match TxtRecord::parse(properties) {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(name = service.fullname, %error, "neighbour with a record that is not ours");
                return None;
            }
        };
        let mut inner = self.lock();
        if inner.seen.len() >= MAX_SEEN && !inner.seen.contains_key(&service.fullname) {
            return None;
        }
        let label = label_of(&service.fullname, &record.node);
        inner.seen.insert(service.fullname.clone(), record.node);
        Some(Event::Found(Candidate {
            node: Some(record.node),
            addresses: service.addresses.iter().map(|ip| socket_address(ip, service.port)).collect(),
            source: Source::Mdns,
            label,
            mesh_hint: record.mesh,
            // The daemon keeps the record fresh and says when it is gone.
            expires_in: None,
        }))
    }

    fn removed(&self, name: &str) -> Option<Event> {
        let node = self.lock().seen.remove(name)?;
        Some(Event::Lost { node, source: Source::Mdns })
    }

    fn close_failed(&self, failure: &MdnsError) {
        let mut inner = self.lock();
        if let Some(daemon) = inner.daemon.take() {
            // Best effort: it already failed.
            drop(daemon.shutdown());
        }
        inner.registered = None;
        inner.state = State::Failing(failure.to_string());
    }

    /// Tells the neighbours that this node leaves, so that they need not wait for the record to age.
    async fn say_goodbye(&self) {
        let (daemon, registered) = {
            let mut inner = self.lock();
            inner.state = State::Idle;
            (inner.daemon.take(), inner.registered.take())
        };
        let Some(daemon) = daemon else { return };
        if let Some(name) = registered
            && let Ok(done) = daemon.unregister(&name)
            && tokio::time::timeout(GOODBYE_WITHIN, done.recv_async()).await.is_err()
        {
            tracing::debug!("multicast goodbye was not confirmed in time");
        }
        if let Ok(done) = daemon.shutdown()
            && tokio::time::timeout(GOODBYE_WITHIN, done.recv_async()).await.is_err()
        {
            tracing::debug!("the multicast daemon did not end in time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn register(&mut self, announcement: &Announcement) -> Result<(), MdnsError> {
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let service = service_of(announcement)?;
        let name = service.get_fullname().to_owned();
        if let Some(before) = self.registered.take().filter(|before| *before != name) {
            daemon.unregister(&before)?;
        }
        daemon.register(service)?;
        self.registered = Some(name);
        Ok(())
    }
}

impl Finder for Mdns {
    fn source(&self) -> Source {
        Source::Mdns
    }

    fn run(&self, sink: mpsc::Sender<Event>, stop: CancellationToken) -> Running<'_> {
        Box::pin(async move {
            stop.run_until_cancelled(self.run_until_stopped(&sink)).await;
            self.say_goodbye().await;
        })
    }

    fn state(&self) -> State {
        self.lock().state.clone()
    }

    fn announce(&self, announcement: &Announcement) {
        let mut inner = self.lock();
        if inner.announcement.as_ref() == Some(announcement) {
            return;
        }
        inner.announcement = Some(announcement.clone());
        if let Err(error) = inner.register(announcement) {
            tracing::warn!(%error, "cannot announce this node by multicast");
            inner.state = State::Failing(error.to_string());
        }
    }

    fn refresh(&self) {
        self.again.notify_one();
    }

    fn verify(&self, node: &NodeId) {
        let inner = self.lock();
        let name = inner.seen.iter().find(|(_, seen)| *seen == node).map(|(name, _)| name.clone());
        if let (Some(daemon), Some(name)) = (&inner.daemon, name)
            && let Err(error) = daemon.verify(name, VERIFY_WITHIN)
        {
            tracing::debug!(%error, %node, "cannot verify a neighbour now");
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("state", &self.state)
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

fn service_of(announcement: &Announcement) -> Result<ServiceInfo, MdnsError> {
    let short = announcement.node_id.short();
    let host: String = announcement.host.chars().take(MAX_LABEL).collect();
    let instance = format!("{host}-{short}");
    // The machine's own `.local.` name belongs to its mDNS responder; ours must not contest it.
    let machine = format!("amesh-{}.local.", short.to_lowercase());
    let record = TxtRecord { node: announcement.node_id, mesh: announcement.mesh_hash };
    let properties: Vec<(String, String)> = record.properties();
    let service = ServiceInfo::new(SERVICE, &instance, &machine, "", announcement.port, &properties[..])?;
    let mut service = service.enable_addr_auto();
    // Probing costs 0.8 s; the node id in the instance name makes a conflict impossible.
    service.set_requires_probe(false);
    Ok(service)
}

/// The host label in an instance name, if the name has the form that [`service_of`] gives it.
fn label_of(fullname: &str, node: &NodeId) -> Option<String> {
    let instance = fullname.strip_suffix(SERVICE)?.strip_suffix('.')?;
    let label = instance.strip_suffix(&node.short())?.strip_suffix('-')?;
    let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    (plain && !label.is_empty() && label.len() <= MAX_LABEL).then(|| label.to_owned())
}

fn socket_address(ip: &ScopedIp, port: u16) -> SocketAddr {
    match ip {
        // Without its interface a link-local address leads nowhere.
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index))
        }
        other => SocketAddr::new(other.to_ip_addr(), port),
    }
}

/// The service type.
pub const SERVICE: &str = "_amesh._udp.local.";
const IP_CHECK_SECONDS: u32 = 1;
const VERIFY_WITHIN: Duration = Duration::from_secs(3);
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
const BREATH: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const MAX_SEEN: usize = 4096;
const MAX_LABEL: usize = 54;

#[cfg(test)]
mod tests;
