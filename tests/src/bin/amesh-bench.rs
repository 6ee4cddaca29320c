//! `amesh-bench`: measures what a message costs and prints the table; `amesh-bench floor DIR` serves the floor.
//! `--only STORY` measures one story; `--messages N` and `--rounds N` set the effort; `--docs DIR` writes the table and the
//! plot there. `amesh-bench hold API FILE` opens idle WebSockets with the API keys in FILE and holds them.

use amesh_tests::bench::rows::Bench;
use amesh_tests::bench::{floor, plot, rows, table};
use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Measures what a message costs, and prints the table of docs/benchmarks.md.
#[derive(Parser, Debug)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Measure one story only.
    #[arg(long, value_parser = PossibleValuesParser::new(rows::STORIES))]
    only: Option<String>,
    /// Messages a reading.
    #[arg(long, default_value_t = 20_000, value_parser = at_least_one)]
    messages: usize,
    /// Readings a row.
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    rounds: usize,
    /// Write `bench-table.md` and the plot `bench.svg` into this directory.
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
}

/// What the bench starts of itself in processes of their own.
#[derive(Subcommand, Debug)]
enum Part {
    /// Serve the floor: a server that does nothing but append and sync, in DIR.
    Floor { dir: PathBuf },
    /// Open idle WebSockets with the API keys in FILE at the API, and hold them.
    Hold { api: String, file: PathBuf },
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    match args.part {
        Some(Part::Floor { dir }) => floor::serve(&dir).await,
        Some(Part::Hold { api, file }) => rows::hold(&api, &file).await,
        None => measure(args).await,
    }
}

async fn measure(args: Args) -> Result<()> {
    let Args { messages, rounds, docs, only, .. } = args;
    if let Some(docs) = &docs {
        // Known before, not after, half an hour of measuring.
        ensure!(docs.is_dir(), "--docs: there is no directory {}", docs.display());
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
