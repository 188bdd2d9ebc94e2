//! The system calls that a container may not make, as data, in two forms: for OCI runtimes and for our own sandbox.
//!
//! It refuses what Docker's default profile refuses a container with the default capabilities, written as what is
//! refused rather than what is allowed. The kernel caches the answer per system call either way, so the form does not
//! show in what an allowed call costs; only calls with a condition on an argument (`clone`) run the filter each time, as
//! they do with Docker's.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use serde_json::{Value, json};

use crate::sample::Failure;

/// Refused with EPERM whatever their arguments.
const REFUSED: &[(&str, libc::c_long)] = &[
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("bpf", libc::SYS_bpf),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("clock_settime", libc::SYS_clock_settime),
    ("delete_module", libc::SYS_delete_module),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("finit_module", libc::SYS_finit_module),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("get_mempolicy", libc::SYS_get_mempolicy),
    ("init_module", libc::SYS_init_module),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kcmp", libc::SYS_kcmp),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("lookup_dcookie", libc::SYS_lookup_dcookie),
    ("mbind", libc::SYS_mbind),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("move_pages", libc::SYS_move_pages),
    ("nfsservctl", libc::SYS_nfsservctl),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pivot_root", libc::SYS_pivot_root),
    ("quotactl", libc::SYS_quotactl),
    ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key),
    ("set_mempolicy", libc::SYS_set_mempolicy),
    ("setdomainname", libc::SYS_setdomainname),
    ("sethostname", libc::SYS_sethostname),
    ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("vhangup", libc::SYS_vhangup),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", libc::SYS_ioperm),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl),
    #[cfg(target_arch = "x86_64")]
    ("sysfs", libc::SYS_sysfs),
    #[cfg(target_arch = "x86_64")]
    ("uselib", libc::SYS_uselib),
    #[cfg(target_arch = "x86_64")]
    ("ustat", libc::SYS_ustat),
];

/// Flags of `clone` that make namespaces: refused with EPERM.
const NAMESPACE_FLAGS: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The profile for `linux.seccomp` of an OCI configuration.
pub(crate) fn profile() -> Value {
    let names: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
    let mut rules = vec![json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM })];
    for flag in NAMESPACE_FLAGS {
        rules.push(json!({
            "names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM,
            "args": [{ "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ" }],
        }));
    }
    // A filter cannot see the flags of clone3 behind its pointer; without it the C library falls back to clone.
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

/// The same as programs for the kernel, one for each errno.
///
/// # Errors
/// When this architecture is not known to the compiler.
pub(crate) fn filters() -> Result<Vec<BpfProgram>, Failure> {
    let mut refused: Vec<(libc::c_long, Vec<SeccompRule>)> =
        REFUSED.iter().map(|(_, number)| (*number, Vec::new())).collect();
    let rules: Result<Vec<SeccompRule>, _> =
        NAMESPACE_FLAGS.iter().map(|flag| with_flag(flag.unsigned_abs())).collect();
    refused.push((libc::SYS_clone, rules.map_err(broken)?));
    Ok(vec![compile(refused, libc::EPERM)?, compile(vec![(libc::SYS_clone3, Vec::new())], libc::ENOSYS)?])
}

fn with_flag(flag: u32) -> Result<SeccompRule, seccompiler::BackendError> {
    let flag = u64::from(flag);
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
    SeccompRule::new(vec![condition])
}

fn compile(refused: Vec<(libc::c_long, Vec<SeccompRule>)>, errno: libc::c_int) -> Result<BpfProgram, Failure> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(broken)?;
    let action = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(refused.into_iter().collect(), SeccompAction::Allow, action, architecture);
    filter.and_then(BpfProgram::try_from).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::launch(format!("the system call filter cannot be built: {error}"))
}
