//! What it takes to bring a file to a node and to fetch it again, beside a plain copy of the same file.

use super::Bench;
use crate::agent::TestAgent;
use crate::bench::spread::Spread;
use crate::bench::table::Row;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use tokio::net::TcpStream;

/// The rows about files.
pub(super) async fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut node = bench.node("bench")?;
    node.start().await?;
    let agent = node.agent("agent").await?;
    let (mut up, mut down, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=bench.rounds {
        let bytes: Vec<u8> =
            (0..BYTES).map(|at| (at.wrapping_mul(31) ^ round ^ (at >> 8)).to_le_bytes()[0]).collect();
        let copy = copied(bench.scratch.path(), &bytes)?;
        let begun = Instant::now();
        let id = upload(&agent, &bytes).await?;
        let uploaded = begun.elapsed().as_secs_f64();
        let path = format!("/v1/attachments/{id}/download");
        let begun = Instant::now();
        let (status, got) = ask(&agent, Request::get(&path), Bytes::new()).await?;
        let downloaded = begun.elapsed().as_secs_f64();
        ensure!(status == 200 && got == bytes, "the download answered {status}, {} bytes", got.len());
        if round > 0 {
            up.push(uploaded / copy);
            down.push(downloaded / copy);
            copies.push(copy * 1e3);
        }
    }
    node.stop().await?;
    let note = format!("a copy with `fdatasync` takes {:.0} ms", Spread::of(copies).median);
    let row = |what: &str, readings| Row {
        what: what.to_owned(),
        measured: Spread::of(readings),
        unit: "× copy",
        reach: None,
        note: note.clone(),
    };
    Ok(vec![row("upload of 25 MiB, confirmed: time", up), row("download of 25 MiB: time", down)])
}

/// Seconds of a plain copy that is on disk at its end.
fn copied(folder: &Path, bytes: &[u8]) -> Result<f64> {
    let (from, to) = (folder.join("copy-from"), folder.join("copy-to"));
    std::fs::write(&from, bytes)?;
    let begun = Instant::now();
    let content = std::fs::read(&from)?;
    let mut file = File::create(&to)?;
    file.write_all(&content)?;
    file.sync_data()?;
    let taken = begun.elapsed().as_secs_f64();
    std::fs::remove_file(from)?;
    std::fs::remove_file(to)?;
    Ok(taken)
}

/// Asks, puts and confirms, as a client would.
async fn upload(agent: &TestAgent, bytes: &[u8]) -> Result<String> {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = json!({"filename": "data.bin", "content_type": "application/octet-stream", "size": bytes.len(),
        "digest": format!("sha256:{digest}")});
    let json = |value: &Value| Bytes::from(value.to_string());
    let (status, ticket) = ask(agent, Request::post("/v1/attachments/upload"), json(&file)).await?;
    ensure!(status == 201, "an upload was refused: {}", String::from_utf8_lossy(&ticket));
    let ticket: Value = serde_json::from_slice(&ticket)?;
    let text = |field: &str| ticket[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
    let (url, id) = (text("upload_url")?, text("attachment_id")?);
    let path = url.find("/v1/").or_else(|| url.find("/attachments")).map(|at| &url[at..]);
    let (status, _) =
        ask(agent, Request::put(path.context("a strange upload_url")?), Bytes::copy_from_slice(bytes))
            .await?;
    ensure!(status == 200, "the bytes were refused with {status}");
    let (status, _) =
        ask(agent, Request::post(format!("/v1/attachments/{id}/confirm")), json(&json!({}))).await?;
    ensure!(status == 200, "the confirmation was refused with {status}");
    Ok(id)
}

/// One request on a connection of its own, without the weight of a whole client.
async fn ask(agent: &TestAgent, request: hyper::http::request::Builder, body: Bytes) -> Result<(u16, Bytes)> {
    let stream = TcpStream::connect(agent.api()).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(connection);
    let request = request
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", agent.key))
        .body(Full::new(body))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

const BYTES: usize = 25 << 20;
