//! A network of a test's own: a network namespace and a pair of virtual interfaces that join it to
//! the machine's, which can be cut. Packets are lost then, as between two machines: connections
//! stay open at both ends, and nobody is told.
//!
//! Both ends have addresses of 198.18.0.0/15, which are set aside for tests of networks. Nothing
//! leaves the machine.

use std::fmt;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

/// What the name of each namespace begins with; the id of the test process follows.
const PREFIX: &str = "sharding-tests-";
/// The first address there is.
const FIRST: u32 = 0xc612_0000;
/// How many pairs of addresses there are, of four each.
const PAIRS: u32 = 1 << 15;
/// The interface within a namespace.
const INNER: &str = "eth0";

/// Why there can be no namespace here.
#[derive(Debug)]
pub enum Unusable {
    /// There is no `ip`, which is a part of iproute2.
    Missing,
    /// The kernel does not let this user make one; what it said.
    Forbidden(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("iproute2 is not installed"),
            Self::Forbidden(said) => write!(f, "a network namespace is not allowed: {said}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// A namespace; it and its interfaces are removed with the value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The interface on this side.
    outer: String,
    /// The address within.
    address: Ipv4Addr,
}

impl Namespace {
    /// Makes one that can be reached from here.
    ///
    /// # Errors
    /// [`Unusable`], or what `ip` says.
    pub fn create() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_abandoned()?;
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}{process}-{number}");
        add(&name)?;
        let (here, there) = match free_pair(process.wrapping_mul(8).wrapping_add(number)) {
            Ok(pair) => pair,
            Err(error) => {
                drop(ip(&["netns", "delete", &name]));
                return Err(error);
            }
        };
        let made = Self {
            // At most 15 characters.
            outer: format!("vg{process}n{number}"),
            name,
            address: there,
        };
        made.join(here)?;
        Ok(made)
    }

    fn join(&self, here: Ipv4Addr) -> anyhow::Result<()> {
        let (outer, name) = (self.outer.as_str(), self.name.as_str());
        let (here, there) = (format!("{here}/30"), format!("{}/30", self.address));
        let veth = [
            "link", "add", outer, "type", "veth", "peer", "name", INNER, "netns", name,
        ];
        ip(&veth)?;
        ip(&["address", "add", &here, "dev", outer])?;
        ip(&["link", "set", outer, "up"])?;
        ip(&["-n", name, "address", "add", &there, "dev", INNER])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", INNER, "up"])
    }

    /// Where servers in it listen.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Loses every packet from now on, in both directions.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut(&self) -> anyhow::Result<()> {
        // The inner end: with the outer one down its route would be gone too, and the kernel would
        // tell clients so.
        ip(&["-n", &self.name, "link", "set", INNER, "down"])
    }

    /// Lets packets through again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn mend(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.name, "link", "set", INNER, "up"])
    }

    /// The command, run within; it takes the place of `ip`, under the same process id.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut entering = Command::new("ip");
        entering.args(["netns", "exec", &self.name]);
        entering.arg(command.get_program()).args(command.get_args());
        entering
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(ip(&["link", "delete", &self.outer]));
        drop(ip(&["netns", "delete", &self.name]));
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<Output> {
    match Command::new("ip").args(arguments).output() {
        Ok(output) => Ok(output),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Unusable::Missing.into()),
        Err(error) => Err(error).context("run ip"),
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = run(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let what = arguments.join(" ");
    anyhow::ensure!(output.status.success(), "ip {what}: {}", said.trim());
    Ok(())
}

fn add(name: &str) -> anyhow::Result<()> {
    let output = run(&["netns", "add", name])?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let refusals = ["Operation not permitted", "Permission denied"];
    if refusals.iter().any(|refusal| said.contains(refusal)) {
        // Where the name could be made and the rest could not.
        drop(run(&["netns", "delete", name]));
        return Err(Unusable::Forbidden(said).into());
    }
    anyhow::bail!("ip netns add {name}: {said}")
}

/// The addresses of both ends that nobody on this machine has; runs at the same time begin to look
/// at different places.
fn free_pair(start: u32) -> anyhow::Result<(Ipv4Addr, Ipv4Addr)> {
    for step in 0..64 {
        let network = FIRST + start.wrapping_add(step) % PAIRS * 4;
        let within = format!("{}/30", Ipv4Addr::from(network));
        let taken = run(&["-4", "-o", "address", "show", "to", &within])?;
        if taken.status.success() && taken.stdout.is_empty() {
            return Ok((Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2)));
        }
    }
    anyhow::bail!("no free addresses from {} on", Ipv4Addr::from(FIRST))
}

/// Removes the namespaces of test processes that were killed before they could; an interface goes
/// with its peer.
fn remove_abandoned() -> anyhow::Result<()> {
    let listed = run(&["netns", "list"])?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(process) = process
            && process.parse::<u32>().is_ok()
            && !Path::new("/proc").join(process).exists()
        {
            drop(ip(&["netns", "delete", name]));
        }
    }
    Ok(())
}
