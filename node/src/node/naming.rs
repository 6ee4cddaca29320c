//! What this node calls itself: host, organization and provider, from the configuration or the machine. Called by `node`.

use super::error::BuildError;
use crate::config::Config;
use amesh_proto::address::{Address, Naming};

/// The names of this node, checked once: every address made here is valid from then on.
pub(super) fn of(config: &Config) -> Result<Naming, BuildError> {
    let host = match &config.host {
        Some(host) => host.to_ascii_lowercase(),
        None => machine_name(),
    };
    let (org, provider) = (config.org.to_ascii_lowercase(), config.provider.to_ascii_lowercase());
    let probe = |setting, value: &str, address: String| match Address::parse(&address, &[provider.as_str()]) {
        Ok(_) if !value.is_empty() => Ok(()),
        Ok(_) => Err(BuildError::Name { setting, value: value.to_owned(), why: "it is empty".to_owned() }),
        Err(error) => Err(BuildError::Name { setting, value: value.to_owned(), why: error.to_string() }),
    };
    probe("provider", &provider, format!("x@y.{provider}"))?;
    probe("org", &org, format!("x@{org}.{provider}"))?;
    probe("host", &host, format!("x@{host}.{org}.{provider}"))?;
    // `name@org.provider` and `name@host.provider` must never mean two things (DESIGN §3).
    if host == org {
        let why = "it equals the organization, so addresses would be ambiguous; choose another with --host"
            .to_owned();
        return Err(BuildError::Name { setting: "host", value: host, why });
    }
    Ok(Naming { org, provider, host })
}

/// The hostname without its domain, as a label (IPR-11).
fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let first = name.split('.').next().unwrap_or_default();
    let label: String =
        first.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "node".to_owned() } else { label.chars().take(63).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: &str, org: &str, provider: &str) -> Config {
        Config {
            host: Some(host.to_owned()),
            org: org.to_owned(),
            provider: provider.to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn names_are_lowercased() {
        let naming = of(&config("Laptop", "Acme", "AIMaestro.local")).unwrap();
        assert_eq!((naming.host.as_str(), naming.org.as_str()), ("laptop", "acme"));
    }

    #[test]
    fn a_name_that_no_address_can_carry_is_named_in_the_error() {
        for (bad, setting) in [
            (config("a_b", "acme", "aimaestro.local"), "host"),
            (config("a", "ac me", "aimaestro.local"), "org"),
            (config("a", "acme", "nodots"), "provider"),
            (config("acme", "acme", "aimaestro.local"), "host"),
        ] {
            let error = of(&bad).unwrap_err();
            assert!(error.to_string().starts_with(setting), "{error}");
        }
    }

    #[test]
    fn the_machine_has_a_name_that_is_a_label() {
        let name = machine_name();
        assert!(of(&config(&name, "acme", "aimaestro.local")).is_ok(), "{name}");
    }
}
