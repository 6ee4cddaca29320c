//! Step 3 of the hallway: where a message goes. Pure: what was asked and what is known in, the way out.

use super::error::{Refusal, SignatureFault};
use super::whereabouts::Whereabouts;
use crate::agents::Agent;
use crate::agents::directory::{Leaving, Resolution, Standing};
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::trust::{self, Trust};
use std::sync::Arc;

/// Everything the decision rests on.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// Brought by a link, a host or a provider: may end here, never travel on (MSH-13).
    pub by_link: bool,
    /// A signature was verified.
    pub signed: bool,
    pub from: &'a Address,
    pub to: &'a Address,
    /// Whether the sender may use its name.
    pub sender: Standing,
    pub recipient: Resolution,
    /// Where the recipient is, should this node not know it.
    pub elsewhere: Whereabouts,
    /// It came from a host whose unsigned mail the owner takes (MSH-10): such a host makes nothing `verified`.
    pub relaxed: bool,
    /// Files go with it.
    pub has_files: bool,
    /// The agent of this node that `recipient` was, where it moved away from here (DESIGN §3, Moving).
    pub leaving: Option<Leaving>,
    /// Earlier mail of the recipient is still to come from its last host, and this is not that mail.
    pub overtakes: bool,
    /// Even local mail must be signed (DESIGN §1.4).
    pub require_signatures: bool,
    /// `to` is in this node's own provider domain.
    pub own_domain: bool,
    /// This node's own provider domain.
    pub provider: &'a str,
    /// Some carrier moves mail to the provider of `to`.
    pub provider_served: bool,
    /// The member that carries this node's mail to other providers.
    pub way_out: Option<(NodeId, String)>,
    /// This node is the gateway between the member that brought it and the provider of `to`, or the other way round, and the
    /// owner lets these two write to each other.
    pub carried_on: bool,
}

/// The way a message takes.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    /// Into a mailbox here.
    Local { agent: Arc<Agent>, trust: Trust },
    /// Into the outbox towards a member of the mesh.
    Host { node: NodeId, host: String, address: Address },
    /// Into the outbox towards an HTTP host.
    HttpHost { host: Arc<str> },
    /// Into the outbox towards another provider: where its domain begins in the address is found out there.
    Provider { domain: String },
}

/// Decides, or says why there is no way.
pub(super) fn plan(question: Question<'_>) -> Result<Plan, Refusal> {
    if let Standing::Lost { holder, mend } = question.sender {
        return Err(Refusal::NameLost { address: question.from.to_string(), holder, mend });
    }
    if let (Resolution::Remote { .. }, Some(leaving)) = (&question.recipient, &question.leaving)
        && let Some(plan) = behind(leaving, &question)
    {
        return plan;
    }
    match question.recipient {
        Resolution::Local(_) if question.overtakes => Err(Refusal::Moving(question.to.to_string())),
        Resolution::Local(agent) => {
            if !question.signed && (question.require_signatures || question.by_link && !question.relaxed) {
                return Err(Refusal::Signature(SignatureFault::Missing));
            }
            let trust = match trust::label(question.from, &agent.address, question.signed) {
                Trust::Verified if question.relaxed => Trust::External,
                label => label,
            };
            Ok(Plan::Local { agent, trust })
        }
        Resolution::Remote { node, host, address, .. } if question.carried_on && question.signed => {
            Ok(Plan::Host { node, host, address })
        }
        Resolution::Unknown if question.carried_on && !question.to.is_local_network() => {
            if !question.provider_served {
                return Err(Refusal::External(question.to.to_string()));
            }
            to_outside(&question)?;
            Ok(Plan::Provider { domain: question.to.longest_provider().to_owned() })
        }
        _ if question.by_link => Err(Refusal::NoRecipient(question.to.to_string())),
        // From here on mail would leave this node: never unsigned (SIG-7).
        Resolution::Remote { .. } if !question.signed => Err(Refusal::Signature(SignatureFault::Missing)),
        Resolution::Remote { node, host, address, .. } => Ok(Plan::Host { node, host, address }),
        Resolution::Unknown if question.own_domain && question.elsewhere != Whereabouts::Nowhere => {
            to_http_host(question)
        }
        Resolution::Unknown if question.own_domain || question.to.is_local_network() => {
            Err(Refusal::NoRecipient(question.to.to_string()))
        }
        Resolution::Unknown if question.provider_served => {
            to_outside(&question)?;
            Ok(Plan::Provider { domain: question.to.longest_provider().to_owned() })
        }
        Resolution::Unknown => {
            let Some((node, host)) = question.way_out.clone() else {
                return Err(Refusal::External(question.to.to_string()));
            };
            to_outside(&question)?;
            Ok(Plan::Host { node, host, address: question.to.clone() })
        }
    }
}

/// What leaves the mesh is signed (SIG-7), of this node's own domain, for which alone others believe it (FED-10), and has no files: a provider has no way to fetch them (AMP 06 §Forward Endpoint).
fn to_outside(question: &Question<'_>) -> Result<(), Refusal> {
    if !question.signed {
        return Err(Refusal::Signature(SignatureFault::Missing));
    }
    if question.from.provider() != question.provider {
        return Err(Refusal::Forbidden(format!(
            "{} is not an address of {}, and other providers take no other mail from this node; register again to get one",
            question.from, question.provider
        )));
    }
    if question.has_files {
        return Err(Refusal::Attachment {
            code: "invalid_field",
            field: "payload.attachments".to_owned(),
            why: format!("{} is another provider, and files do not go there", question.to.provider()),
        });
    }
    Ok(())
}

/// MSH-2. Such a host takes no files (AMP 06a has no way to send them).
fn to_http_host(question: Question<'_>) -> Result<Plan, Refusal> {
    match question.elsewhere {
        Whereabouts::Nowhere => Err(Refusal::NoRecipient(question.to.to_string())),
        Whereabouts::Unsure(silent) => Err(Refusal::Unsure(format!(
            "nobody knows {}, and it cannot be asked for at {}, which does not answer; {}@HOST waits for that host",
            question.to,
            silent.join(", "),
            question.to.name(),
        ))),
        Whereabouts::HttpHost(_) if !question.signed => Err(Refusal::Signature(SignatureFault::Missing)),
        Whereabouts::HttpHost(host) if question.has_files => Err(Refusal::Attachment {
            code: "invalid_field",
            field: "payload.attachments".to_owned(),
            why: format!("{host} is an HTTP mesh host, and files do not go there"),
        }),
        Whereabouts::HttpHost(host) => Ok(Plan::HttpHost { host }),
    }
}

/// Mail for an agent that moves away goes the way of the mail that waits here, into the mailbox from which that is handed
/// on, so that none overtakes another. Once all of that has gone, a link must take the new way.
fn behind(leaving: &Leaving, question: &Question<'_>) -> Option<Result<Plan, Refusal>> {
    match (leaving.departed, question.by_link) {
        (true, true) => Some(Err(Refusal::Moving(question.to.to_string()))),
        (true, false) => None,
        (false, _) if !question.signed => Some(Err(Refusal::Signature(SignatureFault::Missing))),
        (false, _) => {
            let agent = leaving.agent.clone();
            let trust = trust::label(question.from, &agent.address, true);
            Some(Ok(Plan::Local { agent, trust }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::tests::agent;
    use amesh_proto::key::AgentKey;
    use amesh_proto::roster::RosterEntry;
    use amesh_proto::time::UnixMillis;

    const ALICE: &str = "alice@default.aimaestro.local";
    const BOB: &str = "bob@default.aimaestro.local";

    fn address(text: &str) -> Address {
        Address::parse(text, &["aimaestro.local"]).unwrap()
    }

    fn here() -> Resolution {
        Resolution::Local(agent(7, BOB, 1))
    }

    fn there() -> Resolution {
        let key = AgentKey::from_seed(&[1; 32]).public();
        let entry =
            RosterEntry::first(address(BOB), (key.algorithm(), key.to_spki_der().to_vec()), UnixMillis(0), 1);
        let node = NodeId::from_bytes([2; 32]);
        Resolution::Remote { node, host: "host2".to_owned(), address: address(BOB), entry: Arc::new(entry) }
    }

    fn outcome(change: impl FnOnce(&mut Question<'_>)) -> String {
        let (from, to) = (address(ALICE), address(BOB));
        let mut question = Question {
            by_link: false,
            signed: true,
            from: &from,
            to: &to,
            sender: Standing::Holds,
            recipient: Resolution::Unknown,
            elsewhere: Whereabouts::Nowhere,
            relaxed: false,
            has_files: false,
            leaving: None,
            overtakes: false,
            require_signatures: false,
            own_domain: true,
            provider: "aimaestro.local",
            provider_served: false,
            way_out: None,
            carried_on: false,
        };
        change(&mut question);
        match plan(question) {
            Ok(Plan::Local { trust, .. }) => format!("local {}", trust.as_str()),
            Ok(Plan::Host { host, .. }) => format!("host {host}"),
            Ok(Plan::HttpHost { host }) => format!("http {host}"),
            Ok(Plan::Provider { domain }) => format!("provider {domain}"),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    #[test]
    fn signed_mail_goes_to_a_mailbox_here_or_to_the_host_that_has_it() {
        assert_eq!(outcome(|q| q.recipient = here()), "local verified");
        assert_eq!(outcome(|q| q.recipient = there()), "host host2");
    }

    #[test]
    fn unsigned_mail_is_taken_for_local_mailboxes_only_and_as_untrusted() {
        assert_eq!(outcome(|q| (q.signed, q.recipient) = (false, here())), "local untrusted");
        assert_eq!(outcome(|q| (q.signed, q.recipient) = (false, there())), "signature_missing");
        let foreign = address("x@acme.crabmail.ai");
        let unsigned =
            |q: &mut Question<'_>| (q.signed, q.own_domain, q.provider_served) = (false, false, true);
        assert_eq!(
            outcome(|q| {
                unsigned(q);
                q.to = Box::leak(Box::new(foreign));
            }),
            "signature_missing"
        );
    }

    #[test]
    fn a_node_that_demands_signatures_takes_no_unsigned_mail_at_all() {
        let strict =
            |q: &mut Question<'_>| (q.signed, q.recipient, q.require_signatures) = (false, here(), true);
        assert_eq!(outcome(strict), "signature_missing");
    }

    #[test]
    fn mail_of_a_link_ends_here_or_not_at_all() {
        assert_eq!(outcome(|q| (q.by_link, q.recipient) = (true, here())), "local verified");
        assert_eq!(outcome(|q| (q.by_link, q.recipient) = (true, there())), "not_found");
        assert_eq!(outcome(|q| q.by_link = true), "not_found");
        assert_eq!(
            outcome(|q| (q.by_link, q.signed, q.recipient) = (true, false, here())),
            "signature_missing"
        );
    }

    #[test]
    fn what_an_http_host_has_goes_there_signed_and_without_files_unless_this_mesh_has_it() {
        let den = || Whereabouts::HttpHost("den".into());
        assert_eq!(outcome(|q| q.elsewhere = den()), "http den");
        assert_eq!(outcome(|q| (q.elsewhere, q.recipient) = (den(), there())), "host host2");
        assert_eq!(outcome(|q| (q.elsewhere, q.signed) = (den(), false)), "signature_missing");
        assert_eq!(outcome(|q| (q.elsewhere, q.has_files) = (den(), true)), "invalid_field");
        assert_eq!(outcome(|q| (q.elsewhere, q.by_link) = (den(), true)), "not_found");
        assert_eq!(outcome(|q| (q.elsewhere, q.own_domain) = (den(), false)), "not_found");
        assert_eq!(outcome(|q| q.elsewhere = Whereabouts::Unsure(vec!["den".into()])), "unavailable");
    }

    #[test]
    fn a_host_whose_unsigned_mail_is_taken_makes_nothing_verified() {
        let relaxed = |signed: bool| {
            outcome(|q| (q.by_link, q.relaxed, q.signed, q.recipient) = (true, true, signed, here()))
        };
        assert_eq!((relaxed(false).as_str(), relaxed(true).as_str()), ("local untrusted", "local external"));
        let strict = outcome(|q| {
            (q.by_link, q.relaxed, q.signed, q.recipient) = (true, true, false, here());
            q.require_signatures = true;
        });
        assert_eq!(strict, "signature_missing");
    }

    #[test]
    fn who_lost_its_name_sends_nothing() {
        let lost = Standing::Lost {
            holder: "host2".to_owned(),
            mend: "amesh agents rename alice alice-host1".to_owned(),
        };
        assert_eq!(outcome(|q| (q.sender, q.recipient) = (lost, here())), "key_conflict");
    }

    #[test]
    fn nobody_by_that_name_is_not_found_in_our_domain_and_external_elsewhere() {
        assert_eq!(outcome(|_| ()), "not_found");
        let foreign = |domain: &'static str, served: bool| {
            outcome(|q| {
                q.to = Box::leak(Box::new(address(domain)));
                (q.own_domain, q.provider_served) = (false, served);
            })
        };
        assert_eq!(foreign("x@acme.crabmail.ai", false), "external_provider");
        assert_eq!(foreign("x@acme.crabmail.ai", true), "provider crabmail.ai");
        assert_eq!(foreign("x@acme.other.local", false), "not_found");
        assert_eq!(foreign("x@acme.other.internal", true), "not_found");
    }

    #[test]
    fn what_the_gateway_carries_for_others_leaves_the_mesh_signed_and_without_files() {
        let foreign = |change: &dyn Fn(&mut Question<'_>)| {
            outcome(|q| {
                q.to = Box::leak(Box::new(address("x@acme.crabmail.ai")));
                (q.own_domain, q.way_out) = (false, Some((NodeId::from_bytes([3; 32]), "gate".to_owned())));
                change(q);
            })
        };
        assert_eq!(foreign(&|_| ()), "host gate");
        assert_eq!(
            foreign(&|q| q.provider_served = true),
            "provider crabmail.ai",
            "this node has a way of its own"
        );
        assert_eq!(foreign(&|q| q.signed = false), "signature_missing");
        assert_eq!(foreign(&|q| q.has_files = true), "invalid_field");
        assert_eq!(foreign(&|q| q.provider = "corp.io"), "forbidden", "others would not believe it");
        assert_eq!(
            foreign(&|q| q.by_link = true),
            "not_found",
            "no member sends through a node that is no gateway"
        );
        let brought =
            |q: &mut Question<'_>| (q.by_link, q.carried_on, q.provider_served) = (true, true, true);
        assert_eq!(foreign(&brought), "provider crabmail.ai");
        assert_eq!(
            foreign(&|q| {
                brought(q);
                q.provider_served = false;
            }),
            "external_provider"
        );
        assert_eq!(
            foreign(&|q| {
                brought(q);
                q.signed = false;
            }),
            "signature_missing"
        );
        let inward = |q: &mut Question<'_>| (q.by_link, q.carried_on, q.recipient) = (true, true, there());
        assert_eq!(outcome(inward), "host host2", "what a provider brings for another host of the mesh");
        let unsigned = |q: &mut Question<'_>| {
            inward(q);
            q.signed = false;
        };
        assert_eq!(outcome(unsigned), "not_found");
        let local = |q: &mut Question<'_>| {
            brought(q);
            q.to = Box::leak(Box::new(address("x@acme.other.local")));
        };
        assert_eq!(foreign(&local), "not_found");
    }

    #[test]
    fn another_tenants_mail_is_external() {
        let stranger = address("eve@other.aimaestro.local");
        let far = address("eve@default.evil.com");
        assert_eq!(
            outcome(|q| (q.from, q.recipient) = (&*Box::leak(Box::new(stranger)), here())),
            "local external"
        );
        assert_eq!(
            outcome(|q| (q.from, q.recipient) = (&*Box::leak(Box::new(far)), here())),
            "local external"
        );
    }
}
