//! The data disk as a machine has it: what of it a name may choose, QEMU's arguments for it, and what is asked of QEMU
//! and compared with what it made. Data; nothing here starts or opens anything.

use std::collections::BTreeMap;
use std::path::Path;

use super::arguments::{Machine, quoted};
use super::qmp::BlockSeen;
use crate::environment::{Layer as LayerChoice, OptionAbout, RuleAbout, Values};

/// Name of the drive, on QEMU's command line and over QMP.
pub(super) const DRIVE: &str = "data";
/// Name of the device on the machine's bus that carries it.
pub(super) const ADAPTER: &str = "adapter";
/// Name of the thread that serves it, where it has one of its own.
const THREAD: &str = "disk";
/// Word of the name for data in the guest's memory.
const IN_MEMORY: &str = "initramfs";
/// Words for data on a disk.
const FORMATS: &[&str] = &["qcow2", "raw"];

pub(super) const DISK: OptionAbout = OptionAbout {
    key: "disk",
    values: Values::OneOf(&["qcow2", "raw", IN_MEMORY]),
    default: "qcow2",
    meaning: "format of the data disk's file; initramfs: no disk, the data lie in the guest's memory",
};
pub(super) const CACHE: OptionAbout = OptionAbout {
    key: "cache",
    values: Values::OneOf(&["writeback", "none", "directsync", "unsafe", "writethrough"]),
    default: WRITEBACK.name,
    meaning: "QEMU's cache mode of the data disk; unsafe ignores flushes",
};
pub(super) const AIO: OptionAbout = OptionAbout {
    key: "aio",
    values: Values::OneOf(&["threads", "native", "io_uring"]),
    default: "threads",
    meaning: "how QEMU asks the host for the data disk's blocks; native needs cache=none or directsync",
};
pub(super) const IOTHREAD: OptionAbout = OptionAbout {
    key: "iothread",
    values: Values::Flag,
    default: "",
    meaning: "a thread of QEMU's for the data disk alone",
};
pub(super) const BUS: OptionAbout = OptionAbout {
    key: "bus",
    values: Values::OneOf(&["virtio-blk", "virtio-scsi"]),
    default: "virtio-blk",
    meaning: "what the guest sees the data disk through",
};
pub(super) const TUNED: OptionAbout = OptionAbout {
    key: "tuned",
    values: Values::Set(&[("disk", "raw"), ("cache", "none"), ("aio", "native"), ("iothread", "")]),
    default: "",
    meaning: "what a production set-up chooses",
};

/// What goes with what. Linux's own asynchronous I/O blocks on a page cache, so QEMU refuses the two together.
pub(super) const RULES: &[RuleAbout] = &[
    RuleAbout { option: "aio", values: &["native"], needs: "cache", one_of: &["none", "directsync"] },
    RuleAbout { option: "cache", values: &[], needs: "disk", one_of: FORMATS },
    RuleAbout { option: "aio", values: &[], needs: "disk", one_of: FORMATS },
    RuleAbout { option: "iothread", values: &[], needs: "disk", one_of: FORMATS },
    RuleAbout { option: "bus", values: &[], needs: "disk", one_of: FORMATS },
];

/// A cache mode as QEMU takes it apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CacheMode {
    /// The word in the environment's name and on QEMU's command line.
    pub(super) name: &'static str,
    /// Whether the device tells the guest of a cache that it must flush.
    writeback: bool,
    /// Whether it goes past the host's page cache.
    pub(super) direct: bool,
    /// Whether flushes are ignored.
    no_flush: bool,
}

const WRITEBACK: CacheMode = CacheMode { name: "writeback", writeback: true, direct: false, no_flush: false };
const CACHE_MODES: &[CacheMode] = &[
    WRITEBACK,
    CacheMode { name: "none", writeback: true, direct: true, no_flush: false },
    CacheMode { name: "directsync", writeback: false, direct: true, no_flush: false },
    CacheMode { name: "unsafe", writeback: true, direct: false, no_flush: true },
    CacheMode { name: "writethrough", writeback: false, direct: false, no_flush: false },
];

/// A data disk as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drive {
    /// `qcow2` or `raw`.
    pub(super) format: String,
    /// `None`: QEMU's default, which is not written.
    cache: Option<&'static CacheMode>,
    /// As `cache`.
    aio: Option<String>,
    iothread: bool,
    bus: Bus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bus {
    Blk,
    Scsi,
}

impl Bus {
    fn name(self) -> &'static str {
        match self {
            Self::Blk => "virtio-blk",
            Self::Scsi => "virtio-scsi",
        }
    }
}

/// Whether a machine keeps data in its guest's memory and has no data disk.
pub(crate) fn is_in_memory(choice: &LayerChoice) -> bool {
    choice.option("disk") == IN_MEMORY
}

impl Drive {
    /// The disk that a name asks for; `None` for data in the guest's memory.
    pub(super) fn of(choice: &LayerChoice) -> Option<Self> {
        if is_in_memory(choice) {
            return None;
        }
        let cache = choice.chosen("cache").and_then(|name| CACHE_MODES.iter().find(|mode| mode.name == name));
        Some(Self {
            format: choice.option("disk").to_owned(),
            cache,
            aio: choice.chosen("aio").map(str::to_owned),
            iothread: choice.chosen("iothread").is_some(),
            bus: if choice.option("bus") == Bus::Scsi.name() { Bus::Scsi } else { Bus::Blk },
        })
    }

    /// The cache mode, whether written or not.
    pub(super) fn cache(&self) -> &'static CacheMode {
        self.cache.unwrap_or(&WRITEBACK)
    }

    /// How QEMU asks the host, whether written or not.
    pub(super) fn aio(&self) -> &str {
        self.aio.as_deref().unwrap_or(AIO.default)
    }

    /// Kernel modules without which the guest does not see it.
    pub(super) fn modules(&self) -> &'static [&'static str] {
        match self.bus {
            Bus::Blk => &["virtio_blk"],
            Bus::Scsi => &["virtio_scsi", "scsi_mod", "sd_mod"],
        }
    }

    /// What the guest calls it.
    pub(super) fn device(&self) -> &'static str {
        match self.bus {
            Bus::Blk => "/dev/vda",
            Bus::Scsi => "/dev/sda",
        }
    }

    /// QEMU's arguments for it, option by option.
    pub(super) fn arguments(&self, machine: Machine, file: &Path) -> Vec<(&'static str, String)> {
        let mut drive = format!("file={},format={},if=none,id={DRIVE}", quoted(file), self.format);
        for (key, value) in [("cache", self.cache.map(|mode| mode.name)), ("aio", self.aio.as_deref())] {
            drive.extend(value.map(|value| format!(",{key}={value}")));
        }
        let mut adapter = format!("{},id={ADAPTER}", machine.device(self.bus.name()));
        let mut words = Vec::new();
        if self.iothread {
            words.push(("-object", format!("iothread,id={THREAD}")));
            adapter.push_str(&format!(",iothread={THREAD}"));
        }
        words.push(("-drive", drive));
        match self.bus {
            Bus::Blk => words.push(("-device", format!("{adapter},drive={DRIVE}"))),
            Bus::Scsi => words.extend([("-device", adapter), ("-device", format!("scsi-hd,drive={DRIVE}"))]),
        }
        words
    }

    /// What QEMU is to make, by the names of [`seen`] and of [`aio_seen`].
    pub(super) fn asked(&self, bytes: u64) -> BTreeMap<String, String> {
        let thread = if self.iothread { thread_path() } else { String::new() };
        facts(&self.format, bytes, self.cache().name, &thread, self.bus.name())
            .into_iter()
            .chain([("disk_aio".to_owned(), self.aio().to_owned())])
            .collect()
    }

    /// Words that qualify every number.
    pub(super) fn labels(&self) -> Vec<String> {
        // What the guest has flushed is in the host's memory only.
        self.cache().no_flush.then(|| "volatile".to_owned()).into_iter().collect()
    }
}

/// What QEMU says that it made: the drive, the type of its adapter, and the adapter's thread (empty where it has none).
pub(super) fn seen(block: &BlockSeen, adapter: &str, thread: &str) -> BTreeMap<String, String> {
    let flags = (block.writeback, block.direct, block.no_flush);
    let mode = CACHE_MODES.iter().find(|mode| (mode.writeback, mode.direct, mode.no_flush) == flags);
    let cache = mode.map_or_else(|| format!("writeback, direct, no-flush: {flags:?}"), |mode| mode.name.to_owned());
    let bus = adapter.trim_end_matches("-pci").trim_end_matches("-device");
    facts(&block.format, block.bytes, &cache, thread, bus)
}

fn facts(format: &str, bytes: u64, cache: &str, thread: &str, bus: &str) -> BTreeMap<String, String> {
    let thread = if thread.is_empty() {
        "none"
    } else if thread == thread_path() {
        "own"
    } else {
        thread
    };
    let rows = [
        ("disk_format", format),
        ("disk_bytes", &bytes.to_string()),
        ("disk_cache", cache),
        ("disk_iothread", thread),
        ("disk_bus", bus),
    ];
    rows.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn thread_path() -> String {
    format!("/objects/{THREAD}")
}

/// How QEMU really asks the host, which it does not say over QMP. `maps` and `files` are those of its process, `log` is
/// what it printed: where the kernel refuses it a queue it takes its threads instead, prints so and goes on. A ring may
/// also be what some versions wait for their files with, so it counts only where one was `asked` for.
pub(super) fn aio_seen(asked: &str, maps: &str, files: &[String], log: &str) -> &'static str {
    if log.contains("falling back to thread pool") {
        "threads"
    } else if maps.contains("/[aio]") {
        "native"
    } else if asked == "io_uring" && files.iter().any(|file| file == "anon_inode:[io_uring]") {
        "io_uring"
    } else {
        "threads"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::launch::engines::abouts;

    fn drive(name: &str) -> Option<Drive> {
        Drive::of(&Environment::parse(name, &abouts()).unwrap().stack()[0])
    }

    fn arguments(name: &str) -> String {
        let words = drive(name).unwrap().arguments(Machine::Q35, Path::new("/data/a,b/disk"));
        words.iter().map(|(option, value)| format!("{option} {value}\n")).collect()
    }

    #[test]
    fn what_is_not_written_is_left_to_qemu() {
        insta::assert_snapshot!(arguments("qemu"), @r"
        -drive file=/data/a,,b/disk,format=qcow2,if=none,id=data
        -device virtio-blk-pci,id=adapter,drive=data
        ");
        insta::assert_snapshot!(arguments("qemu:disk=raw"), @r"
        -drive file=/data/a,,b/disk,format=raw,if=none,id=data
        -device virtio-blk-pci,id=adapter,drive=data
        ");
    }

    #[test]
    fn every_option_is_an_argument() {
        for mode in CACHE_MODES {
            let drive = format!("format=qcow2,if=none,id=data,cache={}", mode.name);
            assert!(arguments(&format!("qemu:cache={}", mode.name)).contains(&drive), "{}", mode.name);
        }
        insta::assert_snapshot!(arguments("qemu:aio=io_uring,bus=virtio-scsi"), @r"
        -drive file=/data/a,,b/disk,format=qcow2,if=none,id=data,aio=io_uring
        -device virtio-scsi-pci,id=adapter
        -device scsi-hd,drive=data
        ");
        insta::assert_snapshot!(arguments("qemu:bus=virtio-scsi,iothread,cache=directsync,aio=native"), @r"
        -object iothread,id=disk
        -drive file=/data/a,,b/disk,format=qcow2,if=none,id=data,cache=directsync,aio=native
        -device virtio-scsi-pci,id=adapter,iothread=disk
        -device scsi-hd,drive=data
        ");
    }

    #[test]
    fn tuned_is_a_raw_disk_past_the_hosts_cache_with_a_thread_of_its_own() {
        insta::assert_snapshot!(arguments("qemu:tuned"), @r"
        -object iothread,id=disk
        -drive file=/data/a,,b/disk,format=raw,if=none,id=data,cache=none,aio=native
        -device virtio-blk-pci,id=adapter,iothread=disk,drive=data
        ");
        assert!(arguments("qemu:tuned,aio=io_uring").contains("cache=none,aio=io_uring"));
    }

    #[test]
    fn what_qemu_or_a_guest_without_a_disk_would_refuse_is_no_name() {
        let refused = |name: &str| Environment::parse(name, &abouts()).unwrap_err().remove(0).message;
        assert_eq!(refused("qemu:aio=native"), "`aio=native` needs `cache=none` or `cache=directsync`");
        let without_disk = refused("qemu:disk=initramfs,iothread");
        assert_eq!(without_disk, "`iothread` needs `disk=qcow2` or `disk=raw`");
        assert_eq!(drive("qemu:disk=initramfs"), None);
    }

    #[test]
    fn every_cache_mode_that_a_name_may_hold_is_known() {
        let Values::OneOf(words) = CACHE.values else { panic!("no words") };
        assert_eq!(CACHE_MODES.iter().map(|mode| mode.name).collect::<Vec<_>>(), words);
    }

    #[test]
    fn what_qemu_made_is_said_in_the_words_in_which_it_was_asked() {
        let block = BlockSeen { format: "raw".into(), bytes: 1 << 30, writeback: true, direct: true, no_flush: false };
        let mut asked = drive("qemu:tuned").unwrap().asked(1 << 30);
        assert_eq!(asked.remove("disk_aio").as_deref(), Some("native"));
        assert_eq!(seen(&block, "virtio-blk-pci", "/objects/disk"), asked);
        let other = seen(&BlockSeen { direct: false, ..block }, "virtio-scsi-device", "");
        assert_eq!((other["disk_cache"].as_str(), other["disk_iothread"].as_str()), ("writeback", "none"));
        assert_eq!(other["disk_bus"], "virtio-scsi");
    }

    #[test]
    fn only_a_disk_that_ignores_flushes_is_volatile() {
        assert_eq!(drive("qemu:cache=unsafe").unwrap().labels(), ["volatile"]);
        assert_eq!(drive("qemu:tuned").unwrap().labels(), [""; 0]);
    }

    #[test]
    fn a_fall_back_to_threads_is_seen() {
        let rings = ["anon_inode:[io_uring]".to_owned()];
        assert_eq!(aio_seen("native", "7f0 rw-s 0 /[aio] (deleted)", &[], ""), "native");
        assert_eq!(aio_seen("native", "", &[], ""), "threads");
        assert_eq!(aio_seen("io_uring", "", &rings, ""), "io_uring");
        assert_eq!(aio_seen("threads", "", &rings, ""), "threads");
        let said = "Unable to use linux io_uring, falling back to thread pool: ENOMEM";
        assert_eq!(aio_seen("io_uring", "/[aio]", &rings, said), "threads");
    }
}
