//! Whether the other end of a loopback connection belongs to the node's own user (DESIGN §6, A-42). Called by `register`.
//!
//! Linux only: elsewhere the answer is no, and a repeated registration must bring its old API key or a proof.

use std::net::{IpAddr, SocketAddr};

/// Whether `remote`, connected to our listener end `local`, is a socket of the user this node runs as.
pub(crate) fn is_own_user(remote: SocketAddr, local: SocketAddr) -> bool {
    let on_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    if !on_loopback(remote) || !on_loopback(local) {
        return false;
    }
    own_uid().is_some_and(|own| uid_of(remote, local) == Some(own))
}

#[cfg(target_os = "linux")]
fn own_uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|me| me.uid())
}

#[cfg(target_os = "linux")]
fn uid_of(remote: SocketAddr, local: SocketAddr) -> Option<u32> {
    let table = if remote.is_ipv6() { "/proc/net/tcp6" } else { "/proc/net/tcp" };
    find(&std::fs::read_to_string(table).ok()?, remote, local)
}

#[cfg(not(target_os = "linux"))]
fn own_uid() -> Option<u32> {
    None
}

#[cfg(not(target_os = "linux"))]
fn uid_of(_: SocketAddr, _: SocketAddr) -> Option<u32> {
    None
}

/// The uid in the line of the client's socket: its local end is our remote end.
fn find(table: &str, remote: SocketAddr, local: SocketAddr) -> Option<u32> {
    let (theirs, ours) = (hex(remote), hex(local));
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let here = columns.next()?.eq_ignore_ascii_case(&theirs);
        let there = columns.next()?.eq_ignore_ascii_case(&ours);
        if !here || !there {
            return None;
        }
        // Left after both addresses: state, queues, timer, retransmits, uid, timeout, inode.
        let uid = columns.nth(4)?.parse().ok()?;
        // A socket that its program has closed is nobody's, and the kernel shows it as root's.
        let inode: u64 = columns.nth(1)?.parse().ok()?;
        (inode != 0).then_some(uid)
    })
}

/// As the kernel prints addresses: 32-bit words in the machine's byte order.
fn hex(address: SocketAddr) -> String {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
    let words: Vec<u32> = match address.ip() {
        IpAddr::V4(v4) => vec![word(&v4.octets())],
        IpAddr::V6(v6) => v6.octets().chunks(4).map(word).collect(),
    };
    let ip: String = words.iter().map(|word| format!("{word:08X}")).collect();
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_connection_is_recognised_over_both_families() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_server, remote) = listener.accept().unwrap();
            assert_eq!(remote, client.local_addr().unwrap());
            assert!(is_own_user(remote, listener.local_addr().unwrap()), "{listen}");
        }
    }

    #[test]
    fn another_users_line_does_not_count_as_ours() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            1: 0100007F:C350 0100007F:59D8 01 00000000:00000000 00:00000000 00000000  4242        0 9 1\n";
        let (remote, local) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:23000".parse().unwrap());
        assert_eq!(find(table, remote, local), Some(4242));
        assert_eq!(find(table, local, remote), None);
    }

    #[test]
    fn a_socket_that_its_program_has_closed_is_not_roots() {
        let table = "   1: 0100007F:C350 0100007F:59D8 06 00000000:00000000 03:00001770 00000000     0        0 0 3\n";
        let (remote, local) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:23000".parse().unwrap());
        assert_eq!(find(table, remote, local), None);
    }

    #[test]
    fn addresses_off_this_machine_are_never_ours() {
        assert!(!is_own_user("192.0.2.1:5000".parse().unwrap(), "127.0.0.1:23000".parse().unwrap()));
    }
}
