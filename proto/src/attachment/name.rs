//! File names that are safe to create in a directory of anybody's: no separators, nothing hidden, nothing that a system
//! treats specially (ICL-33, PITFALLS of every unpacker). What the reference client's own cleaning yields passes as it is.

use crate::limits::FILE_NAME_BYTES;

/// The name that a file is given in place of `name`. Safe whatever comes in, and the same when applied twice.
#[must_use]
pub fn safe_name(name: &str) -> String {
    // Only what follows the last separator was ever the name.
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let cleaned: String = last.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let trimmed = cleaned.trim_matches(is_edge);
    let name = if is_reserved(trimmed) { format!("_{trimmed}") } else { trimmed.to_owned() };
    let name = shortened(&name);
    if name.is_empty() { UNNAMED.to_owned() } else { name }
}

/// Whether `name` may be used as it is.
#[must_use]
pub fn is_safe(name: &str) -> bool {
    safe_name(name) == name
}

/// Percent signs go too: `%2e%2e%2f` is a path to whoever decodes it.
fn is_plain(c: char) -> bool {
    !c.is_control() && !is_invisible(c) && !matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|' | '%')
}

/// What turns the direction of writing or shows nothing, so that `exe.fdp` reads as `pdf.exe`.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_edge(c: char) -> bool {
    c == '.' || c.is_whitespace()
}

/// Names that Windows takes for devices, whatever follows the first dot.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && matches!(n.as_bytes()[0], b'1'..=b'9'))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

/// At most 255 bytes, as every file system takes; a short extension is kept.
fn shortened(name: &str) -> String {
    if name.len() <= FILE_NAME_BYTES {
        return name.to_owned();
    }
    let extension = name.rsplit_once('.').map(|(_, end)| end).filter(|end| end.len() <= LONGEST_EXTENSION);
    let tail = extension.map(|end| format!(".{end}")).unwrap_or_default();
    let room = name.floor_char_boundary(FILE_NAME_BYTES - tail.len());
    let stem = name[..room].trim_end_matches(is_edge);
    format!("{stem}{tail}")
}

/// What a file without a usable name is called; the reference client's word.
const UNNAMED: &str = "unnamed_file";
const LONGEST_EXTENSION: usize = 16;
