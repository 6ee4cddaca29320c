//! TXT records of multicast DNS, as pairs of lines `key=value`.
#![no_main]
use amesh_proto::record::TxtRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let pairs = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        Some((std::str::from_utf8(&line[..at]).ok()?, &line[at + 1..]))
    });
    let Ok(record) = TxtRecord::parse(pairs) else { return };
    let properties = record.properties();
    let again = TxtRecord::parse(properties.iter().map(|(key, value)| (key.as_str(), value.as_bytes())));
    assert_eq!(again, Ok(record));
});
