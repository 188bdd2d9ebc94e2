//! What the host tells a guest's init, as a file in the initramfs: both sides are the same executable.

use serde::{Deserialize, Serialize};

/// Where the manifest lies in the initramfs.
pub const MANIFEST_PATH: &str = "/plimsoll/guest.json";
/// Folder of the kernel modules in the initramfs.
pub const MODULES_PATH: &str = "/plimsoll/modules";

/// What the guest must do to become a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Kernel modules by path, in the order in which they are loaded.
    pub modules: Vec<String>,
    /// Name of the virtio-serial port to the host.
    pub port: String,
    /// The data disk; `None`: data lie on the root, in memory.
    pub data_disk: Option<DataDisk>,
    /// How the machine is left.
    pub leave: Leave,
}

/// A guest's data disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDisk {
    /// The block device.
    pub device: String,
    /// Type of the filesystem on it.
    pub filesystem: String,
}

/// How a guest ends its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// By its power switch.
    PowerOff,
    /// By a reset, where it has no power switch; its virtual machine monitor then ends.
    Restart,
}
