//! Three machines on one LAN that never saw the internet (issue 2, "it must show" 3).

use amesh_tests::agent::TestAgent;
use amesh_tests::lab;
use amesh_tests::mesh::Mesh;
use amesh_tests::wait::wait_until;
use anyhow::Result;

/// One agent per node, named after its host.
async fn an_agent_each(mesh: &Mesh) -> Result<Vec<TestAgent>> {
    let mut agents = Vec::new();
    for node in &mesh.0 {
        agents.push(node.agent(&format!("agent-of-{}", node.host)).await?);
    }
    Ok(agents)
}

/// Everybody writes to everybody else, by full address, as soon as the name is known.
async fn all_write_to_all(agents: &[TestAgent]) -> Result<()> {
    for from in agents {
        for to in agents.iter().filter(|to| to.address != from.address) {
            let write = || async { Ok(from.send(&to.address, &format!("to {}", to.address)).await.is_ok()) };
            wait_until("the recipient's name to be known", write).await?;
        }
    }
    for agent in agents {
        let complete = || async { Ok(agent.pending().await?.len() >= agents.len() - 1) };
        wait_until("mail from everybody", complete).await?;
        let mut from: Vec<String> = agent.take().await?.into_iter().map(|mail| mail.from).collect();
        let mut others: Vec<String> =
            agents.iter().map(|a| a.address.clone()).filter(|a| *a != agent.address).collect();
        from.sort();
        others.sort();
        assert_eq!(from, others);
    }
    Ok(())
}

#[test]
fn three_hosts_join_by_one_line_each_and_write_to_each_other() -> Result<()> {
    lab::play(&["ann", "bob", "cat"], |lan| async move {
        let mesh = Mesh::on_lan(&lan).await?;
        all_write_to_all(&an_agent_each(&mesh).await?).await
    })
}

#[test]
fn with_multicast_blocked_seeds_do_the_same() -> Result<()> {
    lab::play(&["ann", "bob", "cat"], |lan| async move {
        for host in lan.hosts() {
            host.block_multicast()?;
        }
        let seeds = ["--peer", "10.77.0.1:23001", "--peer", "10.77.0.2:23001", "--peer", "10.77.0.3:23001"];
        let nodes = lan.hosts().iter().map(|host| host.node(&seeds)).collect::<Result<_>>()?;
        let mut mesh = Mesh::of(nodes).await?;
        all_write_to_all(&an_agent_each(&mesh).await?).await?;
        mesh[1].restart().await?;
        mesh.linked().await
    })
}

#[test]
fn a_host_that_comes_back_at_another_address_is_found_again() -> Result<()> {
    lab::play(&["ann", "bob"], |lan| async move {
        let mesh = Mesh::on_lan(&lan).await?;
        let agents = an_agent_each(&mesh).await?;
        lan.host("bob")?.move_to("10.77.0.99")?;
        all_write_to_all(&agents).await
    })
}
