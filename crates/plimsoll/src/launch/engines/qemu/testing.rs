//! What the tests of this engine need, or a printed reason why they are skipped.

use std::path::PathBuf;

use super::kernel::Kernel;
use crate::launch::process::find_program;
use crate::launch::testing::skip;

/// QEMU with its tools.
pub(super) fn qemu() -> Option<PathBuf> {
    for tool in ["qemu-img", "mkfs.ext4"] {
        if find_program(tool).is_none() {
            return missing(&format!("`{tool}` is not installed"));
        }
    }
    find_program("qemu-system-x86_64").or_else(|| missing("`qemu-system-x86_64` is not installed"))
}

/// A guest's kernel: cached, or fetched now where that is possible.
pub(super) fn kernel() -> Option<Kernel> {
    let kernel = crate::setup::kernel::fetched_kernel(|| false);
    kernel.map_or_else(|failure| missing(&failure.message), Some)
}

fn missing<T>(reason: &str) -> Option<T> {
    skip("qemu", reason);
    None
}
