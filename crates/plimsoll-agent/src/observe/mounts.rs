//! /proc/self/mountinfo: which mount is under a path.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory of the filesystem that is mounted.
    pub(super) root: PathBuf,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// Type, such as `ext4`.
    pub(super) filesystem: String,
    /// Device or name.
    pub(super) source: String,
    /// Options of the mount, such as `rw,noatime`.
    pub(super) flags: String,
    /// Options of the filesystem; on cgroup v1 they name the controllers.
    pub(super) options: String,
}

impl Mount {
    /// Options of the mount, then those that only the filesystem has.
    pub(super) fn all_options(&self) -> String {
        let mut options: Vec<&str> = self.flags.split(',').chain(self.options.split(',')).collect();
        let mut seen = BTreeSet::new();
        options.retain(|option| !option.is_empty() && seen.insert(*option));
        options.join(",")
    }

    /// Lower layers of an overlay: `lowerdir=a:b`, or `lowerdir+=a,lowerdir+=b`; a colon in a name stands as `\:`.
    pub(super) fn lower_layers(&self) -> Option<u32> {
        let options = self.options.replace("\\:", "").replace("::", ":");
        let each = options.split(',').filter_map(|option| {
            let (name, value) = option.split_once('=')?;
            match name {
                "lowerdir" => Some(value.split(':').count()),
                "lowerdir+" => Some(1),
                _ => None,
            }
        });
        let layers: usize = each.sum();
        u32::try_from(layers).ok().filter(|layers| *layers > 0 && self.filesystem == "overlay")
    }
}

/// Mounts in the order of the file: a later one covers an earlier one at the same point.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &str) -> Option<Mount> {
    let (place, device) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3).map(unescaped);
    let mut device = device.split(' ').map(unescaped);
    Some(Mount {
        root: place.next()?.into(),
        point: place.next()?.into(),
        flags: place.next()?,
        filesystem: device.next()?,
        source: device.next()?,
        options: device.next().unwrap_or_default(),
    })
}

/// Blanks and backslashes stand there as three octal digits.
fn unescaped(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| first == b'\\');
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The mount with the longest point above `path`, the last of them if there are several.
pub(super) fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = "\
600 500 0:50 / / rw,relatime master:280 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/u
601 600 0:53 / /proc rw,nosuid - proc proc rw
610 600 254:0 /volumes/x/_data /data rw,relatime master:1 - ext4 /dev/vda rw,discard
611 610 0:60 / /data/in\\040memory rw - tmpfs tmpfs rw,size=64k
612 600 0:61 / /datum rw - tmpfs tmpfs rw
613 600 254:0 /other /data rw shared:7 master:1 propagate_from:2 - xfs /dev/vdb rw
short line
";

    fn point(path: &str) -> String {
        let mounts = parse(CONTAINER);
        let mount = covering(&mounts, Path::new(path)).unwrap();
        format!("{} {} {}", mount.point.display(), mount.filesystem, mount.source)
    }

    #[test]
    fn the_longest_mount_above_a_path_covers_it() {
        assert_eq!(point("/"), "/ overlay overlay");
        assert_eq!(point("/usr/bin"), "/ overlay overlay");
        assert_eq!(point("/data/in memory/x"), "/data/in memory tmpfs tmpfs");
    }

    #[test]
    fn options_of_mount_and_filesystem_are_each_said_once() {
        let mounts = parse(CONTAINER);
        let options = |path: &str| covering(&mounts, Path::new(path)).unwrap().all_options();
        assert_eq!(options("/volumes"), "rw,relatime,lowerdir=/l/A:/l/B,upperdir=/u");
        assert_eq!(options("/proc"), "rw,nosuid");
    }

    #[test]
    fn an_overlay_tells_its_lower_layers() {
        let overlay = |options: &str| {
            Mount { filesystem: "overlay".into(), options: options.into(), ..Mount::default() }.lower_layers()
        };
        assert_eq!(overlay("rw,lowerdir=/l/A:/l/B,upperdir=/u"), Some(2));
        assert_eq!(overlay("ro,lowerdir=one\\:name,upperdir=/u"), Some(1));
        assert_eq!(overlay("rw,lowerdir+=/a,lowerdir+=/b,lowerdir+=/c,upperdir=/u"), Some(3));
        assert_eq!(overlay("rw,upperdir=/u"), None);
        assert_eq!(
            Mount { filesystem: "ext4".into(), options: "lowerdir=a".into(), ..Mount::default() }.lower_layers(),
            None
        );
    }

    #[test]
    fn names_are_compared_whole() {
        assert_eq!(point("/database"), "/ overlay overlay");
        assert_eq!(point("/datum"), "/datum tmpfs tmpfs");
    }

    #[test]
    fn a_later_mount_covers_an_earlier_one() {
        assert_eq!(point("/data/x"), "/data xfs /dev/vdb");
    }

    #[test]
    fn nothing_covers_a_path_where_nothing_is_known() {
        assert_eq!(covering(&parse(""), Path::new("/")), None);
    }
}
