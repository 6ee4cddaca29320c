//! Whether mail can be exchanged with a provider, step by step, for the owner who asks why not (`amesh federation test`). Nothing
//! is delivered. Asked by `http/control`.

use super::budget::Source;
use super::{Federation, ResolveError, Resolved, Untrusted};
use amesh_discovery::providers::{AskError, Outcome, Pages as _};
use amesh_proto::provider::{delivery_urls, key_in};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `provider` (this node is one), `policy`, `found`, `key`, `health` or `info`.
    pub name: &'static str,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// How the provider was found.
    pub resolved: Resolved,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
}

impl Checked {
    /// Why no mail would be exchanged; nothing where it would. What is only shown at `info` stops nothing.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.checks.iter().filter(|check| check.name != "info").find_map(|check| match &check.outcome {
            Outcome::Refused(why) | Outcome::Failed(why) => Some(why.as_str()),
            Outcome::Nothing => Some("there is nothing at its endpoint"),
            _ => None,
        })
    }
}

impl Federation {
    /// Asks anew who the provider of `domain` is, connects to it, and looks at what it shows.
    ///
    /// # Errors
    /// [`ResolveError`]; everything else is told in the [`Checked`].
    pub async fn check(&self, domain: &str) -> Result<Checked, ResolveError> {
        let resolved = self.resolve(domain, Source::Owner, true).await?;
        let mut checks = Vec::new();
        let mut add = |name: &'static str, outcome: Outcome| checks.push(Check { name, outcome });
        add(
            "provider",
            match self.own() {
                Some(_) => Outcome::Found,
                None => Outcome::Refused(
                    "this node is no provider itself; set `domain` under [federation]".to_owned(),
                ),
            },
        );
        add(
            "policy",
            match self.may_talk(domain) {
                Ok(_) => Outcome::Found,
                Err(why) => Outcome::Refused(why.to_string()),
            },
        );
        let unusable = resolved.refused().map(|why| Outcome::Refused(why.to_owned()));
        add("found", unusable.unwrap_or(Outcome::Found));
        if let Some(provider) = resolved.looked.provider.clone() {
            match self.trusted(domain, Source::Owner).await {
                Ok(_) => add("key", Outcome::Found),
                // Said above.
                Err(Untrusted::Unusable { .. } | Untrusted::Silent(_) | Untrusted::NotLookedUp(_)) => {}
                Err(Untrusted::NotTrusted(_)) if self.may_talk(domain).is_err() => {}
                Err(error) => add("key", Outcome::Refused(error.to_string())),
            }
            let (health, base) = self.health(&provider.endpoint).await;
            add("health", health);
            let info = self.inner.pages.page(&format!("{base}/info")).await;
            add(
                "info",
                match (info.map(|page| key_in(&page)), &provider.key) {
                    (Ok(Some(shown)), Some(key)) if shown != *key => {
                        Outcome::Refused("it shows another key than the one that was found".to_owned())
                    }
                    (Ok(Some(_)), _) => Outcome::Found,
                    (Ok(None), _) => Outcome::Unproven,
                    (Err(error), _) => outcome(error),
                },
            );
        }
        Ok(Checked { resolved, checks })
    }

    /// Connects, as a delivery would; and the base that answered.
    async fn health(&self, endpoint: &str) -> (Outcome, String) {
        let mut last = (Outcome::Nothing, endpoint.to_owned());
        for url in delivery_urls(endpoint) {
            let base = url.trim_end_matches("/federation/deliver").to_owned();
            match self.inner.pages.page(&format!("{base}/health")).await {
                Ok(_) => return (Outcome::Found, base),
                Err(error) => last = (outcome(error), base),
            }
        }
        last
    }
}

fn outcome(error: AskError) -> Outcome {
    match error {
        AskError::Nothing => Outcome::Nothing,
        AskError::Refused(why) => Outcome::Refused(why),
        AskError::Failed(why) => Outcome::Failed(why),
    }
}
