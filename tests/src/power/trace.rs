//! Reads what `strace -f -y` wrote: the calls that change files or leave the machine, in order.

use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A call that matters to a disk or to somebody who waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A file was opened so that it exists; `truncate` empties it, `append` moves the cursor to its end.
    Open { path: PathBuf, create: bool, truncate: bool, append: bool },
    /// Bytes were written; no offset means at the file's cursor.
    Write { path: PathBuf, offset: Option<u64>, data: Vec<u8> },
    /// A file was cut or grown to `length`.
    Truncate { path: PathBuf, length: u64 },
    /// A name moved.
    Rename { from: PathBuf, to: PathBuf },
    /// A name was removed.
    Unlink { path: PathBuf },
    /// A directory was made.
    MakeDirectory { path: PathBuf },
    /// `fsync` or `fdatasync` of a file or directory returned success.
    Sync { path: PathBuf },
    /// Bytes left through a socket.
    Send { data: Vec<u8> },
    /// Bytes were written to standard output or error (the log).
    Log { data: Vec<u8> },
}

/// A call with the lines of the record at which it began and ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Line of the record where the call was made.
    pub began: usize,
    /// Line where it returned.
    pub ended: usize,
    /// What it was.
    pub call: Call,
}

const CALLS: &str = "openat,creat,pwrite64,pwritev,write,writev,fsync,fdatasync,rename,renameat,renameat2,unlink,\
                     unlinkat,ftruncate,mkdir,mkdirat,sendto,sendmsg";

/// A command that runs `program` and records it into `record`; add the program's arguments. The process that is started
/// becomes the program itself, so that signals and CPU figures are the program's.
#[must_use]
pub fn strace_command(program: &Path, record: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-q", "-s", "16777216", "-e", "signal=SIGKILL", "-e"]);
    command.arg(format!("trace={CALLS}")).arg("-o").arg(record).arg(program);
    command
}

/// Whether system calls can be recorded here.
///
/// # Errors
/// Saying why not.
pub fn possible() -> Result<()> {
    let trial = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let output = trial.context("strace is not installed")?;
    ensure!(output.status.success(), "strace does not work: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Whether the record of process `pid` is at its end. strace goes on writing after the process is gone.
#[must_use]
pub fn is_complete(record: &str, pid: u32) -> bool {
    let pid = pid.to_string();
    record.lines().rev().any(|line| {
        line.split_once(' ').is_some_and(|(who, said)| who == pid && said.trim_start().starts_with("+++ "))
    })
}

/// The successful calls of a record, in the order in which they ended.
#[must_use]
pub fn parse(record: &str) -> Vec<Event> {
    let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
    let mut events = Vec::new();
    for (number, line) in record.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (began, text) = if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, (number, start.trim_end().to_owned()));
            continue;
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((began, start)) = unfinished.remove(pid) else { continue };
            let Some((_, end)) = resumed.split_once(" resumed>") else { continue };
            (began, format!("{start}{end}"))
        } else {
            (number, rest.to_owned())
        };
        if let Some(call) = parse_call(&text) {
            events.push(Event { began, ended: number, call });
        }
    }
    events
}

fn parse_call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let arguments = arguments.trim_end().strip_suffix(')').unwrap_or(arguments);
    match name {
        "openat" | "creat" => open(arguments, result),
        "write" | "writev" | "pwrite64" | "pwritev" => write(name, arguments),
        "fsync" | "fdatasync" => Some(Call::Sync { path: descriptor_path(arguments)? }),
        "ftruncate" => {
            let length = arguments.rsplit(", ").next()?.parse().ok()?;
            Some(Call::Truncate { path: descriptor_path(arguments)?, length })
        }
        "rename" | "renameat" | "renameat2" => {
            let mut paths = strings(arguments).into_iter().map(to_path);
            Some(Call::Rename { from: paths.next()?, to: paths.next()? })
        }
        "unlink" | "unlinkat" => Some(Call::Unlink { path: to_path(strings(arguments).into_iter().next()?) }),
        "mkdir" | "mkdirat" => {
            Some(Call::MakeDirectory { path: to_path(strings(arguments).into_iter().next()?) })
        }
        "sendto" | "sendmsg" => Some(Call::Send { data: strings(arguments).concat() }),
        _ => None,
    }
}

fn open(arguments: &str, result: &str) -> Option<Call> {
    let path = descriptor_path(result)?;
    let flags = arguments.rsplit('"').next()?;
    let has = |flag: &str| flags.contains(flag);
    Some(Call::Open { path, create: has("O_CREAT"), truncate: has("O_TRUNC"), append: has("O_APPEND") })
}

fn write(name: &str, arguments: &str) -> Option<Call> {
    let data = strings(arguments).concat();
    let number: u32 = arguments.split('<').next()?.split(',').next()?.trim().parse().ok()?;
    let target = descriptor_path(arguments);
    if target.as_deref().is_some_and(is_socket) {
        return Some(Call::Send { data });
    }
    if number == 1 || number == 2 {
        return Some(Call::Log { data });
    }
    let offset = match name {
        "pwrite64" | "pwritev" => Some(arguments.rsplit(", ").next()?.parse().ok()?),
        _ => None,
    };
    Some(Call::Write { path: target?, offset, data })
}

fn is_socket(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["socket:", "TCP:", "TCPv6:", "UDP:", "UDPv6:", "UNIX"].iter().any(|kind| text.starts_with(kind))
}

/// The path in `5</some/where>`, as `-y` prints descriptors.
fn descriptor_path(text: &str) -> Option<PathBuf> {
    let start = text.find('<')? + 1;
    let end = start + text[start..].find(">")?;
    Some(PathBuf::from(&text[start..end]))
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every quoted string among the arguments, unescaped.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    let bytes = arguments.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            let (string, after) = unescape(bytes, at + 1);
            found.push(string);
            at = after;
        } else {
            at += 1;
        }
    }
    found
}

fn unescape(bytes: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    while at < bytes.len() && bytes[at] != b'"' {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        at += 1;
        let escaped = bytes.get(at).copied().unwrap_or(b'\\');
        if escaped.is_ascii_digit() {
            let octal = bytes[at..].iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let value =
                bytes[at..at + octal].iter().fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
            out.push(u8::try_from(value & 0xff).unwrap_or_default());
            at += octal;
            continue;
        }
        out.push(match escaped {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            other => other,
        });
        at += 1;
    }
    (out, at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_with_their_beginning_and_end() {
        let record = r#"7 openat(AT_FDCWD</t>, "/t/db", O_RDWR|O_CREAT|O_CLOEXEC, 0777) = 3</t/db>
7 pwrite64(3</t/db>, "he\"l\\lo\n\0\377\0011", 12, 100) = 12
7 fdatasync(3</t/db> <unfinished ...>
8 sendto(9<TCP:[1->2]>, "HTTP/1.1 200", 12, 0, NULL, 0) = 12
7 <... fdatasync resumed>)          = 0
8 rename("/t/a", "/t/b") = -1 ENOENT (No such file or directory)
8 writev(4</t/x>, [{iov_base="12", iov_len=2}, {iov_base="34", iov_len=2}], 2) = 4
"#;
        let events = parse(record);
        let path = PathBuf::from("/t/db");
        assert_eq!(
            events[0].call,
            Call::Open { path: path.clone(), create: true, truncate: false, append: false }
        );
        let data = b"he\"l\\lo\n\x00\xff\x011".to_vec();
        assert_eq!(events[1].call, Call::Write { path: path.clone(), offset: Some(100), data });
        assert_eq!(events[2].call, Call::Send { data: b"HTTP/1.1 200".to_vec() });
        assert_eq!(events[3], Event { began: 2, ended: 4, call: Call::Sync { path } });
        assert_eq!(events[4].call, Call::Write { path: "/t/x".into(), offset: None, data: b"1234".to_vec() });
        assert_eq!(events.len(), 5);
    }
}
