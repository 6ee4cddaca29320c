//! What a file is, by its name, its declared type and its first bytes. No virus scan: it keeps out what runs when it is
//! opened, and points at files that are not what they claim to be (A-57, ICL-37).

/// How many of a file's first bytes [`judge`] wants to see.
pub const HEAD_BYTES: usize = 512;

/// What the look at a file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Clean,
    /// It is not what it claims to be: a human should look first.
    Suspicious(String),
    /// It is not taken.
    Rejected(String),
}

/// Why a file of this declared type or name is not taken at all, whatever is in it.
#[must_use]
pub fn is_blocked(content_type: &str, filename: &str) -> Option<String> {
    let declared = essence(content_type);
    if BLOCKED_TYPES.contains(&declared.as_str()) {
        return Some(format!("files of type {declared} can be run and are not taken"));
    }
    let extension = filename.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase())?;
    BLOCKED_EXTENSIONS
        .contains(&extension.as_str())
        .then(|| format!("files named .{extension} can be run and are not taken"))
}

/// Judges a file whose declared type and name are not blocked by its first bytes.
#[must_use]
pub fn judge(content_type: &str, filename: &str, head: &[u8]) -> Verdict {
    if let Some(why) = is_blocked(content_type, filename) {
        return Verdict::Rejected(why);
    }
    if let Some((_, what)) = RUNNABLE.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Verdict::Rejected(format!("the file is {what}, which can be run"));
    }
    let declared = essence(content_type);
    let found = KINDS.iter().find(|kind| kind.fits(head));
    let claimed = KINDS.iter().find(|kind| kind.types.contains(&declared.as_str()));
    match (claimed, found) {
        // An unnamed type claims nothing.
        _ if declared.is_empty() || declared == "application/octet-stream" => Verdict::Clean,
        (Some(claimed), _) if !claimed.fits(head) => {
            Verdict::Suspicious(format!("it is declared as {declared}, but does not begin like one"))
        }
        (None, Some(found)) if !found.holds(&declared) => {
            Verdict::Suspicious(format!("it is declared as {declared}, but begins like {}", found.name))
        }
        _ if declared.starts_with("text/") && head.contains(&0) => {
            Verdict::Suspicious(format!("it is declared as {declared}, but is not text"))
        }
        _ => Verdict::Clean,
    }
}

/// `Text/Plain; charset=utf-8` → `text/plain`.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// One kind of file that is known by its first bytes.
struct Kind {
    name: &'static str,
    /// Bytes, and where they stand.
    magic: &'static [(usize, &'static [u8])],
    /// Types that a file must have these bytes for.
    types: &'static [&'static str],
    /// How types begin that files of this kind may be declared as besides.
    also: &'static [&'static str],
}

impl Kind {
    fn fits(&self, head: &[u8]) -> bool {
        self.magic.iter().any(|(at, bytes)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes)))
    }

    fn holds(&self, declared: &str) -> bool {
        self.types.contains(&declared) || self.also.iter().any(|start| declared.starts_with(start))
    }
}

const KINDS: [Kind; 13] = [
    Kind {
        name: "a PNG image",
        magic: &[(0, b"\x89PNG\r\n\x1a\n")],
        types: &["image/png"],
        also: &["image/"],
    },
    Kind { name: "a JPEG image", magic: &[(0, b"\xff\xd8\xff")], types: &["image/jpeg"], also: &["image/"] },
    Kind { name: "a GIF image", magic: &[(0, b"GIF87a"), (0, b"GIF89a")], types: &["image/gif"], also: &[] },
    Kind {
        name: "a PDF document",
        magic: &[(0, b"%PDF-")],
        types: &["application/pdf"],
        also: &["application/postscript", "application/vnd.adobe", "application/illustrator"],
    },
    // Office documents, books and packages are zip archives too.
    Kind {
        name: "a zip archive",
        magic: &[(0, b"PK\x03\x04"), (0, b"PK\x05\x06"), (0, b"PK\x07\x08")],
        types: &["application/zip"],
        also: &["application/", "model/", "font/"],
    },
    Kind {
        name: "a gzip archive",
        magic: &[(0, b"\x1f\x8b")],
        types: &["application/gzip", "application/x-gzip"],
        also: &["application/", "image/svg"],
    },
    Kind {
        name: "a bzip2 archive",
        magic: &[(0, b"BZh")],
        types: &["application/x-bzip2"],
        also: &["application/"],
    },
    Kind {
        name: "an xz archive",
        magic: &[(0, b"\xfd7zXZ\0")],
        types: &["application/x-xz"],
        also: &["application/"],
    },
    Kind {
        name: "a 7z archive",
        magic: &[(0, b"7z\xbc\xaf\x27\x1c")],
        types: &["application/x-7z-compressed"],
        also: &["application/"],
    },
    Kind {
        name: "a RIFF file",
        magic: &[(0, b"RIFF")],
        types: &["audio/wav", "audio/x-wav", "image/webp"],
        also: &["audio/", "video/", "image/"],
    },
    Kind {
        name: "an MP4 video",
        magic: &[(4, b"ftyp")],
        types: &["video/mp4"],
        also: &["video/", "audio/", "image/"],
    },
    Kind {
        name: "an Ogg file",
        magic: &[(0, b"OggS")],
        types: &["audio/ogg", "video/ogg"],
        also: &["application/ogg"],
    },
    Kind {
        name: "a BMP image",
        magic: &[(0, b"BM")],
        types: &["image/bmp"],
        also: &["image/", "text/", "application/"],
    },
];

/// First bytes of what a system runs.
const RUNNABLE: [(&[u8], &str); 12] = [
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"\xfe\xed\xfa\xce", "a Mach-O program"),
    (b"\xfe\xed\xfa\xcf", "a Mach-O program"),
    (b"\xce\xfa\xed\xfe", "a Mach-O program"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program"),
    (b"\xca\xfe\xba\xbe", "a Java class or a Mach-O program"),
    (b"#!", "a script"),
    (b"\0asm", "a WebAssembly program"),
    (b"dex\n", "an Android program"),
    (b"!<arch>\ndebian-binary", "a Debian package"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
];

/// The reference network's list, with the names that `file` and others give to the same things.
const BLOCKED_TYPES: [&str; 26] = [
    "application/x-executable",
    "application/x-pie-executable",
    "application/x-sharedlib",
    "application/x-elf",
    "application/x-msdos-program",
    "application/x-msdownload",
    "application/x-dosexec",
    "application/vnd.microsoft.portable-executable",
    "application/x-mach-binary",
    "application/x-mach-o-executable",
    "application/x-sh",
    "application/x-shellscript",
    "text/x-shellscript",
    "application/x-csh",
    "application/x-perl",
    "application/x-python-code",
    "application/x-bytecode.python",
    "application/hta",
    "application/x-bat",
    "application/java-archive",
    "application/x-java-applet",
    "application/vnd.apple.installer+xml",
    "application/x-rpm",
    "application/x-deb",
    "application/vnd.debian.binary-package",
    "application/x-msi",
];

const BLOCKED_EXTENSIONS: [&str; 22] = [
    "exe", "dll", "scr", "com", "pif", "msi", "bat", "cmd", "ps1", "vbs", "vbe", "jse", "wsf", "hta", "lnk",
    "jar", "sh", "csh", "pyc", "deb", "rpm", "apk",
];
