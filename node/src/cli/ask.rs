//! Asking a person to agree. A program never agrees: commands take `--force` or `--yes` for that.

use super::context::Context;
use std::io::IsTerminal as _;

pub(super) fn agreed(ctx: &Context, question: &str) -> anyhow::Result<bool> {
    if ctx.out.is_json() || !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
