//! json (being written).

/// Why a text is refused (SIG-13).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
}
