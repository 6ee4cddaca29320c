//! How every command speaks: text for people, JSON with stable keys for programs, errors that name the mending
//! command (DESIGN §4). Called by every command file and by `bin/amesh.rs`.

use serde::Serialize;
use std::io::Write as _;

/// The command did what was asked.
pub const EXIT_OK: u8 = 0;
/// The command failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line was wrong.
pub const EXIT_USAGE: u8 = 2;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

/// A failure as the user reads it: what happened, why, and what to type.
#[derive(Debug, Clone, thiserror::Error, Serialize)]
#[error("{what}")]
pub struct Trouble {
    /// A stable word for programs.
    #[serde(rename = "error")]
    pub code: std::borrow::Cow<'static, str>,
    /// What happened.
    #[serde(rename = "message")]
    pub what: String,
    /// Why, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command that mends it.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// A wrong command line rather than a failed command.
    #[serde(skip)]
    pub usage: bool,
}

impl Trouble {
    /// `what` happened; `code` is the stable word for it.
    pub fn new(code: impl Into<std::borrow::Cow<'static, str>>, what: impl Into<String>) -> Self {
        Self { code: code.into(), what: what.into(), why: None, mend: None, usage: false }
    }

    /// The command line asked for something that cannot be asked.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new("usage", what) }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, why: impl std::fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds the command that mends it.
    #[must_use]
    pub fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }

    fn text(&self) -> String {
        let mut text = format!("amesh: {}", self.what);
        if let Some(why) = &self.why {
            text.push_str(&format!("\n  why: {why}"));
        }
        if let Some(mend) = &self.mend {
            text.push_str(&format!("\n  try: {mend}"));
        }
        text
    }
}

impl Output {
    /// Text, or JSON if asked.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program is reading.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints a result.
    pub fn show<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let line = if self.json { serde_json::to_string_pretty(value)? } else { text() };
        self.line(&line)
    }

    /// Prints one result of a stream: one line of JSON, or text.
    pub fn stream<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let line = if self.json { serde_json::to_string(value)? } else { text() };
        self.line(&line)
    }

    /// Prints as it is. A reader that went away (`| head`) is no failure.
    pub fn line(self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        match write!(out, "{text}{end}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A remark on standard error, for people only.
    pub fn note(self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Prints a failure on standard error and gives the exit code for it.
    #[must_use]
    pub fn fail(self, error: &anyhow::Error) -> u8 {
        let trouble = match error.downcast_ref::<Trouble>() {
            Some(trouble) => trouble.clone(),
            None => {
                let why: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
                let trouble = Trouble::new("failed", error.to_string());
                if why.is_empty() { trouble } else { trouble.because(why.join(": ")) }
            }
        };
        if self.json {
            let text = serde_json::to_string(&trouble).unwrap_or_else(|_| trouble.text());
            eprintln!("{text}");
        } else {
            eprintln!("{}", trouble.text());
        }
        if trouble.usage { EXIT_USAGE } else { EXIT_FAILED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_type() {
        let trouble =
            Trouble::new("node_not_running", "no node is running").because("no node.json").mend("amesh up");
        assert_eq!(trouble.text(), "amesh: no node is running\n  why: no node.json\n  try: amesh up");
        let json = serde_json::to_value(&trouble).unwrap();
        assert_eq!(json["error"], "node_not_running");
        assert_eq!(json["try"], "amesh up");
    }

    #[test]
    fn usage_errors_and_failures_have_their_own_exit_codes() {
        let out = Output::new(true);
        assert_eq!(out.fail(&Trouble::usage("bad").into()), EXIT_USAGE);
        assert_eq!(out.fail(&Trouble::new("x", "y").into()), EXIT_FAILED);
        assert_eq!(out.fail(&anyhow::anyhow!("plain")), EXIT_FAILED);
    }
}
