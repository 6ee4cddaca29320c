//! Every size limit that the protocol itself sets, in one place. Read by doors, parsers, store and client.
//!
//! KB is 1024 bytes; body, context and total count UTF-8 bytes, the subject counts code points.

/// Longest address, in characters (ADR-4).
pub const ADDRESS_LEN: usize = 254;
/// Longest agent name, scope segment or provider label (ADR-2, ADR-3).
pub const LABEL_LEN: usize = 63;
/// Longest subject, in code points (MSG-5).
pub const SUBJECT_CHARS: usize = 256;
/// Longest `payload.message`, in bytes (MSG-9).
pub const MESSAGE_BYTES: usize = 64 * 1024;
/// Longest `payload.context`, in bytes of its JSON text (MSG-9).
pub const CONTEXT_BYTES: usize = 256 * 1024;
/// Longest whole message, envelope and payload together (MSG-9).
pub const TOTAL_BYTES: usize = 512 * 1024;
/// Longest HTTP body of a message door; leaves room for a `payload_too_large` with a reason.
pub const HTTP_BODY_BYTES: usize = 1024 * 1024;
/// Longest `payload.type`, in bytes. The protocol names no limit; types are identifiers.
pub const TYPE_BYTES: usize = 128;
/// Longest message id that we carry.
pub const MESSAGE_ID_LEN: usize = 128;
/// Longest thread id or `in_reply_to` that we carry. Others mint ids of shapes that we do not.
pub const THREAD_ID_LEN: usize = 256;
/// Deepest nesting of arrays and objects in any JSON that a stranger sends.
pub const JSON_DEPTH: usize = 64;
/// Most distinct signing texts that are tried for one message (DESIGN §6).
pub const CANONICAL_CANDIDATES: usize = 8;
/// Smallest RSA modulus, in bits (IDN-10).
pub const RSA_MIN_BITS: usize = 2048;
/// Largest RSA modulus, in bits; larger ones make a verification arbitrarily dear.
pub const RSA_MAX_BITS: usize = 8192;
/// Longest public key text at any door.
pub const PUBLIC_KEY_TEXT: usize = 8 * 1024;
/// Longest signature text at any door: base64 of 8192 bits, with room for line breaks.
pub const SIGNATURE_TEXT: usize = 2 * 1024;
/// Longest discovery document that is read from another provider.
pub const WELL_KNOWN_BYTES: usize = 64 * 1024;
/// Most files that go with one message (ICL-37).
pub const ATTACHMENTS: usize = 10;
/// Largest attachment, in bytes (ICL-37).
pub const ATTACHMENT_BYTES: u64 = 25 << 20;
/// All attachments of one message together, in bytes (ICL-37).
pub const ATTACHMENTS_BYTES: u64 = 100 << 20;
/// Longest file name, in bytes.
pub const FILE_NAME_BYTES: usize = 255;
