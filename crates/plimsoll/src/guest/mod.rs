//! The inside of a virtual machine: PID 1 of a guest that becomes a place with an agent in it.
//!
//! ```text
//! kernel -> PID 1 on the initramfs: mounts, kernel modules, a tmpfs as root  --exec-->
//!           PID 1 on the tmpfs: cgroups, data disk, the port to the host, starts `plimsoll agent`, reaps
//!           agent ended, or anything failed -> power off
//! ```
//!
//! The initramfs itself cannot stay the root: pivot_root refuses it, and so does every container runtime; O_DIRECT too.
//! What fails is printed on the console, which the host keeps. Nothing here waits without a bound, except PID 1 for the
//! end of the agent.

pub mod manifest;
mod mounts;
pub mod nest;
mod port;
mod wait;

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, execv, getpid};

use self::manifest::{Leave, MANIFEST_PATH, Manifest};
use crate::launch::bundle::AGENT_PATH;
use crate::launch::raise_loopback;
use crate::sample::Failure;

/// First argument of the second half of init, after the root was switched.
const SWITCHED: &str = "switched";

/// Runs as PID 1 of a guest; `arguments` are those after `guest-init`. It never returns: the machine ends with it.
///
/// Anywhere else it says so and returns an exit code, having done nothing.
#[must_use]
pub fn guest_init(arguments: &[String]) -> i32 {
    if getpid() != Pid::from_raw(1) {
        say("this is the first process of a guest and does nothing elsewhere");
        return 2;
    }
    let ended = if arguments.first().is_some_and(|word| word == SWITCHED) { on_tmpfs() } else { on_initramfs() };
    let Err(failure) = ended;
    say(&failure.message);
    let leave = read_manifest().map_or(Leave::PowerOff, |manifest| manifest.leave);
    end_machine(leave)
}

/// A line for the console, which the host keeps.
fn say(text: &str) {
    // Where even the console fails, nobody is left to be told.
    let _ = std::io::stderr().write_all(format!("plimsoll guest: {text}\n").as_bytes());
}

fn on_initramfs() -> Result<Infallible, Failure> {
    mounts::mount_kernel_filesystems()?;
    let manifest = read_manifest()?;
    for module in &manifest.modules {
        load_module(module)?;
    }
    mounts::switch_root()?;
    let arguments = ["plimsoll", "guest-init", SWITCHED].map(c_string);
    Ok(execv(c_string(AGENT_PATH).as_c_str(), &arguments).map_err(std::io::Error::from)?)
}

fn on_tmpfs() -> Result<Infallible, Failure> {
    let manifest = read_manifest()?;
    mounts::mount_conveniences()?;
    mounts::mount_cgroups()?;
    raise_loopback().map_err(|error| Failure::from(error).while_doing("the loopback cannot be brought up"))?;
    mounts::provide_data(manifest.data_disk.as_ref())?;
    let port = port::open(&manifest.port)?;
    let agent = start_agent(&port)?;
    // The port must close with the agent, so that the host sees its end.
    drop(port);
    let ended = reap_until(agent);
    say(&format!("the agent ended: {ended}"));
    end_machine(manifest.leave)
}

fn read_manifest() -> Result<Manifest, Failure> {
    let text = fs::read(MANIFEST_PATH).map_err(|error| Failure::from(error).while_doing(MANIFEST_PATH))?;
    serde_json::from_slice(&text).map_err(|error| Failure::launch(format!("{MANIFEST_PATH}: {error}")))
}

fn load_module(path: &str) -> Result<(), Failure> {
    let named = |error: std::io::Error| Failure::from(error).while_doing(&format!("kernel module {path}"));
    let file = File::open(path).map_err(named)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        // Its file is of no more use; the memory is.
        Ok(()) | Err(Errno::EEXIST) => fs::remove_file(path).map_err(named),
        Err(error) => Err(named(error.into())),
    }
}

/// Starts the agent with the port as its standard input and output, as it would be started anywhere.
fn start_agent(port: &OwnedFd) -> Result<Pid, Failure> {
    let started = || -> nix::Result<Pid> {
        // PID 1 has ignored nothing, yet the agent must not inherit a mask either.
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
        attributes.set_sigmask(&SigSet::empty())?;
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(port.as_raw_fd(), 0)?;
        actions.add_dup2(port.as_raw_fd(), 1)?;
        let environment: [CString; 1] = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        let arguments: [&CStr; 2] = [c"plimsoll", c"agent"];
        posix_spawn(AGENT_PATH, &actions, &attributes, &arguments, &environment)
    };
    started().map_err(|error| {
        Failure::from(std::io::Error::from(error)).while_doing(&format!("starting {AGENT_PATH} agent"))
    })
}

/// Reaps whatever ends, until the agent does.
fn reap_until(agent: Pid) -> String {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == agent => return format!("exit status {code}"),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => return format!("signal {}", signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return format!("it cannot be waited for: {error}"),
        }
    }
}

/// Writes what is unwritten and ends the machine.
fn end_machine(leave: Leave) -> ! {
    nix::unistd::sync();
    let how = match leave {
        Leave::PowerOff => RebootMode::RB_POWER_OFF,
        Leave::Restart => RebootMode::RB_AUTOBOOT,
    };
    let Err(error) = reboot(how);
    say(&format!("the machine cannot be left: {error}"));
    // The kernel panics when PID 1 ends, and `panic=-1` makes that a reset at once.
    std::process::exit(1)
}

fn c_string(text: &str) -> CString {
    // Only constants of ours come here, and none holds a NUL.
    CString::new(text).unwrap_or_default()
}
