//! The memory of this process: the limit of its container or service, or the memory of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::settings::MemorySettings;

/// The memory that is assumed where the system does not tell it.
const UNKNOWN_BYTES: u64 = 1024 * MIB;
const MIB: u64 = 1024 * 1024;
/// The part of all memory that answers take by default, and the most that this is.
const ANSWERS_SHARE: u64 = 4;
const ANSWERS_BYTES_DEFAULT_MAX: u64 = 1024 * MIB;
/// The share of texts that are being rendered or sent.
const TEXTS_SHARE: u64 = 8;
const TEXTS_BYTES_DEFAULT_MAX: u64 = 512 * MIB;

/// The most bytes that answers and texts take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryBounds {
    pub(super) answers_bytes: usize,
    pub(super) texts_bytes: usize,
}

/// The bounds of the settings, or else shares of the available memory.
pub(super) fn bounds(settings: &MemorySettings) -> MemoryBounds {
    shares(settings, available(Path::new("/")))
}

fn shares(settings: &MemorySettings, available: u64) -> MemoryBounds {
    let bytes = |share: u64, max: u64| usize::try_from(share.min(max)).unwrap_or(usize::MAX);
    MemoryBounds {
        answers_bytes: settings
            .answers_bytes_max
            .unwrap_or_else(|| bytes(available / ANSWERS_SHARE, ANSWERS_BYTES_DEFAULT_MAX)),
        texts_bytes: settings
            .texts_bytes_max
            .unwrap_or_else(|| bytes(available / TEXTS_SHARE, TEXTS_BYTES_DEFAULT_MAX)),
    }
}

/// The least of what the machine has and what any control group around this process allows.
fn available(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let allowed = groups.lines().filter_map(|line| allowed(root, line)).min();
    machine.into_iter().chain(allowed).min().unwrap_or(UNKNOWN_BYTES)
}

/// The limit behind a line of `/proc/self/cgroup`: `0::/path` of the second version, `7:memory:/path` of the first. The groups
/// around a group bound it too. In a container the path may be that of the host, and the limit is found at the root.
fn allowed(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let mount = root.join(mount);
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(&mount));
    let limits = groups.filter_map(|group| fs::read_to_string(group.join(file)).ok());
    // Without a limit the second version says "max" and the first one a number beyond all memory.
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: u64) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(available(root.path()), expected);
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_machine_counts_without_a_limit() {
        check(&[MACHINE], 8192 * MIB);
        let group = ("proc/self/cgroup", "0::/a\n");
        check(&[MACHINE, group, ("sys/fs/cgroup/a/memory.max", "max\n")], 8192 * MIB);
        check(&[], UNKNOWN_BYTES);
    }

    #[test]
    fn the_least_limit_around_the_process_counts() {
        let group = ("proc/self/cgroup", "0::/pod/container\n");
        let limits = [
            ("sys/fs/cgroup/pod/container/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "536870912\n"),
        ];
        check(&[MACHINE, group, limits[0], limits[1]], 512 * MIB);
        // The view of a container: a path of the host that does not exist, and its own limit at the root.
        check(&[MACHINE, group, ("sys/fs/cgroup/memory.max", "268435456\n")], 256 * MIB);
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let group = ("proc/self/cgroup", "3:cpu,cpuacct:/x\n7:memory:/docker/1\n");
        let limit = "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes";
        check(&[MACHINE, group, (limit, "134217728\n")], 128 * MIB);
        check(&[MACHINE, group, (limit, "9223372036854771712\n")], 8192 * MIB);
    }

    #[test]
    fn bounds_are_shares_unless_the_settings_say_otherwise() {
        let nothing = MemorySettings::default();
        let small = shares(&nothing, 1024 * MIB);
        assert_eq!((small.answers_bytes, small.texts_bytes), (256 << 20, 128 << 20));
        let large = shares(&nothing, 1024 * 1024 * MIB);
        assert_eq!((large.answers_bytes, large.texts_bytes), (1024 << 20, 512 << 20));
        let set = MemorySettings { answers_bytes_max: Some(1), texts_bytes_max: Some(2) };
        let bounds = shares(&set, 1024 * MIB);
        assert_eq!((bounds.answers_bytes, bounds.texts_bytes), (1, 2));
    }
}
