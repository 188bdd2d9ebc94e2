//! The virtio-serial port to the host. Its driver learns the port's name and that the host listens from messages, so
//! both may come a moment after the module is loaded.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, open as open_fd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::wait::until;
use crate::sample::Failure;

/// How long the port may take to appear and to be connected; it takes milliseconds.
const PORT_TIME_MAX: Duration = Duration::from_secs(20);
/// Where the kernel lists ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// Opens the port of this name, once the host is connected to it: a read before that would look like the end.
///
/// # Errors
/// When it does not appear or is not connected in time.
pub(super) fn open(name: &str) -> Result<OwnedFd, Failure> {
    let late = |what: &str| {
        let seconds = PORT_TIME_MAX.as_secs();
        Failure::launch(format!("no virtio-serial port `{name}` {what} within {seconds} s"))
    };
    let device = until(PORT_TIME_MAX, || named_port(Path::new(PORTS), name)).ok_or_else(|| late("appeared"))?;
    let path = Path::new("/dev").join(device);
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let port = open_fd(&path, flags, Mode::empty())
        .map_err(|error| Failure::from(std::io::Error::from(error)).while_doing(&path.display().to_string()))?;
    until(PORT_TIME_MAX, || is_connected(&port).then_some(())).ok_or_else(|| late("was connected"))?;
    Ok(port)
}

/// The device of the port with this name, such as `vport1p1`.
fn named_port(ports: &Path, name: &str) -> Option<String> {
    let mut entries = fs::read_dir(ports).ok()?.flatten();
    let found =
        entries.find(|entry| fs::read_to_string(entry.path().join("name")).is_ok_and(|text| text.trim() == name));
    found?.file_name().into_string().ok()
}

/// The driver reports a hang-up for as long as the host's end is closed.
fn is_connected(port: &OwnedFd) -> bool {
    let mut waits = [PollFd::new(port.as_fd(), PollFlags::POLLOUT)];
    poll(&mut waits, PollTimeout::ZERO).is_ok()
        && waits[0]
            .revents()
            .is_some_and(|found| found.contains(PollFlags::POLLOUT) && !found.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_name_alone() {
        let ports = tempfile::tempdir().unwrap();
        for (device, name) in [("vport0p1", "other\n"), ("vport0p2", "plimsoll\n")] {
            fs::create_dir(ports.path().join(device)).unwrap();
            fs::write(ports.path().join(device).join("name"), name).unwrap();
        }
        fs::create_dir(ports.path().join("vport0p3")).unwrap();
        assert_eq!(named_port(ports.path(), "plimsoll").as_deref(), Some("vport0p2"));
        assert_eq!(named_port(ports.path(), "third"), None);
        assert_eq!(named_port(&ports.path().join("none"), "plimsoll"), None);
    }
}
