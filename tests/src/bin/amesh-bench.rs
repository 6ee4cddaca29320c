//! `amesh-bench`: measures what a message costs and prints the table; `amesh-bench floor DIR` serves the floor.
//! `--only STORY` measures one story; `--messages N` and `--rounds N` set the effort; `--docs DIR` writes the table and the
//! plot there. `amesh-bench hold API FILE` opens idle WebSockets with the API keys in FILE and holds them.

use amesh_tests::bench::rows::Bench;
use amesh_tests::bench::{floor, plot, rows, table};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (mut messages, mut rounds, mut docs, mut only) = (20_000, 5, None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "floor" => return floor::serve(&PathBuf::from(value()?)).await,
            "hold" => return rows::hold(&value()?, &PathBuf::from(value()?)).await,
            "--only" => only = Some(value()?),
            "--messages" => messages = value()?.parse()?,
            "--rounds" => rounds = value()?.parse()?,
            "--docs" => docs = Some(PathBuf::from(value()?)),
            other => {
                bail!("amesh-bench [--only STORY] [--messages N] [--rounds N] [--docs DIR]; what is {other}?")
            }
        }
    }
    let bench = Bench::prepare(messages, rounds)?;
    let (v, f) = (bench.v.times(1e6), bench.f.times(1e3));
    let units = format!(
        "V = {:.1} µs ({:.1} – {:.1}), F = {:.3} ms ({:.3} – {:.3}); {messages} messages a reading, {rounds} readings \
         a row.\nNodes run with raised limits:\n\n```toml\n{}```\n",
        v.median,
        v.min,
        v.max,
        f.median,
        f.min,
        f.max,
        rows::RAISED,
    );
    println!("{units}");
    let measured = bench.run(only.as_deref()).await?;
    let table = table::markdown(&measured);
    println!("{table}");
    if let Some(docs) = docs {
        std::fs::write(docs.join("bench-table.md"), format!("{units}\n{table}"))?;
        let title = "amesh: measured, beside what is to be reached";
        std::fs::write(docs.join("bench.svg"), plot::bars(title, &measured))?;
    }
    Ok(())
}
