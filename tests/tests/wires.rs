//! Hosts that one wire does not join (issue 4, "it must show" 1): everybody writes to everybody, and `amesh peers` says
//! which way.

use amesh_tests::agent::TestAgent;
use amesh_tests::lab::{self, Between, Lan};
use amesh_tests::mesh::Mesh;
use amesh_tests::node::Node;
use amesh_tests::wait::{wait_for, wait_until};
use anyhow::Result;

/// One agent per node, named after its host.
async fn an_agent_each(mesh: &Mesh) -> Result<Vec<TestAgent>> {
    let mut agents = Vec::new();
    for node in &mesh.0 {
        agents.push(node.agent(&format!("agent-of-{}", node.host)).await?);
    }
    Ok(agents)
}

/// Everybody writes `count` messages to everybody else; each comes once, and in order.
async fn all_write_to_all(agents: &[TestAgent], count: usize) -> Result<()> {
    for number in 0..count {
        for from in agents {
            for to in agents.iter().filter(|to| to.address != from.address) {
                let text = format!("{} from {}", number, from.address);
                let write = || async { Ok(from.send(&to.address, &text).await.is_ok()) };
                wait_until("the recipient's name to be known", write).await?;
            }
        }
    }
    for agent in agents {
        let expected = (agents.len() - 1) * count;
        wait_until("mail from everybody", || async { Ok(agent.pending().await?.len() >= expected) }).await?;
        let mail = agent.take().await?;
        assert_eq!(mail.len(), expected);
        for from in agents.iter().filter(|from| from.address != agent.address) {
            let came: Vec<String> = mail
                .iter()
                .filter(|mail| mail.from == from.address)
                .map(|mail| mail.subject.clone())
                .collect();
            let sent: Vec<String> =
                (0..count).map(|number| format!("{number} from {}", from.address)).collect();
            assert_eq!(came, sent);
        }
    }
    Ok(())
}

/// Waits until `node` reaches `host` that way: the path `amesh peers` shows begins so.
async fn path(node: &Node, host: &str, way: &str) -> Result<()> {
    let shown = || async {
        let peers = node.peers().await?;
        let path = peers.iter().find(|peer| peer["host"] == host).and_then(|peer| peer["path"].as_str());
        Ok(path.is_some_and(|path| path.starts_with(way)).then_some(()))
    };
    wait_for(&format!("the path {way} from {} to {host}", node.host), shown).await
}

/// The nodes of `hosts`, in one mesh that the first one founds.
async fn mesh_of(lan: &Lan, hosts: &[&str]) -> Result<Mesh> {
    let nodes = hosts.iter().map(|host| lan.host(host)?.node(&[])).collect::<Result<_>>()?;
    Mesh::of(nodes).await
}

#[test]
fn two_wires_that_meet_only_in_a_third_host_that_does_not_forward() -> Result<()> {
    lab::play(&["kit", "ann", "bob"], |lan| async move {
        lan.put_behind("kit", Between::Blocks, 1, &["bob"])?;
        let mesh = mesh_of(&lan, &["kit", "ann", "bob"]).await?;
        path(&mesh[1], "bob", "relayed via kit").await?;
        path(&mesh[2], "ann", "relayed via kit").await?;
        path(&mesh[0], "bob", "direct").await?;
        all_write_to_all(&an_agent_each(&mesh).await?, 20).await
    })
}

#[test]
fn two_wires_joined_by_a_router_that_drops_multicast() -> Result<()> {
    lab::play(&["ann", "ben", "cat", "dan", "router"], |lan| async move {
        lan.put_behind("router", Between::Routes, 1, &["cat", "dan"])?;
        // Each is given one ticket of ann's; the others are found through members.
        let mesh = mesh_of(&lan, &["ann", "ben", "cat", "dan"]).await?;
        path(&mesh[1], "dan", "direct").await?;
        path(&mesh[3], "ben", "direct").await?;
        all_write_to_all(&an_agent_each(&mesh).await?, 3).await
    })
}

#[test]
fn behind_an_address_translator_that_lets_nobody_in() -> Result<()> {
    lab::play(&["ann", "box", "bob", "ben"], |lan| async move {
        lan.put_behind("box", Between::Hides, 1, &["ben"])?;
        let mesh = mesh_of(&lan, &["ann", "bob", "ben"]).await?;
        path(&mesh[2], "bob", "direct").await?;
        path(&mesh[1], "ben", "direct").await?;
        all_write_to_all(&an_agent_each(&mesh).await?, 3).await
    })
}

#[test]
fn two_address_translators_and_a_member_in_front_of_both() -> Result<()> {
    lab::play(&["kit", "box", "chest", "ann", "bob"], |lan| async move {
        lan.put_behind("box", Between::Hides, 1, &["ann"])?;
        lan.put_behind("chest", Between::Hides, 2, &["bob"])?;
        let mesh = mesh_of(&lan, &["kit", "ann", "bob"]).await?;
        let agents = an_agent_each(&mesh).await?;
        // Each lets in only what was sent for: both must begin at once, which the one in front makes them do. The
        // mesh ports may get through as well, soon after the swarm did.
        path(&mesh[1], "bob", "direct").await?;
        path(&mesh[2], "ann", "direct").await?;
        all_write_to_all(&agents, 5).await
    })
}

#[test]
fn files_go_through_a_third_host() -> Result<()> {
    lab::play(&["kit", "ann", "bob"], |lan| async move {
        lan.put_behind("kit", Between::Blocks, 1, &["bob"])?;
        let mesh = mesh_of(&lan, &["kit", "ann", "bob"]).await?;
        let (ann, bob, place) = (&mesh[1], &mesh[2], tempfile::tempdir()?);
        for node in [ann, bob] {
            node.amesh(&["init", "--name", &node.host]).await?;
            node.amesh(&["register"]).await?;
        }
        let known = || async { Ok(ann.amesh(&["agents"]).await?.to_string().contains("bob@")) };
        wait_until("the other's name", known).await?;
        path(ann, "bob", "relayed via kit").await?;
        let (bytes, file) = (vec![0xa5; 3_000_000], place.path().join("report.bin"));
        std::fs::write(&file, &bytes)?;
        ann.amesh(&["send", "bob", "Report", "see attached", "--attach", &file.to_string_lossy()]).await?;
        let mail = wait_for("mail", || async {
            let inbox = bob.amesh(&["inbox"]).await?;
            Ok(inbox["messages"].as_array().and_then(|all| all.first()).cloned())
        })
        .await?;
        let (id, dest) = (mail["id"].as_str().unwrap_or_default(), place.path().join("got"));
        bob.amesh(&["download", id, "--dest", &dest.to_string_lossy()]).await?;
        assert!(std::fs::read(dest.join("report.bin"))? == bytes);
        path(ann, "bob", "relayed via kit").await
    })
}

#[test]
fn a_relayed_path_that_loses_every_tenth_packet_at_every_host() -> Result<()> {
    lab::play(&["kit", "ann", "bob"], |lan| async move {
        lan.put_behind("kit", Between::Blocks, 1, &["bob"])?;
        let mesh = mesh_of(&lan, &["kit", "ann", "bob"]).await?;
        path(&mesh[1], "bob", "relayed via kit").await?;
        for host in lan.hosts() {
            host.lose_a_tenth()?;
        }
        all_write_to_all(&an_agent_each(&mesh).await?, 10).await
    })
}
