//! Whose an address is: where the provider's domain begins in it nobody here can know, so the longest that is one counts.
//! Mail is queued by the longest that may be; a shorter one gets it only where nobody is at the longer, since it would refuse
//! another's mail for good. Called by `worker`, and by the carrier before mail is taken.

use crate::federation::{Federation, NotTrusted, ResolveError, Resolved, Source, Trusted, Untrusted};
use amesh_discovery::providers::{Outcome, Step};

/// Whether the owner lets mail go to any provider that `queued` may mean. Nobody is asked.
pub(super) fn may_go(federation: &Federation, queued: &str) -> bool {
    for domain in candidates(queued) {
        match federation.may_talk(domain) {
            Ok(_) => return true,
            Err(NotTrusted::NotListed(_)) => {}
            Err(_) => return false,
        }
    }
    false
}

/// The provider for which mail is queued by `queued`, looked up on the account of `source`.
pub(super) async fn provider(
    federation: &Federation,
    queued: &str,
    source: Source,
) -> Result<Trusted, Untrusted> {
    let mut last = Untrusted::Silent(queued.to_owned());
    for domain in candidates(queued) {
        match federation.trusted(domain, source).await {
            Err(error) if nobody_is(federation, domain, source, &error).await => last = error,
            found => return found,
        }
    }
    Err(last)
}

/// Whether `domain` is no provider's, as far as anybody can tell, so that a shorter one is meant.
async fn nobody_is(federation: &Federation, domain: &str, source: Source, error: &Untrusted) -> bool {
    match error {
        Untrusted::NotTrusted(NotTrusted::NotListed(_))
        | Untrusted::NotLookedUp(ResolveError::NotLookedUp(_)) => true,
        Untrusted::Silent(_) | Untrusted::Unusable { .. } if !federation.is_known(domain) => {
            // It has just been asked for: nobody is asked again.
            federation.resolve(domain, source, false).await.is_ok_and(|resolved| names_nobody(&resolved))
        }
        _ => false,
    }
}

/// DNS has answered, and nobody says anything of it. A name without a host looks like a host that is off, and so does not count.
fn names_nobody(resolved: &Resolved) -> bool {
    let says_nothing = |(step, outcome): &(Step, Outcome)| match outcome {
        Outcome::Nothing | Outcome::Off => true,
        Outcome::Failed(_) => *step != Step::DnsTxt,
        Outcome::Found | Outcome::Unproven | Outcome::Refused(_) => false,
    };
    resolved.looked.provider.is_none() && resolved.looked.steps.iter().all(says_nothing)
}

/// What may be the provider's domain, the longest first, of two labels at least.
fn candidates(queued: &str) -> impl Iterator<Item = &str> {
    let longest_first = std::iter::successors(Some(queued), |domain| Some(domain.split_once('.')?.1));
    longest_first.filter(|domain| domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_discovery::providers::Looked;
    use amesh_proto::address::Address;
    use std::time::Duration;

    #[test]
    fn the_longest_domain_of_an_address_is_asked_for_first_and_a_tenant_is_left() {
        let of = |text: &str| {
            let address = Address::parse(text, &[]).unwrap();
            candidates(address.longest_provider()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of("x@acme.crabmail.ai"), ["crabmail.ai"]);
        assert_eq!(of("x@team.agents.corp.io"), ["agents.corp.io", "corp.io"]);
        assert_eq!(of("x@a.b.c.corp.io"), ["b.c.corp.io", "c.corp.io", "corp.io"]);
    }

    #[test]
    fn a_shorter_domain_is_meant_only_where_dns_answers_and_nobody_says_anything_of_the_longer() {
        let after = |dns: Outcome, page: Outcome| {
            let steps = vec![(Step::DnsTxt, dns), (Step::WellKnown, page)];
            let (found_at, fresh_until) = (Duration::ZERO, Duration::ZERO);
            let looked = Looked { provider: None, steps, found_at, fresh_until };
            let (age, fresh_for) = (Duration::ZERO, Duration::ZERO);
            names_nobody(&Resolved { looked, is_pinned: false, age, fresh_for })
        };
        let failed = || Outcome::Failed("no answer".to_owned());
        let refused = || Outcome::Refused("another key".to_owned());
        assert!(after(Outcome::Nothing, Outcome::Nothing) && after(Outcome::Nothing, failed()));
        assert!(after(Outcome::Off, Outcome::Nothing));
        assert!(!after(failed(), Outcome::Nothing) && !after(Outcome::Unproven, failed()));
        assert!(!after(refused(), Outcome::Nothing) && !after(Outcome::Nothing, refused()));
    }
}
