//! Where in the cgroup hierarchies this process is.
//!
//! Main type: [`Own`]. It reads two files of procfs, as text; whether a folder can be used is
//! found out by using it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, PathBuf};

/// The folders of this process's own cgroups, as far as they are mounted where it can see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// In the v2 hierarchy.
    pub(super) v2: Option<PathBuf>,
    /// In the v1 hierarchy of the memory controller.
    pub(super) v1_memory: Option<PathBuf>,
}

impl Own {
    /// Of this process. What cannot be read is taken for not mounted.
    pub(super) fn of_this_process() -> Self {
        let read = |path| std::fs::read(path).unwrap_or_default();
        Self::parse(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`, see cgroups(7) and
    /// proc_pid_mountinfo(5).
    fn parse(cgroup: &[u8], mountinfo: &[u8]) -> Self {
        let mut own = Self::default();
        let mounts: Vec<Mount> = lines(mountinfo).filter_map(Mount::parse).collect();
        for line in lines(cgroup) {
            let mut fields = line.splitn(3, |&byte| byte == b':');
            let (Some(number), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == b"0" && controllers.is_empty() {
                own.v2 = folder(&mounts, Kind::V2, path);
            } else if has_word(controllers, b"memory") {
                own.v1_memory = folder(&mounts, Kind::V1Memory, path);
            }
        }
        own
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    V2,
    V1Memory,
}

/// A mounted hierarchy, or a part of it.
struct Mount {
    kind: Kind,
    /// Which cgroup the mount shows as its root.
    root: PathBuf,
    point: PathBuf,
    writable: bool,
}

impl Mount {
    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER_OPTIONS`, if it is
    /// a hierarchy of interest.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = path(unescape(fields.nth(3)?));
        let point = path(unescape(fields.next()?));
        let writable = has_word(fields.next()?, b"rw");
        fields.find(|field| *field == b"-")?;
        let kind = match fields.next()? {
            b"cgroup2" => Kind::V2,
            b"cgroup" if has_word(fields.nth(1)?, b"memory") => Kind::V1Memory,
            _ => return None,
        };
        Some(Self { kind, root, point, writable })
    }
}

/// The folder in which a mount of that kind shows the cgroup at `cgroup`: a writable mount if
/// there is one, and the last of several, which hides those below it.
fn folder(mounts: &[Mount], kind: Kind, cgroup: &[u8]) -> Option<PathBuf> {
    let cgroup = path(cgroup.to_vec());
    let of_kind = mounts.iter().filter(|mount| mount.kind == kind);
    let found = of_kind.filter_map(|mount| {
        // A mount that shows only a part shows this cgroup only if that is within the part. Both
        // paths begin with `/..` where they are outside this process's cgroup namespace; one that
        // is above the other then does not tell the names of the folders between them.
        let below = cgroup.strip_prefix(&mount.root).ok()?;
        let is_plain = below.components().all(|part| part != Component::ParentDir);
        is_plain.then_some((mount, below))
    });
    let (mount, below) = found.max_by_key(|(mount, _)| mount.writable)?;
    // Component by component, so that an empty rest adds no slash.
    Some(mount.point.join(below).components().collect())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|entry| entry == word)
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cgroup: &str, mountinfo: &str, v2: Option<&str>, v1_memory: Option<&str>) {
        let own = Own::parse(cgroup.as_bytes(), mountinfo.as_bytes());
        let expected = Own { v2: v2.map(PathBuf::from), v1_memory: v1_memory.map(PathBuf::from) };
        assert_eq!(own, expected, "{cgroup}{mountinfo}");
    }

    #[test]
    fn a_process_is_found_in_the_one_v2_hierarchy() {
        let scope = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n";
        let mount =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let folder =
            "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
        check(scope, mount, Some(folder), None);
        check("0::/\n", mount, Some("/sys/fs/cgroup"), None);
    }

    #[test]
    fn a_process_is_found_in_each_hierarchy_of_a_hybrid_host() {
        let cgroup = "5:cpu,cpuacct:/a\n4:memory:/jobs/b c\n1:name=memory:/no\n0::/c\n";
        let mounts = "\
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 master:2 - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let v1 = "/sys/fs/cgroup/memory/jobs/b c";
        check(cgroup, mounts, Some("/sys/fs/cgroup/unified/c"), Some(v1));
    }

    #[test]
    fn the_root_of_a_bind_mount_is_stripped_and_what_is_outside_it_is_not_found() {
        let mounts = "\
            70 60 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            71 60 0:38 /docker/abc /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let inside = "4:memory:/docker/abc\n0::/docker/abc/x\n";
        let v1 = "/sys/fs/cgroup/memory";
        check(inside, mounts, Some("/sys/fs/cgroup/unified/x"), Some(v1));
        check("4:memory:/docker/abcd\n0::/\n", mounts, None, None);
    }

    #[test]
    fn what_is_outside_the_cgroup_namespace_is_not_found() {
        let mount = |root| format!("70 60 0:38 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        check("0::/\n", &mount("/"), Some("/sys/fs/cgroup"), None);
        check("0::/\n", &mount("/.."), None, None);
        check("0::/\n", &mount("/../.."), None, None);
        check("0::/../x\n", &mount("/"), None, None);
        check("0::/../x/y\n", &mount("/../x"), Some("/sys/fs/cgroup/y"), None);
    }

    #[test]
    fn a_writable_mount_comes_first_and_then_the_last_one() {
        let mount = |point, options| format!("70 60 0:38 / {point} {options} - cgroup2 none rw\n");
        let mounts = mount("/a", "rw") + &mount("/b", "rw,nosuid") + &mount("/c", "ro");
        check("0::/x\n", &mounts, Some("/b/x"), None);
    }

    #[test]
    fn octal_escapes_are_undone() {
        let mount = "70 60 0:38 /a\\040b /mnt/c\\011d\\134040 rw - cgroup2 cgroup2 rw\n";
        check("0::/a b/e\n", mount, Some("/mnt/c\td\\040/e"), None);
        assert_eq!(unescape(b"\\04\\999\\"), b"\\04\\999\\");
    }

    #[test]
    fn texts_that_make_no_sense_find_nothing() {
        check("", "", None, None);
        check("0::\n0:\n:::\nmemory\n", "1 2 3\n- cgroup2\n70 60 0:38 / /x rw -\n", None, None);
    }
}
