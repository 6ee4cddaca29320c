//! Power loss, from the outside: record a real node's system calls, then ask what a disk would hold had the
//! power gone at any of them (DESIGN §7). Called by `tests/tests/power_loss.rs`.

mod disk;
mod order;
mod survey;
mod trace;

pub use disk::{Disk, Loss};
pub use order::{Violation, acknowledged_too_early, answered, link_acknowledged};
pub use survey::missing_after;
pub use trace::{Call, Event, is_complete, parse, possible, strace_command};

/// How often the power is cut, and from which seed: at random, a hundred times and some; `AMESH_CUTS` and `AMESH_SEED` say
/// otherwise.
#[must_use]
pub fn cuts_and_seed() -> (usize, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let cuts = number("AMESH_CUTS").and_then(|cuts| usize::try_from(cuts).ok());
    (cuts.unwrap_or(104), number("AMESH_SEED").unwrap_or_else(rand::random))
}

/// Every message id (`msg_<digits>_<hex>`) that occurs in `bytes`, without repeats.
#[must_use]
pub fn message_ids(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes[at..].windows(4).position(|window| window == b"msg_").map(|p| p + at) {
        let rest = &bytes[start + 4..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let hex = match rest.get(digits) {
            Some(b'_') => rest[digits + 1..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count(),
            _ => 0,
        };
        at = start + 4;
        if digits > 0 && hex > 0 {
            let end = start + 4 + digits + 1 + hex;
            let id = String::from_utf8_lossy(&bytes[start..end]).into_owned();
            if !found.contains(&id) {
                found.push(id);
            }
            at = end;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::message_ids;

    #[test]
    fn message_ids_are_found_among_other_bytes() {
        let bytes = b"\x00\"msg_17_ab12\",msg_,msg_x_1,msg_9_ msg_18_00ff\xffmsg_17_ab12";
        assert_eq!(message_ids(bytes), ["msg_17_ab12", "msg_18_00ff"]);
    }
}
