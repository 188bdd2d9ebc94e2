//! What the tests of this engine need, or a printed reason why they are skipped.

use std::path::PathBuf;

use super::kernel::{Kernel, cache, cached_kernels};
use crate::launch::process::{find_program, skip};

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
    let fetched = || crate::setup::kernel::fetched_kernel(|| false);
    let cached = cached_kernels(&cache()).into_iter().next();
    cached.map_or_else(|| fetched().map_or_else(|failure| missing(&failure.message), Some), Some)
}

fn missing<T>(reason: &str) -> Option<T> {
    skip("qemu", reason);
    None
}
