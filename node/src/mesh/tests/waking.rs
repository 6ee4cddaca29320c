//! A machine that slept: its links may be dead, though nothing says so, and timers know nothing of the hour that passed.

use super::cable::cabled;
use super::village::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_wakes_up_asks_around_and_dials_everybody_anew() {
    let (a, b, cable) = cabled().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    // The open link is good: that there is a better address now is no reason to dial.
    let direct = a.mesh.listen_addr();
    b.hears_of(&a).await;
    until("the address", || b.mesh.shared.addresses_of(&a.mesh.node_id()).contains(&direct)).await;
    // Whichever address answers first is taken, on a busy machine perhaps the cable's: there a new dial would not show.
    cable.let_no_new_link_through();
    let asked = b.finder.asked().refreshes;
    b.wakes.send_replace(());
    until("a link by the first address of all", || {
        b.mesh.peers()[1].address.as_deref() == Some(direct.to_string().as_str())
    })
    .await;
    assert!(b.finder.asked().refreshes > asked);
    for (from, sender, to, recipient) in [(&a, &alice, &b, &bob), (&b, &bob, &a, &alice)] {
        for text in numbered(5) {
            from.send(sender, recipient.address.name(), &text).await.unwrap();
        }
        to.receives(recipient, &numbered(5)).await;
    }
    drop(cable);
}
