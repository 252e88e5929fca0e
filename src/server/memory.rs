//! How the process uses memory, and how much it may use: the smaller of the machine's memory, the container's limit and the process's own limit.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// The part of the memory that requests in flight may hold: an eighth, within these bounds.
const REQUEST_BYTES_MIN: u64 = 16 << 20;
const REQUEST_BYTES_MAX: u64 = 1 << 30;

/// Keeps the kernel from backing memory with pages of 2 MiB: the allocator's reservations are sparse, so that an idle broker would hold a third
/// more than it uses. Called before anything else, since a page that is huge already stays so. A kernel that refuses costs memory only.
pub(crate) fn refuse_huge_pages() {
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
}

/// What requests in flight may hold.
pub(crate) fn request_bytes_max() -> usize {
    let limits = [machine(), cgroup(), process()];
    let limit = limits.into_iter().flatten().min().unwrap_or(REQUEST_BYTES_MAX);
    usize::try_from((limit / 8).clamp(REQUEST_BYTES_MIN, REQUEST_BYTES_MAX)).unwrap_or(usize::MAX)
}

fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    mem_total(&text)
}

/// `MemTotal:       24062456 kB`
fn mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit of the process's control group and those above it.
fn cgroup() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let files = cgroup_files(&text);
    files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).filter_map(|text| text.trim().parse().ok()).min()
}

/// The files that may hold a limit: of version 2 (`0::/path`) and of version 1 (`N:memory:/path`), from the group up to the root. Inside a
/// container the root is the container's own group.
fn cgroup_files(text: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for ancestor in Path::new(path).ancestors() {
            let below = ancestor.strip_prefix("/").unwrap_or(ancestor);
            files.push(Path::new(root).join(below).join(name));
        }
    }
    files
}

/// `ulimit -v` and `ulimit -d`.
fn process() -> Option<u64> {
    [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(mem_total("MemTotal:       24062456 kB\nMemFree: 1 kB\n"), Some(24_062_456 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn limits_are_looked_for_from_the_group_up_to_the_root() {
        let files: Vec<String> = cgroup_files("0::/a/b\n").iter().map(|file| file.display().to_string()).collect();
        assert_eq!(files, ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]);
        let older = cgroup_files("5:cpu,memory:/\n4:cpuset:/x\n");
        assert_eq!(older, [PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes")]);
    }

    #[test]
    fn requests_get_a_bounded_part() {
        let bytes = request_bytes_max() as u64;
        assert!((REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX).contains(&bytes));
    }
}
