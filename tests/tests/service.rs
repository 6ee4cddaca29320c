//! `amesh service install` under a live systemd: a user manager of its own in namespaces of its own, where this machine
//! lets one be started. Elsewhere the test says why not; what is written for systemd is checked in `command_names.rs`.

use amesh_tests::binary;
use anyhow::{Result, ensure};
use std::process::Command;

#[test]
fn systemd_starts_the_node_and_starts_it_again_when_it_is_killed_and_stops_it() -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut alone = Command::new("unshare");
    alone.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT]);
    alone.env("HOME", home.path()).env("AMESH", binary::amesh()?).env_remove("XDG_CONFIG_HOME");
    let Ok(output) = alone.current_dir(home.path()).output() else {
        eprintln!("not run: there is no `unshare` here");
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(why) = said.lines().find_map(|line| line.strip_prefix("no systemd: ")) {
        eprintln!("not run: {why}");
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if said.is_empty() && complaint.starts_with("unshare:") {
        eprintln!("not run: {complaint}");
        return Ok(());
    }
    ensure!(output.status.success(), "{}\n{said}{complaint}", output.status);
    ensure!(said.ends_with("started, started again, stopped\n"), "{said}");
    Ok(())
}

/// What cannot be had here ends with `no systemd`, before anything of ours is tried.
const SCRIPT: &str = r#"
refuse() { echo "no systemd: $1"; exit; }
manager=/usr/lib/systemd/systemd
[ -x $manager ] || refuse "it is not installed"
mount --make-rprivate / && mount -t tmpfs none /run && mkdir -p /run/systemd/system || refuse "no mounts of one's own"
umount -R /sys/fs/cgroup 2> /dev/null
mount -t cgroup2 none /sys/fs/cgroup || refuse "no cgroup2"
group=/sys/fs/cgroup/amesh-test-${HOME##*/}
mkdir "$group" && echo $$ > "$group/cgroup.procs" || refuse "no cgroup of one's own"
unset DBUS_SESSION_BUS_ADDRESS; export XDG_RUNTIME_DIR=$HOME/run; mkdir -m 700 "$XDG_RUNTIME_DIR"
$manager --user > /dev/null 2>&1 &
leave() {
    systemctl --user exit || kill -9 %1; wait
    echo $$ > /sys/fs/cgroup/cgroup.procs
    find "$group" -depth -type d -exec rmdir {} + || true
}
trap leave EXIT
tries() { for _ in $(seq $1); do eval "$2" > /dev/null 2>&1 && return; sleep 0.1; done; false; }
tries 200 '[[ $(systemctl --user is-system-running) == @(running|degraded) ]]' || refuse "it does not start here"

node="$AMESH --data-dir $HOME/data"
main() { systemctl --user show --property MainPID --value amesh; }
within_minutes() {
    tries 1800 "$1" && return
    echo "it did not come: $1"; systemctl --user status amesh --no-pager; cat "$HOME/data/amesh.log"; exit 1
}
set -e
$node service install -- --host den --api 127.0.0.1:0 --mesh 127.0.0.1:0 --no-mdns --no-swarm
within_minutes '$node status'
first=$(main)
kill -9 "$first"
within_minutes '[ "$(main)" != 0 ] && [ "$(main)" != "$first" ] && $node status'
$node service uninstall
[ "$(systemctl --user is-active amesh || true)" = inactive ]
[ ! -e "$HOME/data/node.json" ] && [ ! -e "$HOME/.config/systemd/user/amesh.service" ]
echo "started, started again, stopped"
"#;
