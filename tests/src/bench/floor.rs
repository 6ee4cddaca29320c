//! The floor: what a message costs when a server does nothing but what it must. V and F are measured here, and the
//! floor server does one verification and one append with a group `fdatasync` behind the same HTTP library.

use super::spread::{Spread, percentile};
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Length of the message that V and F are measured with.
pub const MESSAGE_BYTES: usize = 1024;

/// V: seconds of one strict verification of a 1 KB message, over several rounds.
///
/// # Errors
/// When a signature does not verify, which would make the figure worthless.
pub fn measure_v() -> anyhow::Result<Spread> {
    let (message, signature, key) = signed();
    let mut rounds = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        for _ in 0..2_000 {
            key.verify_strict(std::hint::black_box(&message), &signature)?;
        }
        rounds.push(start.elapsed().as_secs_f64() / 2_000.0);
    }
    Ok(Spread::of(rounds))
}

/// F: seconds of one append of 1 KB with `fdatasync` in `folder`, the median of each of several rounds.
///
/// # Errors
/// When the file cannot be written.
pub fn measure_f(folder: &Path) -> anyhow::Result<Spread> {
    let path = folder.join("floor-f");
    let mut file = File::create(&path)?;
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            file.write_all(&[b'x'; MESSAGE_BYTES])?;
            file.sync_data()?;
            times.push(start.elapsed());
        }
        times.sort();
        rounds.push(percentile(&times, 0.5).as_secs_f64());
    }
    std::fs::remove_file(path)?;
    Ok(Spread::of(rounds))
}

fn signed() -> (Vec<u8>, Signature, VerifyingKey) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = vec![b'm'; MESSAGE_BYTES];
    let signature = key.sign(&message);
    (message, signature, key.verifying_key())
}

struct Floor {
    message: Vec<u8>,
    signature: Signature,
    key: VerifyingKey,
    appends: mpsc::Sender<(Bytes, oneshot::Sender<()>)>,
}

/// Serves `POST /route` on an address of its own choice, printed as `floor ready <address>`, until killed.
///
/// # Errors
/// When it cannot listen or write.
pub async fn serve(folder: &Path) -> anyhow::Result<()> {
    let (appends, mut waiting) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(4_096);
    let mut file = File::create(folder.join("floor-log"))?;
    std::thread::spawn(move || {
        let mut group = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            group.push(first);
            while let Ok(next) = waiting.try_recv() {
                group.push(next);
            }
            let bytes: Vec<u8> = group.iter().flat_map(|(body, _)| body.iter().copied()).collect();
            if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
                return;
            }
            for (_, done) in group.drain(..) {
                let _unheard = done.send(()); // a caller that hung up needs no answer
            }
        }
    });
    let (message, signature, key) = signed();
    let floor = Arc::new(Floor { message, signature, key, appends });
    let app = axum::Router::new().route("/route", post(route)).with_state(floor);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("floor ready {}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn route(State(floor): State<Arc<Floor>>, body: Bytes) -> Result<&'static str, &'static str> {
    floor.key.verify_strict(&floor.message, &floor.signature).map_err(|_| "refused")?;
    let (done, wait) = oneshot::channel();
    floor.appends.send((body, done)).await.map_err(|_| "closed")?;
    wait.await.map_err(|_| "closed")?;
    Ok("{\"id\":\"msg_0_00\",\"status\":\"queued\",\"method\":\"relay\"}")
}
