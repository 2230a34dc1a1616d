//! A network of its own for every machine of the test: namespaces on one bridge, whose cables can be cut. Needs root.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Machines, by the last part of their address.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    machines: Vec<u8>,
}

impl Network {
    /// These machines, and the bridge between them in a namespace of its own: nothing of it is seen outside.
    pub fn new(name: &str, machines: &[u8]) -> Self {
        let prefix = format!("ironbell-{name}-{}", std::process::id());
        let network = Self { prefix, machines: machines.to_owned() };
        let hub = network.hub();
        run("ip", &["netns", "add", &hub]);
        run("ip", &["-n", &hub, "link", "add", "bridge", "type", "bridge"]);
        run("ip", &["-n", &hub, "link", "set", "bridge", "up"]);
        for machine in machines {
            let (name, port) = (network.name(*machine), format!("port{machine}"));
            run("ip", &["netns", "add", &name]);
            run(
                "ip",
                &["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name],
            );
            run("ip", &["-n", &hub, "link", "set", &port, "master", "bridge", "up"]);
            run("ip", &["-n", &name, "addr", "add", &format!("{}/24", address(*machine)), "dev", "eth0"]);
            run("ip", &["-n", &name, "link", "set", "eth0", "up"]);
            run("ip", &["-n", &name, "link", "set", "lo", "up"]);
            // The kernel leaves checksums to the device, and a virtual one writes none; who reads frames without the
            // kernel would find them wrong.
            run("ip", &["netns", "exec", &name, "ethtool", "-K", "eth0", "tx", "off"]);
        }
        network
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// A machine's namespace.
    pub fn name(&self, machine: u8) -> String {
        format!("{}-{machine}", self.prefix)
    }

    /// Cuts a machine's cable: nothing goes in or out, and nobody is told.
    pub fn cut(&self, machine: u8) {
        self.filter(machine, "iif != lo drop", "oif != lo drop");
    }

    /// Cuts what goes between two machines only.
    pub fn cut_between(&self, one: u8, other: u8) {
        let other = address(other);
        self.filter(one, &format!("ip saddr {other} drop"), &format!("ip daddr {other} drop"));
    }

    fn filter(&self, machine: u8, input: &str, output: &str) {
        let rules = format!(
            "table inet cut {{\n chain input {{ type filter hook input priority 0; {input}; }}\n \
             chain output {{ type filter hook output priority 0; {output}; }}\n}}\n"
        );
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name(machine), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("ip is there");
        nft.stdin.take().expect("it is piped").write_all(rules.as_bytes()).expect("nft reads it");
        let status = nft.wait().expect("nft ends");
        assert!(status.success(), "nft, brought in by tests/setup.sh: {status}");
    }

    /// Mends a cable.
    pub fn mend(&self, machine: u8) {
        run("ip", &["netns", "exec", &self.name(machine), "nft", "delete", "table", "inet", "cut"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.machines.iter().map(|machine| self.name(*machine)).chain([self.hub()]) {
            // What was never made cannot be taken away.
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

/// Where a machine is.
pub fn address(machine: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, machine)
}

/// Moves this thread to a machine.
pub fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace is ours");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("we may enter it");
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; tests/setup.sh brings it in"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said} (root is needed)", arguments.join(" "));
}
