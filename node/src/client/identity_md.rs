//! `IDENTITY.md`, by which an agent that lost its memory finds itself again (IDN-6, IDN-7). Called after every
//! change of identity or registration.

use super::disk::{self, DiskError, PUBLIC};
use super::identity::Identity;
use super::registration::Registration;
use amesh_proto::time::UnixMillis;

/// Writes the file anew.
///
/// # Errors
/// When it cannot be written.
pub fn write(identity: &Identity, registrations: &[Registration], now: UnixMillis) -> Result<(), DiskError> {
    let text = render(identity, registrations, now);
    disk::write_whole(&identity.home.identity_md(), text.as_bytes(), PUBLIC)
}

fn render(identity: &Identity, registrations: &[Registration], now: UnixMillis) -> String {
    let Identity { home, name, tenant, address, fingerprint, provider, .. } = identity;
    let external: Vec<&Registration> = registrations.iter().filter(|one| one.provider != *provider).collect();
    let rows: String = external
        .iter()
        .map(|one| format!("| **{}** | `{}` | External |\n", one.provider, one.address))
        .collect();
    format!(
        "# Agent Messaging Protocol (AMP) Identity

This agent is configured for inter-agent messaging using AMP.

## Core Identity

| Field | Value |
|-------|-------|
| **Name** | {name} |
| **Tenant** | {tenant} |
| **Fingerprint** | {fingerprint} |
| **Last Updated** | {now} |

## My Addresses

{count} address(es); the one of the recipient's provider is used by itself.

| Provider | Address | Type |
|----------|---------|------|
| **Local ({provider})** | `{address}` | Primary |
{rows}
## Files Location

| File | Path |
|------|------|
| Identity File | {identity_file} |
| Private Key | {private_key} |
| Public Key | {public_key} |
| Config | {config} |
| Registrations | {registrations_dir}/ |
| Inbox | {inbox}/ |
| Sent | {sent}/ |

## Quick Commands

```bash
amesh identity                          # Who am I? Run this first
amesh inbox                             # Fetch and list new mail
amesh read <message-id>                 # Show one message
amesh send <to> \"Subject\" \"Message\"     # Send a message
amesh reply <message-id> \"Message\"      # Answer one
amesh status                            # Full status
```

If several agents live on this machine, put `--agent {name}` behind the command.
",
        count = external.len() + 1,
        identity_file = home.identity_md().display(),
        private_key = home.private_key().display(),
        public_key = home.public_key().display(),
        config = home.config().display(),
        registrations_dir = home.registrations().display(),
        inbox = home.inbox().display(),
        sent = home.sent().display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::home::AgentHome;

    #[test]
    fn it_has_the_required_sections_and_every_address() {
        let identity = Identity {
            home: AgentHome::at("/h/agents/alice"),
            name: "alice".to_owned(),
            tenant: "acme".to_owned(),
            address: "alice@acme.aimaestro.local".to_owned(),
            fingerprint: "SHA256:abc=".to_owned(),
            provider: "aimaestro.local".to_owned(),
            maestro_url: String::new(),
            created_at: String::new(),
        };
        let one = |provider: &str, address: &str| Registration {
            provider: provider.to_owned(),
            address: address.to_owned(),
            ..Registration::default()
        };
        let registrations = [
            one("aimaestro.local", "alice@acme.aimaestro.local"),
            one("crabmail.ai", "alice@acme.crabmail.ai"),
        ];
        let text = render(&identity, &registrations, UnixMillis(1_706_648_400_000));
        for part in [
            "# Agent Messaging Protocol (AMP) Identity\n",
            "## Core Identity\n",
            "| **Name** | alice |",
            "| **Tenant** | acme |",
            "| **Fingerprint** | SHA256:abc= |",
            "| **Last Updated** | 2024-01-30T21:00:00Z |",
            "## My Addresses\n",
            "`alice@acme.aimaestro.local` | Primary |",
            "`alice@acme.crabmail.ai` | External |",
            "## Files Location\n",
            "/h/agents/alice/keys/private.pem",
            "## Quick Commands\n",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert_eq!(text.matches("alice@acme.aimaestro.local").count(), 1, "the local address is listed once");
    }
}
