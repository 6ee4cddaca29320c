//! What addresses are accepted, how they come apart and what short forms mean.

use super::*;
use proptest::prelude::*;

fn ours() -> Naming {
    Naming::new("Default", "aimaestro.local", "Box-1").unwrap()
}

fn expanded(typed: &str, sender: Option<&str>) -> Result<String, AddressError> {
    let sender = sender.map(|text| ours().parse(text).unwrap());
    ours().expand_with(typed, sender.as_ref(), |host| host == "server-01").map(|a| a.to_string())
}

#[test]
fn an_address_is_taken_apart_from_the_right() {
    let a = Address::parse("Dev@repo.github.Acme.crabmail.ai", &[]).unwrap();
    assert_eq!(a.as_str(), "dev@repo.github.acme.crabmail.ai");
    assert_eq!((a.name(), a.scope(), a.tenant()), ("dev", "repo.github.acme", "acme"));
    assert_eq!(a.provider(), "crabmail.ai");
    assert_eq!(a.short().as_str(), "dev@acme.crabmail.ai");
    assert_eq!(a.short().tenant(), "acme");
}

#[test]
fn the_longest_own_domain_wins_over_the_last_two_labels() {
    let own = ["corp.io", "agents.corp.io", "io"];
    let a = Address::parse("r@team.agents.corp.io", &own).unwrap();
    assert_eq!((a.tenant(), a.provider()), ("team", "agents.corp.io"));
    // The own domain must leave room for a tenant, and end at a dot.
    let b = Address::parse("r@agents.corp.io", &own).unwrap();
    assert_eq!((b.tenant(), b.provider()), ("agents", "corp.io"));
    let c = Address::parse("r@team.myagents.corp.io", &["agents.corp.io"]).unwrap();
    assert_eq!((c.tenant(), c.provider()), ("myagents", "corp.io"));
    assert_eq!(c.with_own_domains(&["myagents.corp.io"]).tenant(), "team");
}

#[test]
fn what_the_grammar_forbids_is_refused() {
    use AddressError::{BadLabel, BadName, NotOneAt, TooFewLabels, TooLong};
    let long = format!("a@{}.b.c", ["x"; 126].join("."));
    for (text, error) in [
        ("", NotOneAt),
        ("a", NotOneAt),
        ("a@b@c.d.e", NotOneAt),
        ("@a.b.c", BadName),
        ("a b@a.b.c", BadName),
        ("a|b@a.b.c", BadName),
        ("é@a.b.c", BadName),
        ("a\n@a.b.c", BadName),
        ("a@b", TooFewLabels),
        ("a@b.c", TooFewLabels),
        ("a@b..c.d", BadLabel),
        ("a@b.c.d.", BadLabel),
        ("a@b_x.c.d", BadLabel),
        ("a@b.c.d ", BadLabel),
        (&long, TooLong),
    ] {
        assert_eq!(Address::parse(text, &[]).err(), Some(error), "{text}");
    }
    assert!(Address::parse(&format!("{}@t.p.q", "n".repeat(63)), &[]).is_ok());
    assert_eq!(Address::parse(&format!("{}@t.p.q", "n".repeat(64)), &[]).err(), Some(BadName));
}

#[test]
fn exactly_254_characters_are_allowed() {
    let label = "l".repeat(62);
    let long = |len: usize| format!("n@{label}.{label}.{label}.{}.z", "m".repeat(len - 193));
    assert_eq!(long(254).len(), 254);
    assert!(Address::parse(&long(254), &[]).is_ok());
    assert_eq!(Address::parse(&long(255), &[]).err(), Some(AddressError::TooLong));
}

#[test]
fn a_name_that_looks_like_an_option_is_not_registered_but_may_be_addressed() {
    assert_eq!(validate_agent_name("-rf"), Err(AddressError::LeadingHyphen));
    assert!(validate_agent_name("_x-").is_ok());
    assert!(Address::parse("-rf@t.p.q", &[]).is_ok());
}

#[test]
fn short_forms_expand_as_the_table_says() {
    for (typed, sender, full) in [
        ("bob", None, "bob@default.aimaestro.local"),
        ("Bob", Some("al@other.aimaestro.local"), "bob@other.aimaestro.local"),
        ("bob", Some("al@box-1.default.aimaestro.local"), "bob@default.aimaestro.local"),
        ("bob", Some("al@acme.crabmail.ai"), "bob@default.aimaestro.local"),
        ("bob@acme", None, "bob@acme.aimaestro.local"),
        ("bob@default", None, "bob@default.aimaestro.local"),
        ("bob@box-1", None, "bob@box-1.default.aimaestro.local"),
        ("bob@server-01", None, "bob@server-01.default.aimaestro.local"),
        ("bob@server-01.aimaestro.local", None, "bob@server-01.default.aimaestro.local"),
        ("bob@default.aimaestro.local", None, "bob@default.aimaestro.local"),
        ("bob@x.default.aimaestro.local", None, "bob@x.default.aimaestro.local"),
        ("bob@team.local", None, "bob@team.aimaestro.local"),
        ("bob@x.default.local", None, "bob@x.aimaestro.local"),
        ("Bob@Acme.CrabMail.ai", None, "bob@acme.crabmail.ai"),
        ("bob@x.other.local", None, "bob@x.other.local"),
    ] {
        assert_eq!(expanded(typed, sender).as_deref(), Ok(full), "{typed}");
    }
    for typed in
        ["", "a b", "a@", "@b", "a@b@c", "a@.aimaestro.local", "a@corp.io", "a|b", "bob@aimaestro.local"]
    {
        assert!(expanded(typed, None).is_err(), "{typed}");
    }
}

#[test]
fn the_same_tenant_needs_the_same_provider() {
    let own = Address::parse("al@acme.crabmail.ai", &["crabmail.ai"]).unwrap();
    let same = |text: &str| own.same_tenant(&Address::parse(text, &[]).unwrap());
    assert!(same("bob@acme.crabmail.ai"));
    assert!(same("bob@repo.github.acme.crabmail.ai"));
    assert!(!same("bob@acme.evil.com"));
    assert!(!same("bob@notacme.crabmail.ai"));
    assert!(!same("bob@acme.crabmail.ai.evil.com"));
}

#[test]
fn hosts_and_local_networks_are_recognised() {
    let host = |text: &str| ours().host_in(&ours().parse(text).unwrap()).map(str::to_owned);
    assert_eq!(host("a@box-2.default.aimaestro.local").as_deref(), Some("box-2"));
    assert_eq!(host("a@default.aimaestro.local"), None);
    assert_eq!(host("a@r.p.default.aimaestro.local"), None);
    assert!(Address::parse("a@b.c.internal", &[]).unwrap().is_local_network());
    assert!(!Address::parse("a@b.local.ai", &[]).unwrap().is_local_network());
}

#[test]
fn postcard_keeps_where_the_provider_begins_and_refuses_nonsense() {
    let a = Address::parse("r@team.agents.corp.io", &["agents.corp.io"]).unwrap();
    let bytes = postcard::to_stdvec(&a).unwrap();
    let back: Address = postcard::from_bytes(&bytes).unwrap();
    assert_eq!((back.tenant(), back.provider()), ("team", "agents.corp.io"));
    for offset in (0..=255u8).filter(|offset| ![7, 14].contains(offset)) {
        let bytes = postcard::to_stdvec(&(a.as_str(), offset)).unwrap();
        assert!(postcard::from_bytes::<Address>(&bytes).is_err(), "{offset}");
    }
    assert_eq!(serde_json::to_string(&a).unwrap(), "\"r@team.agents.corp.io\"");
}

proptest! {
    #[test]
    fn print_and_parse_agree(text in "[A-Za-z0-9_-]{1,20}@[A-Za-z0-9-]{1,9}(\\.[A-Za-z0-9-]{1,9}){2,5}") {
        let a = Address::parse(&text, &[]).unwrap();
        prop_assert_eq!(a.as_str(), text.to_ascii_lowercase());
        prop_assert_eq!(&Address::parse(a.as_str(), &[]).unwrap(), &a);
        prop_assert_eq!(format!("{}@{}.{}", a.name(), a.scope(), a.provider()), a.as_str());
        let back: Address = postcard::from_bytes(&postcard::to_stdvec(&a).unwrap()).unwrap();
        prop_assert_eq!(back.provider(), a.provider());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,300}", own in "[a-z.]{0,12}") {
        if let Ok(a) = Address::parse(&text, &[&own]) {
            prop_assert!(!a.tenant().is_empty() && a.provider().contains('.'));
        }
        let _expanded = ours().expand(&text, None);
    }
}
