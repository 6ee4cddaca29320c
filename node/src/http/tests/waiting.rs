//! Counting mail, and waiting for it without a socket.

use super::*;
use crate::http::Profile;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const COUNT: &str = "/v1/messages/pending/count";

#[tokio::test]
async fn mail_ends_a_wait_and_only_what_came_after_the_cursor_counts() {
    let rig = Rig::new();
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    rig.post("/v1/route", &alice, alice.letter(&bob, "old")).await;
    let seen = rig.get(COUNT, &bob).await;
    assert_eq!((seen.status, &seen.body["count"], &seen.body["total"]), (200, &json!(1), &json!(1)));
    let cursor = seen.body["cursor"].as_str().unwrap().to_owned();

    let waiting = format!("{COUNT}?after={cursor}&wait=30");
    let (woken, _) = soon(async {
        tokio::join!(rig.get(&waiting, &bob), async {
            // Sent once the other one waits: its place is taken.
            while rig.state.long_polls.available_permits() == rig.state.parts.config.max_long_polls {
                tokio::task::yield_now().await;
            }
            rig.post("/v1/route", &alice, alice.letter(&bob, "new")).await
        })
    })
    .await;
    assert_eq!((woken.status, &woken.body["count"], &woken.body["total"]), (200, &json!(1), &json!(2)));

    let page = rig.get(&format!("/v1/messages/pending?after={cursor}"), &bob).await.body;
    assert_eq!((&page["count"], &page["remaining"], &page["total"]), (&json!(1), &json!(0), &json!(2)));
    assert_eq!(page["messages"][0]["payload"]["message"], "new");
    assert_eq!(page["messages"][0]["local"]["basis"], "mailbox_written");
    let later = format!("{COUNT}?after={}", woken.body["cursor"].as_str().unwrap());
    assert_eq!(rig.get(&later, &bob).await.body["count"], 0);
}

#[tokio::test]
async fn a_wait_without_mail_ends_with_its_time_and_with_the_node() {
    let rig = Rig::new();
    let bob = rig.register("bob").await;
    let timed_out = soon(rig.get(&format!("{COUNT}?wait=1"), &bob)).await;
    assert_eq!((timed_out.status, &timed_out.body["count"]), (200, &json!(0)));
    let long = format!("{COUNT}?wait=30");
    let (answer, stopped) = soon(async {
        tokio::join!(rig.get(&long, &bob), rig.state.parts.tasks.shutdown(Duration::from_secs(10)))
    })
    .await;
    stopped.unwrap();
    assert_eq!((answer.status, &answer.body["count"]), (200, &json!(0)));
}

#[tokio::test]
async fn who_waits_is_not_counted_by_the_limiter_but_places_are_bounded() {
    let profile = Profile { pending_per_minute: 2, ..Profile::local() };
    let rig = Rig::with(Config { local_limits: profile, max_long_polls: 1, ..Config::default() });
    let (alice, bob) = (rig.register("alice").await, rig.register("bob").await);
    rig.post("/v1/route", &alice, alice.letter(&bob, "hi")).await;
    let long = format!("{COUNT}?wait=30");
    for _ in 0..5 {
        assert_eq!(rig.get(&long, &bob).await.status, 200);
    }
    let counted = rig.get(COUNT, &bob).await;
    assert_eq!((counted.status, counted.headers["x-ratelimit-remaining"].to_str().unwrap()), (200, "1"));
    assert_eq!(rig.get(&format!("{COUNT}?wait=0"), &bob).await.status, 200);
    assert_eq!(rig.get(COUNT, &bob).await.status, 429);

    let place = rig.state.long_polls.try_acquire().unwrap();
    let refused = rig.get(&long, &alice).await;
    assert_eq!((refused.status, refused.body["error"].as_str()), (503, Some("unavailable")));
    assert_eq!(refused.headers["retry-after"], "1");
    drop(place);
}

#[tokio::test]
async fn a_cursor_of_another_store_or_of_a_future_is_gone_and_a_made_up_one_is_wrong() {
    let rig = Rig::new();
    let bob = rig.register("bob").await;
    let generation = rig.state.parts.store.generation();
    let made = |position: String| URL_SAFE_NO_PAD.encode(format!("1:{position}"));
    let list = "/v1/messages/pending";
    for (name, path) in [("after", COUNT), ("after", list), ("cursor", list)] {
        for stale in [format!("{}.1", generation + 1), format!("{generation}.{}", 1_u64 << 40)] {
            let gone = rig.get(&format!("{path}?{name}={}", made(stale)), &bob).await;
            assert_eq!((gone.status, gone.body["error"].as_str()), (410, Some("cursor_expired")));
            assert_eq!(gone.body["field"], name);
        }
        for bad in [made("x".to_owned()), made("1.x".to_owned()), "17".to_owned()] {
            let wrong = rig.get(&format!("{path}?{name}={bad}"), &bob).await;
            assert_eq!((wrong.status, wrong.body["error"].as_str()), (400, Some("invalid_field")), "{bad}");
        }
    }
}
