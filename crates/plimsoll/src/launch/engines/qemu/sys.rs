//! The unsafe corner of the QEMU engine: one loop whose instructions must be exactly those that the trial guest runs.

#![expect(unsafe_code, reason = "only inline assembly says which instructions run")]

/// Counts down to 0: two instructions per iteration, on the CPU alone. `iterations` is at least 1.
pub(super) fn count_down(iterations: u32) {
    // SAFETY: the two instructions touch one register, declared below, and the flags, which are clobbered by default;
    // they use neither memory nor stack.
    unsafe {
        std::arch::asm!(
            "2:",
            "dec {count:e}",
            "jnz 2b",
            count = inout(reg) iterations.max(1) => _,
            options(nomem, nostack)
        );
    }
}
