//! The container of our own: libcontainer makes it, we install the system call filter and wait for its end.

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError, default};
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::BpfProgram;

use super::super::oci::filters;
use super::{Sandbox, namespaces};
use crate::sample::Failure;

/// Makes the container, starts it, and returns its exit status as a shell would.
pub(super) fn run(sandbox: &Sandbox) -> Result<i32, Failure> {
    if sandbox.own_network {
        namespaces::enter_network()?;
    }
    if sandbox.without_cgroups {
        show_empty_cgroups()?;
    }
    let filters = if sandbox.seccomp { filters()? } else { Vec::new() };
    std::fs::create_dir_all(&sandbox.state)?;
    let refused = |error: libcontainer::error::LibcontainerError| {
        Failure::launch(format!("the container cannot be made: {}", chain(&error)))
    };
    let builder = ContainerBuilder::new(sandbox.id.clone(), SyscallType::default())
        .with_executor(Filtered { filters })
        .with_root_path(&sandbox.state)
        .map_err(refused)?;
    let mut container = builder.as_init(&sandbox.bundle).with_systemd(false).build().map_err(refused)?;
    container.start().map_err(refused)?;
    let pid = container.pid().ok_or_else(|| Failure::launch("the container has no process"))?;
    wait_for(Pid::from_raw(pid.as_raw()))
}

fn wait_for(pid: Pid) -> Result<i32, Failure> {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                return Err(Failure::launch(format!("the container's process cannot be waited for: {error}")));
            }
        }
    }
}

/// The library puts every container into a cgroup. Where we may not write any, it finds an empty folder instead of the
/// host's: on a pure v2 host it then does nothing at all.
fn show_empty_cgroups() -> Result<(), Failure> {
    let host = std::fs::read_to_string("/proc/self/mountinfo")?;
    let nothing: Option<&str> = None;
    mount(Some("plimsoll"), "/sys/fs/cgroup", Some("tmpfs"), MsFlags::empty(), nothing)
        .map_err(|error| Failure::launch(format!("/sys/fs/cgroup cannot be covered: {error}")))?;
    // With v1 it writes its process into the folder of each controller, so each gets a plain file to write into.
    let mounts = host.lines().filter(|line| line.contains(" - cgroup ")).filter_map(|line| line.split(' ').nth(4));
    for folder in mounts.flat_map(|mount| [mount.to_owned(), format!("{mount}{EMPTY_CGROUP}")]) {
        std::fs::create_dir_all(&folder)?;
        for file in ["cgroup.procs", "cpuset.cpus", "cpuset.mems"] {
            std::fs::write(format!("{folder}/{file}"), "0")?;
        }
    }
    Ok(())
}

/// The cgroup path of a container that has none.
pub(crate) const EMPTY_CGROUP: &str = "/plimsoll";

/// Everything that an error says about its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !words.contains(&error.to_string()) {
            words = format!("{words}: {error}");
        }
        cause = error.source();
    }
    words
}

/// Runs the program behind the filter; the container ends with its keeper.
#[derive(Clone)]
struct Filtered {
    filters: Vec<BpfProgram>,
}

impl Executor for Filtered {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let refused = |error: String| ExecutorError::Other(error);
        set_pdeathsig(Signal::SIGKILL).map_err(|error| refused(format!("no parent-death signal: {error}")))?;
        for filter in &self.filters {
            seccompiler::apply_filter(filter).map_err(|error| refused(format!("no system call filter: {error}")))?;
        }
        default::get_executor().exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        default::get_executor().validate(spec)
    }
}
