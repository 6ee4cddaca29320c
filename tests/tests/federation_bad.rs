//! Providers that are not what they should be, as mail to them meets them (FED-16; DESIGN §6): false certificates, slow, endless
//! and senseless answers, names that lead elsewhere a moment later. Whatever they do, the message waits, the owner is told why, and
//! it goes out once when all is well again.

use amesh::federation::{Config, Verdict};
use amesh::reach::AllowedTarget;
use amesh_tests::authority::{Authority, self_signed};
use amesh_tests::https::{Answer, HttpsServer};
use amesh_tests::provider_node::{House, World};
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const MOMENT: Duration = Duration::from_secs(60);

fn yes() -> Answer {
    Answer::Says(
        200,
        "x-said: so",
        json!({"accepted": true, "id": "msg_1_far", "delivered": true}).to_string(),
    )
}

/// Why mail for corp.test waits, once it does.
async fn reason(house: &House) -> Result<String> {
    wait_for("a reason", || async { Ok(house.federation.waits("corp.test").and_then(|(_, why)| why)) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_leaves_the_message_waiting_and_the_owner_told_why() -> Result<()> {
    let world = World::new()?;
    let house = world.start_with(&Config { deliver_timeout_s: 2, ..world.settings()? })?;
    let alice = house.alice().await?;
    world.corp.answers(&world.place(), Answer::Status(502));
    let id = house.send(&alice, None).await?;
    world.failed(&house, 0).await?;
    let says = |status, text: &str| Answer::Says(status, "retry-after: 1", text.to_owned());
    for (answer, why) in [
        (Answer::Endless, "longer than 64 KiB"),
        (Answer::Drip, "did not answer in time"),
        (Answer::Silence, "did not answer in time"),
        (says(200, "<html>welcome</html>"), "without saying that it took the message"),
        (says(200, "{\"accepted\":\"perhaps\"}"), "without saying that it took the message"),
        (Answer::Redirect("https://api.corp.test/elsewhere".to_owned()), "redirects are not followed"),
        (says(403, "<html>log in</html>"), "it answered 403"),
    ] {
        world.corp.answers(&world.place(), answer.clone());
        world.pass(&house, MOMENT).await?;
        let said = reason(&house).await?;
        ensure!(said.contains(why), "{answer:?}: {said}");
        assert_eq!((house.fate(&alice, &id)?.status.as_str(), house.waiting()), ("queued", 1), "{answer:?}");
    }
    world.corp.answers(&world.place(), yes());
    world.clock.advance(MOMENT * 60);
    house.ends(&alice, &id, "delivered").await?;
    assert_eq!(house.told(&alice).await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_whoever_shows_a_certificate_that_is_not_the_providers() -> Result<()> {
    let (authority, stranger) = (Authority::named("one")?, Authority::named("another")?);
    let name = &["api.corp.test"];
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for (certificate, why) in [
        (authority.vouches_until(name, 2021)?, "expired"),
        (authority.vouches_for(&["api.other.test"])?, "not valid for name"),
        (stranger.vouches_for(name)?, "UnknownIssuer"),
        (self_signed(name)?, "UnknownIssuer"),
    ] {
        let world = World::new()?;
        let false_one = HttpsServer::showing(here, &authority, &certificate)?;
        world.announces("corp.test", "api.corp.test", false_one.address.port());
        let authorities = vec![false_one.authority()?];
        let house = world.start_with(&Config { authorities, ..world.settings()? })?;
        let alice = house.alice().await?;
        let id = house.send(&alice, None).await?;
        let said = reason(&house).await?;
        ensure!(said.contains(why), "{why}: {said}");
        assert_eq!((house.fate(&alice, &id)?.status.as_str(), house.waiting()), ("queued", 1));
        assert_eq!(false_one.asked(), [""; 0], "{why}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_into_this_machine_a_moment_after_it_was_judged_is_not_connected_to() -> Result<()>
{
    let world = World::new()?;
    world.corp.answers(&world.place(), yes());
    // Judged when it was found, at an address that may be reached and where nobody is.
    world.names.is_at("api.corp.test", &[Ipv4Addr::new(127, 0, 0, 77)]);
    let allow_addresses = vec![AllowedTarget::try_from("127.0.0.77".to_owned())?];
    let house = world.start_with(&Config { allow_addresses, ..world.settings()? })?;
    let alice = house.alice().await?;
    let id = house.send(&alice, None).await?;
    ensure!(!reason(&house).await?.contains("loopback"));
    world.names.is_at("api.corp.test", &[Ipv4Addr::LOCALHOST]);
    world.clock.advance(MOMENT);
    wait_until("the new address", || async { Ok(reason(&house).await?.contains("127.0.0.1 is loopback")) })
        .await?;
    assert_eq!((house.fate(&alice, &id)?.status.as_str(), house.waiting()), ("queued", 1));
    assert_eq!(world.corp.connections(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_not_taken_for_a_provider_that_is_blocked_and_what_waits_does_not_go_there() -> Result<()> {
    let world = World::new()?;
    world.corp.answers(&world.place(), Answer::Status(502));
    let house = world.start()?;
    let alice = house.alice().await?;
    house.send(&alice, None).await?;
    world.failed(&house, 0).await?;
    house.federation.say("corp.test", Verdict::Blocked).await?;
    ensure!(house.send(&alice, None).await.is_err_and(|why| why.to_string().contains("sends no mail there")));
    let before = world.corp.posted().len();
    world.clock.advance(MOMENT);
    wait_until("the block", || async { Ok(reason(&house).await?.contains("is blocked here")) }).await?;
    assert_eq!((world.corp.posted().len(), house.waiting()), (before, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_could_not_be_found_is_tried_again_as_soon_as_somebody_would_be_asked_again()
-> Result<()> {
    let world = World::new()?;
    world.corp.answers(&world.place(), yes());
    // Nobody answers for names.
    let resolvers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))];
    let house = world.start_with(&Config { resolvers, ..world.settings()? })?;
    let alice = house.alice().await?;
    house.send(&alice, None).await?;
    ensure!(reason(&house).await?.contains("cannot be found out at the moment"));
    let (left, _) = house.federation.waits("corp.test").context("it waits")?;
    assert_eq!(left, Duration::from_secs(30));
    Ok(())
}
