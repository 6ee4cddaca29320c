//! More wires than one: hosts behind a host that has a foot on each, which forwards nothing, or routes, or hides them
//! behind its own address. Multicast stays on its wire either way. Used by stories of `lab`.

use super::lan::{Host, Lan, shell};
use anyhow::{Result, ensure};

/// What the host between two wires does with packets that are not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// Nothing: no packet gets from one wire to the other.
    Blocks,
    /// It hands them on, and both sides know the way. It drops multicast.
    Routes,
    /// It hands them on from behind, under its own address; nobody can begin from the front.
    Hides,
}

impl Lan {
    /// Takes `hosts` off the first wire and puts them on wire `number` (1 to 9) behind `through`. Their addresses are
    /// `10.<77+number>.0.x` from then on.
    ///
    /// # Errors
    /// When the tools fail, or a host is unknown.
    pub fn put_behind(&self, through: &str, between: Between, number: u8, hosts: &[&str]) -> Result<()> {
        ensure!((1..10).contains(&number), "wires are numbered 1 to 9");
        let router = self.host(through)?;
        let (net, n) = (format!("10.{}.0", 77 + number), router.number);
        shell(&format!(
            "ip link add br{number} type bridge && ip link set br{number} up && \
             ip link add q{number} type veth peer name eth{number} netns n{n} && \
             ip link set q{number} master br{number} up && ip -n n{n} addr add {net}.254/24 dev eth{number} && \
             ip -n n{n} link set eth{number} up"
        ))?;
        for name in hosts {
            let at = self.host(name)?.number;
            shell(&format!(
                "ip link set p{at} master br{number} && ip -n n{at} addr flush dev eth0 scope global && \
                 ip -n n{at} addr add {net}.{at}/24 dev eth0 && ip -n n{at} route add default via {net}.254"
            ))?;
        }
        if between == Between::Blocks {
            return Ok(());
        }
        shell(&format!("ip netns exec n{n} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"))?;
        if between == Between::Hides {
            return hide(router, number);
        }
        let front =
            self.hosts().iter().filter(|host| host.name != through && !hosts.contains(&host.name.as_str()));
        for host in front {
            shell(&format!("ip -n n{} route add {net}.0/24 via {}", host.number, router.ip))?;
        }
        Ok(())
    }

    /// Splits the LAN in two: `hosts` reach each other only, until [`Host::mend_behind_the_switch`]. No end sees anything.
    ///
    /// # Errors
    /// When the tools fail, or a host is unknown.
    pub fn split_off(&self, hosts: &[&str]) -> Result<()> {
        shell("ip link add br-apart type bridge 2>/dev/null; ip link set br-apart up")?;
        for name in hosts {
            shell(&format!("ip link set p{} master br-apart", self.host(name)?.number))?;
        }
        Ok(())
    }
}

/// As the box at home does: outgoing connections get its address, nothing unasked for comes in.
fn hide(router: &Host, number: u8) -> Result<()> {
    router.nft(&format!(
        "table ip hide {{\n\
         chain out {{\ntype nat hook postrouting priority 100\noifname \"eth0\" masquerade\n}}\n\
         chain own {{\ntype filter hook input priority 0\niifname \"eth0\" ct state new drop\n}}\n\
         chain through {{\ntype filter hook forward priority 0\n\
         iifname \"eth0\" oifname \"eth{number}\" ct state != {{ established, related }} drop\n}}\n}}\n"
    ))
}
