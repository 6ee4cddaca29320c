//! TLS for every door that is not on loopback (DESIGN §6, API-13, A-31): one certificate for all of them, from two files that are
//! looked at again and again. A new one is shown to whoever connects from then on; what cannot be used changes nothing and is said in the log and by
//! `amesh doctor`. Loaded and watched by `node`; the doors call [`Tls::shake`].

mod files;
mod handshake;
mod shown;

pub use files::TlsError;
pub(in crate::http) use handshake::turn_away;
pub(crate) use shown::Shown;

use crate::attachments::Places;
use crate::clock::SharedClock;
use crate::tasks::Tasks;
use crate::waking::Waking;
use amesh_proto::api::control::CertificateFacts;
use arc_swap::ArcSwap;
use files::Files;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The certificate of doors that others than this machine reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// PEM file with the certificate of this machine, and after it those of the authorities between it and the root: a full
    /// path. Every address of `api` that is not loopback needs it (docs/tls.md).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key, not encrypted and closed to others: a full path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// How often both files are looked at, in seconds. A new certificate is shown to whoever connects from then on.
    pub look_every_s: u64,
    /// Seconds within which a client must have finished its handshake.
    pub handshake_timeout_s: u64,
    /// Handshakes at a time, a quarter of them from one source at most; more are turned away.
    pub handshakes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { certificate: None, key: None, look_every_s: 10, handshake_timeout_s: 10, handshakes: 256 }
    }
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Files,
    shown: ArcSwap<Shown>,
    /// Why what the files hold now is not shown.
    trouble: Mutex<Option<String>>,
    look_every: Duration,
    patience: Duration,
    handshakes: Arc<Places>,
}

impl Tls {
    /// Reads the files, if any are set.
    ///
    /// # Errors
    /// [`TlsError`], naming the setting.
    pub fn load(config: &Config) -> Result<Option<Self>, TlsError> {
        let Some(files) = Files::of(config)? else { return Ok(None) };
        let shown = files.judge(&files.read()?)?;
        Ok(Some(Self(Arc::new(Inner {
            files,
            shown: ArcSwap::from_pointee(shown),
            trouble: Mutex::default(),
            look_every: Duration::from_secs(config.look_every_s.max(1)),
            patience: Duration::from_secs(config.handshake_timeout_s.max(1)),
            handshakes: Places::new(config.handshakes.div_ceil(4), config.handshakes),
        }))))
    }

    /// Looks at the files again and again, as a task of `tasks`; at once after a sleep, in which much time may have passed.
    pub fn watch(&self, tasks: &Tasks, clock: SharedClock, mut waking: Waking) {
        let (tls, blocking) = (self.clone(), tasks.clone());
        tasks.spawn_until_stopped(async move {
            let mut told = None;
            loop {
                let end = tls.shown().in_force_until();
                if end <= clock.now() && told.replace(end) != Some(end) {
                    tracing::warn!(ended = %end.to_rfc3339(), "the certificate has ended: clients refuse to connect");
                }
                waking.rest(tls.0.look_every).await;
                let looking = tls.clone();
                if let Err(error) = blocking.spawn_blocking(move || looking.look()).await {
                    tracing::error!(%error, "the certificate's files were not looked at");
                }
            }
        });
    }

    /// Looks at the files once, and shows what is in them if that is new and good.
    pub(crate) fn look(&self) {
        let shown = self.shown();
        let new = self.0.files.read().and_then(|content| match shown.is_of(content.digest()) {
            true => Ok(None),
            false => self.0.files.judge(&content).map(Some),
        });
        let trouble = match new {
            Ok(None) => None,
            Ok(Some(new)) => {
                tracing::info!(until = %new.in_force_until().to_rfc3339(), "a new certificate is shown from now on");
                self.0.shown.store(Arc::new(new));
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let mut known = self.trouble();
        if let Some(why) = trouble.as_ref().filter(|_| *known != trouble) {
            tracing::warn!(
                why,
                "the certificate's files cannot be used; the one from before is shown further"
            );
        }
        *known = trouble;
    }

    /// What whoever connects now is shown.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.0.shown.load_full()
    }

    /// For the owner.
    pub(crate) fn facts(&self) -> CertificateFacts {
        CertificateFacts {
            in_force_until: self.shown().in_force_until().to_rfc3339(),
            trouble: self.trouble().clone(),
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
