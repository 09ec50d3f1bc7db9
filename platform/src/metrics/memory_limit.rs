//! How much memory the process may have: the least limit of the control groups that it is in, else
//! the machine's memory. What is near it is ended by the kernel without a word.

use std::path::{Path, PathBuf};

use prometheus::{Error, IntGauge, Registry};

use super::register_on_scrape;

/// Where control groups are, and what says their limit: version 2, and version 1.
const UNIFIED: (&str, &str) = ("/sys/fs/cgroup", "memory.max");
const OF_MEMORY: (&str, &str) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");

/// Registers `process_memory_limit_bytes`. It is looked up anew by each scrape, since a limit may be
/// changed while the process runs.
///
/// # Errors
/// When the name is taken.
pub(super) fn register(registry: &Registry) -> Result<(), Error> {
    let gauge = IntGauge::new(
        "process_memory_limit_bytes",
        "Memory that this process may have: the limit of its control group, else the machine's",
    )?;
    let shown = gauge.clone();
    register_on_scrape(registry, vec![Box::new(shown)], move || {
        if let Some(limit) = limit() {
            gauge.set(limit);
        }
    })
}

fn limit() -> Option<i64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = groups(&own).into_iter();
    groups
        .flat_map(|((root, file), group)| of_groups(Path::new(root), file, &group))
        .chain(of_machine(&machine))
        .min()
}

/// The process's groups, relative to the roots that it sees.
fn groups(own: &str) -> Vec<((&'static str, &'static str), PathBuf)> {
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = PathBuf::from(path.trim_start_matches('/'));
        if controllers.is_empty() {
            found.push((UNIFIED, path));
        } else if controllers.split(',').any(|it| it == "memory") {
            found.push((OF_MEMORY, path));
        }
    }
    found
}

/// The limits of a group and of those that it is in. In a container a group's path may be that of
/// the host: what is not there is passed over, up to the root, which is the container's.
fn of_groups(root: &Path, file: &str, group: &Path) -> Vec<i64> {
    let folders = group.ancestors().map(|folder| root.join(folder));
    let texts = folders.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok());
    // A group without a limit says `max`, or a number that no machine has.
    texts.filter_map(|text| text.trim().parse().ok()).collect()
}

fn of_machine(memory: &str) -> Option<i64> {
    let line = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_holds() {
        let root = std::env::temp_dir().join(format!("groups-{}", std::process::id()));
        let inner = root.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(root.join("a/memory.max"), "1000\n").unwrap();
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        let group = Path::new("a/b");
        assert_eq!(of_groups(&root, "memory.max", group), [1000]);
        std::fs::write(inner.join("memory.max"), "900\n").unwrap();
        assert_eq!(of_groups(&root, "memory.max", group), [900, 1000]);
        let of_host = Path::new("docker/0123/a");
        std::fs::write(root.join("memory.max"), "700\n").unwrap();
        assert_eq!(of_groups(&root, "memory.max", of_host), [700]);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let own = "9:name=systemd:/x\n4:cpu,memory:/pods/a:b\n0::/a\n";
        let found = [(OF_MEMORY, "pods/a:b".into()), (UNIFIED, "a".into())];
        assert_eq!(groups(own), found);
        assert_eq!(groups("0::/\n"), [(UNIFIED, PathBuf::new())]);
    }

    #[test]
    fn without_a_group_it_is_the_machines_memory() {
        assert_eq!(groups("12:cpu:/elsewhere\n"), []);
        let memory = "MemFree:  1 kB\nMemTotal:       2048 kB\n";
        assert_eq!(of_machine(memory), Some(2 << 20));
        assert!(limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
