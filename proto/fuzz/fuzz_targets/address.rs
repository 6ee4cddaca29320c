//! Addresses and ids: no panic, and print and parse agree.
#![no_main]
use amesh_proto::address::{Address, Naming};
use amesh_proto::id::MessageId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let naming = Naming::new("default", "aimaestro.local", "host").expect("names");
    for address in
        [Address::parse(text, &["agents.corp.io"]), naming.expand(text, None)].into_iter().flatten()
    {
        let again = Address::parse(address.as_str(), &[address.provider()]).expect("what is printed parses");
        assert_eq!((again.tenant(), again.provider()), (address.tenant(), address.provider()));
        let bytes = postcard::to_stdvec(&address).expect("serializes");
        let back: Address = postcard::from_bytes(&bytes).expect("deserializes");
        assert_eq!(back, address);
        assert_eq!(
            naming.expand(address.as_str(), None).map(|a| a.name().to_owned()).as_deref(),
            Ok(address.name())
        );
    }
    if let Ok(id) = MessageId::parse(text) {
        assert!(!id.as_str().contains(['/', '.', '\0', ' ']));
    }
    let _address: Result<Address, _> = postcard::from_bytes(text.as_bytes());
});
