//! What a process costs the machine: CPU time and memory, as the kernel accounts for them.

use std::time::Duration;

/// CPU time, user and system, that a process and its ended threads have used.
///
/// # Errors
/// When the process is gone.
pub fn cpu(pid: u32) -> std::io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = |index: usize| -> u64 {
        after_name.split_whitespace().nth(index).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    // Fields 14 and 15 of stat(5), counted from the state, which is field 3; in ticks of 10 ms on Linux.
    Ok(Duration::from_millis((field(11) + field(12)) * 10))
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> std::io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_cpu_and_memory() {
        let me = std::process::id();
        let before = cpu(me).unwrap();
        let mut sum = 0_u64;
        while cpu(me).unwrap() < before + Duration::from_millis(20) {
            sum = (0..10_000_u64).fold(sum, u64::wrapping_add);
        }
        assert!(resident_bytes(me).unwrap() > 100_000, "{sum}");
    }
}
