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
    /// Block device with the data's filesystem.
    pub data_device: String,
    /// Type of that filesystem.
    pub data_filesystem: String,
    /// How the machine is left.
    pub leave: Leave,
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
