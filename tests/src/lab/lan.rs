//! The LAN itself: a bridge, and on it hosts with one interface `eth0` each and no default route. What can happen to a
//! cable or to packets, happens here.

use crate::node::Node;
use crate::place::Place;
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A LAN.
#[derive(Debug)]
pub struct Lan {
    hosts: Vec<Host>,
}

/// A machine on the LAN.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its network.
    pub place: Place,
    pub(super) number: usize,
}

impl Lan {
    /// Builds a LAN of the named hosts in the present namespaces.
    pub(crate) fn build(names: &[&str]) -> Result<Self> {
        shell(PREPARE)?;
        shell("ip link set lo up && ip link add br0 type bridge && ip link set br0 up")?;
        let build = |(at, name): (usize, &&str)| Host::plug_in(at + 1, name);
        Ok(Self { hosts: names.iter().enumerate().map(build).collect::<Result<_>>()? })
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| format!("no host {name}"))
    }
}

impl Host {
    fn plug_in(number: usize, name: &str) -> Result<Self> {
        let ip = Ipv4Addr::new(10, 77, 0, u8::try_from(number)?);
        shell(&format!(
            "ip netns add n{number} && ip link add p{number} type veth peer name eth0 netns n{number} && \
             ip link set p{number} master br0 up && ip -n n{number} link set lo up && \
             ip -n n{number} addr add {ip}/24 dev eth0 && ip -n n{number} link set eth0 up"
        ))?;
        let place = Place::namespace(PathBuf::from(format!("/run/netns/n{number}")))?;
        Ok(Self { name: name.into(), ip, place, number })
    }

    /// A node on this host with its defaults and `options`; not started.
    ///
    /// # Errors
    /// When there is no room for its data.
    pub fn node(&self, options: &[&str]) -> Result<Node> {
        Node::new(&self.name, self.place.clone(), options)
    }

    /// Gives the host another address, as a lease that ran out does.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn move_to(&self, ip: &str) -> Result<()> {
        let number = self.number;
        shell(&format!(
            "ip -n n{number} addr flush dev eth0 scope global && ip -n n{number} addr add {ip}/24 dev eth0"
        ))
    }

    /// Gives the host `eth1`, on the same LAN: a docking station beside the wireless network.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn second_interface(&self, ip: &str) -> Result<()> {
        let number = self.number;
        shell(&format!(
            "ip link add s{number} type veth peer name eth1 netns n{number} && ip link set s{number} master br0 up && \
             ip -n n{number} addr add {ip}/24 dev eth1 && ip -n n{number} link set eth1 up"
        ))
    }

    /// Turns one of the host's interfaces off or on, as its user does.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn switch(&self, interface: &str, on: bool) -> Result<()> {
        let state = if on { "up" } else { "down" };
        shell(&format!("ip -n n{} link set {interface} {state}", self.number))
    }

    /// Leaves the host no IPv4 address on the LAN but `fd77::ip`, and what IPv6 gives itself.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn only_ipv6(&self, ip: &str) -> Result<()> {
        let number = self.number;
        shell(&format!(
            "ip -n n{number} addr flush dev eth0 scope global && \
             ip -n n{number} addr add fd77::{ip}/64 dev eth0 nodad"
        ))
    }

    /// Pulls the cable: both ends see the link go down.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn pull_cable(&self) -> Result<()> {
        shell(&format!("ip link set p{} down", self.number))
    }

    /// Plugs it back in.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug_cable(&self) -> Result<()> {
        shell(&format!("ip link set p{} up", self.number))
    }

    /// Breaks the path behind the switch: no end sees anything.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn cut_behind_the_switch(&self) -> Result<()> {
        shell(&format!("ip link set p{} nomaster", self.number))
    }

    /// Mends what [`Self::cut_behind_the_switch`] broke; no end sees anything.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn mend_behind_the_switch(&self) -> Result<()> {
        shell(&format!("ip link set p{} master br0", self.number))
    }

    /// Nothing multicast reaches or leaves this host, as on many wireless networks.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn block_multicast(&self) -> Result<()> {
        self.filter("meta pkttype multicast drop", "ip daddr 224.0.0.0/4 drop")
    }

    /// Every packet to this host is lost with a chance of one in ten.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn lose_a_tenth(&self) -> Result<()> {
        self.filter("numgen random mod 10 == 0 drop", "")
    }

    /// No more than so much reaches this host; what is over is lost, as on a slow line.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn throttle(&self, kbytes_per_second: u32) -> Result<()> {
        self.filter(&format!("limit rate over {kbytes_per_second} kbytes/second burst 256 kbytes drop"), "")
    }

    /// Undoes [`Self::block_multicast`], [`Self::lose_a_tenth`] and [`Self::throttle`].
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn filter_nothing(&self) -> Result<()> {
        self.nft("table inet lab\ndelete table inet lab\n")
    }

    fn filter(&self, incoming: &str, outgoing: &str) -> Result<()> {
        self.nft(&format!(
            "table inet lab {{\n\
             chain incoming {{\ntype filter hook input priority 0\niifname \"eth0\" {incoming}\n}}\n\
             chain outgoing {{\ntype filter hook output priority 0\n{}\n}}\n}}\n",
            if outgoing.is_empty() { String::new() } else { format!("oifname \"eth0\" {outgoing}") }
        ))
    }

    pub(super) fn nft(&self, rules: &str) -> Result<()> {
        let mut nft = self.place.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
        nft.stdin.take().context("no stdin")?.write_all(rules.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft refused {rules}");
        Ok(())
    }
}

pub(super) fn shell(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-c", script]).output()?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Makes room for named network namespaces, out of sight of the machine's own.
pub(crate) const PREPARE: &str = "mount -t tmpfs tmpfs /run && mkdir /run/netns";
