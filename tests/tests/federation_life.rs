//! What becomes of mail for a provider that stays away (DESIGN §1.7, §1.9; AMP 05 §Relay Queue): the node's real queue and sender,
//! over real TLS, on a clock that the test moves. Whatever is told is told once, also across a loss of power.

use amesh::clock::Clock as _;
use amesh::federation::Verdict;
use amesh_tests::https::Answer;
use amesh_tests::provider_node::{KIM, World};
use amesh_tests::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_outlives_its_time_at_a_provider_that_stays_down_bounces_once_and_is_never_sent_again()
-> Result<()> {
    let world = World::new()?;
    world.corp.answers(&world.place(), Answer::Status(502));
    let house = world.start()?;
    let alice = house.alice().await?;
    let long = house.send(&alice, None).await?;
    let short = house.send(&alice, Some(world.clock.now().plus(HOUR))).await?;
    world.failed(&house, 0).await?;
    house.hallway.expire().await?;
    world.pass(&house, HOUR - Duration::from_secs(120)).await?;
    house.hallway.expire().await?;
    assert_eq!((house.fate(&alice, &short)?.status.as_str(), house.waiting()), ("queued", 2));
    assert_eq!(house.told(&alice).await?, []);

    world.pass(&house, Duration::from_secs(240)).await?;
    house.hallway.expire().await?;
    let fate = house.fate(&alice, &short)?;
    assert_eq!((fate.status.as_str(), fate.error.context("no reason")?.code.as_str()), ("failed", "expired"));
    ensure!(fate.failed_at.is_some());
    assert_eq!(house.told(&alice).await?, [(short.clone(), "expired".to_owned())]);
    assert_eq!((house.fate(&alice, &long)?.status.as_str(), house.waiting()), ("queued", 1));

    // Seven days is what a message gets that says nothing (RLY-1). Every waking is a chance for the provider.
    for _ in 0..6 {
        world.pass(&house, HOUR * 24).await?;
        house.hallway.expire().await?;
        assert_eq!(house.fate(&alice, &long)?.status, "queued");
    }
    world.clock.advance(HOUR * 24);
    house.hallway.expire().await?;
    let fate = house.fate(&alice, &long)?;
    assert_eq!((fate.status.as_str(), fate.error.context("no reason")?.code.as_str()), ("failed", "expired"));
    assert_eq!(house.told(&alice).await?, [(long.clone(), "expired".to_owned())]);
    assert_eq!(house.waiting(), 0);
    ensure!(world.given()?.iter().all(|id| *id == long), "one lane is in order, whatever of it expires");

    let house = world.restart(house).await?;
    let before = world.given()?.len();
    let yes = json!({"accepted": true, "id": "msg_1_far", "delivered": true}).to_string();
    world.corp.answers(&world.place(), Answer::Says(200, "x-said: so", yes));
    let alice = house.found()?;
    let after = house.send(&alice, None).await?;
    house.ends(&alice, &after, "delivered").await?;
    house.hallway.expire().await?;
    assert_eq!(world.given()?.split_off(before), [after]);
    assert_eq!(house.told(&alice).await?, []);
    assert_eq!(house.fate(&alice, &long)?.status, "failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_is_told_once_and_neither_told_nor_tried_again_after_a_loss_of_power() -> Result<()>
{
    let world = World::new()?;
    let no = json!({"accepted": false, "error": "recipient_not_found", "message": "no kim here"}).to_string();
    world.corp.answers(&world.place(), Answer::Says(404, "x-said: so", no));
    let house = world.start()?;
    let alice = house.alice().await?;
    let id = house.send(&alice, None).await?;
    house.ends(&alice, &id, "failed").await?;
    let house = world.restart(house).await?;
    let alice = house.found()?;
    assert_eq!(house.told(&alice).await?, [(id.clone(), "recipient_not_found".to_owned())]);
    let failure = house.fate(&alice, &id)?.error.context("no reason")?;
    assert_eq!(failure.code, "recipient_not_found");
    world.clock.advance(HOUR * 24 * 8);
    house.hallway.expire().await?;
    let after = house.send(&alice, None).await?;
    wait_until("the next message", || async { Ok(world.given()?.contains(&after)) }).await?;
    house.ends(&alice, &after, "failed").await?;
    assert_eq!(world.given()?, [id, after]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_to_the_longest_domain_that_is_a_provider_and_not_to_the_one_above_while_that_is_down()
-> Result<()> {
    let world = World::new()?;
    let yes = json!({"accepted": true, "id": "msg_1_far", "delivered": true}).to_string();
    world.corp.answers(&world.place(), Answer::Says(200, "x-said: so", yes));
    world.corp.answers(&world.place_of("lab.corp.test"), Answer::Status(502));
    let house = world.start()?;
    let alice = house.alice().await?;
    let to_lab = house.send_to("kim@team.lab.corp.test", &alice, None).await?;
    wait_until("a failed attempt", || async { Ok(house.federation.waits("lab.corp.test").is_some()) })
        .await?;
    for to in [KIM, "kim@repo.hub.sales.corp.test"] {
        let id = house.send_to(to, &alice, None).await?;
        house.ends(&alice, &id, "delivered").await?;
    }
    let fate = house.fate(&alice, &to_lab)?;
    assert_eq!((fate.status.as_str(), fate.remote_host.as_deref()), ("queued", Some("lab.corp.test")));
    let places: Vec<_> = world.corp.posted().into_iter().map(|posted| posted.place).collect();
    assert_eq!(places, [world.place_of("lab.corp.test"), world.place(), world.place()]);

    house.federation.say("lab.corp.test", Verdict::Blocked).await?;
    let refused = house.send_to("kim@team.lab.corp.test", &alice, None).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("sends no mail there")));
    Ok(())
}
