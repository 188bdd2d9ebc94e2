//! A running virtual machine.
//!
//! ```text
//! sockets bound -> QEMU started in its pen -> QEMU connects to both -> agreed on QMP -> running <-> parked
//! tear-down: quit by QMP -> process ended -> pen removed -> files removed
//! ```
//!
//! We listen and QEMU connects, so there is no waiting for a socket to appear.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plimsoll_agent::wire::Wire;

use super::arguments::{Accelerator, Start, arguments};
use super::disk::Template;
use super::drive::{ADAPTER, DRIVE, Drive, aio_seen, seen};
use super::initramfs::DATA_FILESYSTEM;
use super::qmp::Qmp;
use super::{Files, Settled, disk, make_folder, undo};
use crate::clock;
use crate::launch::bundle::DATA_PATH;
use crate::launch::cage::AFFINITY_ONLY;
use crate::launch::cgroup::Pen;
use crate::launch::journal::Entry;
use crate::launch::process::{Running, Spec};
use crate::launch::{Diagnosis, LaunchOrder, Place, Vessel};
use crate::sample::{Cause, Failure};

/// How long QEMU may take from its start until it has connected; it takes about 0.1 s.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
/// How long between two looks whether QEMU still lives while it is waited for.
const LOOK_EVERY_MS: u16 = 20;
/// How long a QEMU that was told to quit may take.
const QUIT_TIME_MAX: Duration = Duration::from_secs(2);
/// How much of the console is quoted.
const CONSOLE_TAIL_BYTES: u64 = 2048;
/// What QEMU itself may use on top of the guest's memory: its devices, block caches and threads.
const OVERHEAD_BYTES: u64 = 256 << 20;
/// What the translator may use on top of that: its buffer for translated code has at most this size by default.
const TRANSLATOR_BYTES: u64 = 1 << 30;
/// What a guest gets on top when it holds further layers: its kernel's own, the agent outside of the inner container and
/// the files of its root in memory. An inner limit as large as the guest's memory could never be reached: the guest's
/// kernel would run out of memory first. Bytes.
pub const INNER_LAYERS_BYTES: u64 = 256 << 20;
/// What a guest keeps of its memory for its kernel and, as a tmpfs takes half of the memory only, for twice the files of
/// its root. Bytes.
const GUEST_OWN_BYTES: u64 = 128 << 20;
/// A guest's kernel describes its pages: 1.6 % of the memory, counted twice for what it keeps free of them.
const GUEST_OWN_SHARE: u64 = 32;
/// Most memory that a machine takes on top of its guest's, whoever executes it, bytes.
pub const MEMORY_OVERHEAD_BYTES_MAX: u64 = OVERHEAD_BYTES + TRANSLATOR_BYTES;
/// Longest path of a Unix socket, bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Most bytes of files that a guest holds which keeps its data in its memory: half of what it does not need itself.
#[must_use]
pub(crate) fn files_in_memory_bytes_max(memory_bytes: u64) -> u64 {
    memory_bytes.saturating_sub(GUEST_OWN_BYTES + memory_bytes / GUEST_OWN_SHARE) / 2
}

/// What was made on the host for one machine, undone in reverse order.
struct Made {
    place: Arc<Place>,
    entries: Vec<Entry>,
    pen: Option<Pen>,
    running: Option<Running>,
}

impl Made {
    /// Ends QEMU by force where it still lives, and removes everything. Safe to call twice.
    fn undo(&mut self) -> Result<(), Failure> {
        if let Some(running) = &mut self.running {
            running.end(QUIT_TIME_MAX)?;
        }
        if let Some(pen) = &mut self.pen {
            pen.remove()?;
        }
        undo(&self.place, &mut self.entries)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The journal still knows whatever could not be removed.
        let _ = self.undo();
    }
}

/// A machine whose agent's stream exists.
struct QemuVessel {
    wire: Wire,
    qmp: Qmp,
    made: Made,
    settled: Settled,
    start: Start,
    /// Words that the filesystem on the data disk adds.
    disk_labels: Vec<String>,
    /// The data disk as QEMU made it, and the filesystem on it.
    disk: BTreeMap<String, String>,
    argv: String,
    /// What the pen grants on top of the environment's limit, bytes.
    overhead: u64,
}

/// Starts a machine and returns as soon as QEMU has connected to us.
pub(super) fn launch(
    place: &Arc<Place>,
    settled: &Settled,
    files: &Files,
    order: &LaunchOrder,
) -> Result<impl Vessel + use<>, Failure> {
    let mut made = Made { place: Arc::clone(place), entries: Vec::new(), pen: None, running: None };
    let (scratch, data) = (place.scratch.join(&order.name), place.data.join(&order.name));
    for folder in [&scratch, &data] {
        made.entries.push(make_folder(place, folder)?);
    }
    let start = start(settled, files, &scratch, &data, order);
    if let (Some(template), Some((_, file))) = (&files.template, &start.disk) {
        disk::copy(&template.path, file)?;
    }
    let agent = listen(&start.agent_socket)?;
    let control = listen(&start.control_socket)?;
    let overhead = overhead_bytes(settled.accelerator) + (start.memory_bytes - order.limits.memory_bytes);
    made.pen = Pen::make(place, &order.name, &order.limits, overhead)?;
    let spec = spec(settled, &start, &scratch, order);
    let argv = format!("{} {}", spec.program.display(), spec.args.join(" "));
    let running = made.running.insert(Running::start(place, &spec, made.pen.as_ref())?);
    let wire = accept(&agent, running, place)?;
    let mut qmp = Qmp::greet(accept(&control, running, place)?)?;
    check_machine(&mut qmp, &start)?;
    let disk = files.template.as_ref().map(|template| disk_made(&mut qmp, template)).transpose()?.unwrap_or_default();
    let disk_labels = files.template.as_ref().map(|template| template.labels.clone()).unwrap_or_default();
    Ok(QemuVessel { wire, qmp, made, settled: settled.clone(), start, disk_labels, disk, argv, overhead })
}

/// What QEMU made of the data disk, and the filesystem on it.
fn disk_made(qmp: &mut Qmp, template: &Template) -> Result<BTreeMap<String, String>, Failure> {
    let block = qmp.block(DRIVE)?;
    let (adapter, thread) = (qmp.property(ADAPTER, "type")?, qmp.property(ADAPTER, "iothread")?);
    let mut facts = seen(&block, &adapter, &thread);
    facts.extend(template.filesystem.facts());
    Ok(facts)
}

/// QEMU must have made what it was asked for; it may fall back to its translator in silence.
fn check_machine(qmp: &mut Qmp, start: &Start) -> Result<(), Failure> {
    let (cpus, kvm) = (qmp.cpus()?, qmp.uses_kvm()?);
    let accelerator = if kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    if (cpus, accelerator) == (start.cpus, start.accelerator) {
        return Ok(());
    }
    Err(Failure::new(
        Cause::Mismatch,
        format!(
            "QEMU was asked for {} vCPUs under {} and made {cpus} under {}",
            start.cpus,
            start.accelerator.name(),
            accelerator.name()
        ),
    ))
}

fn overhead_bytes(accelerator: Accelerator) -> u64 {
    match accelerator {
        Accelerator::Kvm => OVERHEAD_BYTES,
        Accelerator::Tcg => MEMORY_OVERHEAD_BYTES_MAX,
    }
}

fn guest_memory_bytes(order: &LaunchOrder) -> u64 {
    order.limits.memory_bytes + if order.holds_layers { INNER_LAYERS_BYTES } else { 0 }
}

fn start(settled: &Settled, files: &Files, scratch: &Path, data: &Path, order: &LaunchOrder) -> Start {
    Start {
        machine: settled.machine,
        accelerator: settled.accelerator,
        cpus: order.limits.cpus.len().max(1),
        memory_bytes: guest_memory_bytes(order),
        kernel: files.kernel.clone(),
        initramfs: files.initramfs.clone(),
        disk: settled.drive.clone().map(|drive| {
            let file = data.join(format!("disk.{}", drive.format));
            (drive, file)
        }),
        agent_socket: scratch.join("agent"),
        control_socket: scratch.join("qmp"),
        console: scratch.join("console"),
    }
}

fn spec(settled: &Settled, start: &Start, scratch: &Path, order: &LaunchOrder) -> Spec {
    Spec {
        program: settled.program.clone(),
        argv0: None,
        args: arguments(start),
        env: vec![("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())],
        cwd: Some(scratch.to_owned()),
        affinity: Some(order.limits.cpus.clone()),
        wired: false,
        log: scratch.join("qemu.log"),
        outlives_parent: false,
    }
}

fn listen(path: &Path) -> Result<UnixListener, Failure> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        let path = path.display();
        return Err(Failure::launch(format!(
            "{path}: a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, this has {bytes}; choose a shorter TMPDIR"
        )));
    }
    UnixListener::bind(path).map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))
}

/// Waits for QEMU to connect; its end, the deadline and the user end the wait.
fn accept(listener: &UnixListener, running: &mut Running, place: &Place) -> Result<Wire, Failure> {
    let deadline = clock::now() + CONNECT_TIME_MAX;
    loop {
        let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PollTimeout::from(LOOK_EVERY_MS)).is_ok_and(|count| count > 0) {
            let (stream, _) = listener.accept()?;
            let copy: OwnedFd = stream.try_clone()?.into();
            return Ok(Wire::new(stream.into(), copy, place.interrupted)?);
        }
        if let Some(how) = running.ended() {
            let words = format!("QEMU ended before the guest started ({how}): {}", running.log_tail().trim());
            return Err(Failure::new(Cause::Launch, words));
        }
        if (place.interrupted)() {
            return Err(Failure::new(Cause::Interrupted, "interrupted"));
        }
        if clock::now() >= deadline {
            let seconds = CONNECT_TIME_MAX.as_secs();
            return Err(Failure::new(Cause::Timeout, format!("QEMU did not connect within {seconds} s")));
        }
    }
}

impl Vessel for QemuVessel {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn data_dir(&self) -> String {
        DATA_PATH.to_owned()
    }

    fn asked(&self) -> BTreeMap<String, String> {
        let mut asked = BTreeMap::from([
            // `tsc-early` is what `tsc` is called until the kernel has refined its frequency, a second after it started.
            ("clock_source".to_owned(), "tsc|tsc-early|kvm-clock|hpet".to_owned()),
            ("root_filesystem".to_owned(), "tmpfs".to_owned()),
        ]);
        let data = if self.settled.drive.is_some() { DATA_FILESYSTEM } else { "tmpfs" };
        asked.insert("data_filesystem".to_owned(), data.to_owned());
        let disk = self.settled.drive.as_ref().map(|drive| drive.asked(self.made.place.data_disk_bytes));
        asked.extend(disk.into_iter().flatten());
        if let Some(release) = &self.settled.kernel.release {
            asked.insert("kernel".to_owned(), release.clone());
        }
        asked
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = self.settled.details();
        facts.insert("version".to_owned(), self.qmp.version().to_owned());
        facts.insert("argv".to_owned(), self.argv.clone());
        let unpacked = self.start.kernel != self.settled.kernel.image;
        facts.insert("kernel_image".to_owned(), self.settled.kernel.image.display().to_string());
        facts.insert("kernel_unpacked_by".to_owned(), if unpacked { "the host" } else { "the guest" }.to_owned());
        facts.extend(self.disk.clone());
        let aio = self.settled.drive.as_ref().and_then(|drive| self.aio(drive));
        facts.extend(aio.map(|aio| ("disk_aio".to_owned(), aio.to_owned())));
        facts.insert("pen_memory_overhead_bytes".to_owned(), self.overhead.to_string());
        facts
    }

    fn labels(&self) -> Vec<String> {
        let mut labels = self.settled.labels();
        labels.extend(self.disk_labels.iter().cloned());
        if self.made.pen.is_none() {
            // The guest's memory is its limit anyway; QEMU's own is not limited then.
            labels.push(AFFINITY_ONLY.to_owned());
        }
        labels
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.made.pen.as_ref().and_then(Pen::cpu_time)
    }

    fn park(&mut self) -> Result<(), Failure> {
        self.qmp.stop()
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.qmp.cont()
    }

    fn diagnose(&mut self) -> Diagnosis {
        let console = console_tail(&self.start.console);
        let killed = self.made.pen.as_ref().is_some_and(|pen| pen.oom_kills() > 0);
        let mut words = Vec::new();
        if killed {
            words.push("the host's kernel killed QEMU for want of memory".to_owned());
        }
        words.push(self.state());
        if let Some(log) = self.made.running.as_ref().map(Running::log_tail).filter(|log| !log.trim().is_empty()) {
            words.push(format!("QEMU said: {}", log.trim()));
        }
        words.push(match console.trim() {
            "" => "the guest's console is empty".to_owned(),
            console => format!("the guest's console ends with: {console}"),
        });
        // The guest's own kernel may have run out of memory, too.
        Diagnosis { out_of_memory: killed || console.contains("Out of memory: Killed"), words: words.join("; ") }
    }

    fn tear_down(&mut self) -> Result<(), Failure> {
        if let Some(running) = &mut self.made.running
            && running.ended().is_none()
            && self.qmp.quit().is_ok()
        {
            // One that does not end in time is ended by force below.
            let _ = running.wait(QUIT_TIME_MAX);
        }
        self.made.undo()
    }
}

impl QemuVessel {
    /// How it asks the host for the data disk's blocks, by what its process holds.
    fn aio(&self, drive: &Drive) -> Option<&'static str> {
        let running = self.made.running.as_ref()?;
        let process = Path::new("/proc").join(running.pid().to_string());
        let maps = std::fs::read_to_string(process.join("maps")).unwrap_or_default();
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let files: Vec<String> = files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .map(|file| file.display().to_string())
            .collect();
        Some(aio_seen(drive.aio(), &maps, &files, &running.log_tail()))
    }

    /// What the process and its machine are doing, in words. One that has closed its connection is about to end.
    fn state(&mut self) -> String {
        let refused = match self.qmp.status() {
            Ok(status) => return format!("QEMU is alive and its machine is {status}"),
            Err(failure) => failure.message,
        };
        match self.made.running.as_mut().and_then(|running| running.wait(QUIT_TIME_MAX)) {
            Some(how) => format!("QEMU ended ({how})"),
            None => format!("QEMU is alive and does not answer ({refused})"),
        }
    }
}

/// The last of what the guest's kernel printed.
fn console_tail(path: &PathBuf) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(CONSOLE_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let printable = |character: &char| !character.is_control() || *character == '\n';
    String::from_utf8_lossy(&bytes).chars().filter(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Limits;

    #[test]
    fn a_guest_that_holds_layers_has_room_beside_their_limit() {
        let limits = Limits { cpus: vec![1], memory_bytes: 1 << 30 };
        let mut order = LaunchOrder { name: "plimsoll-x-1".to_owned(), limits, holds_layers: false };
        assert_eq!(guest_memory_bytes(&order), 1 << 30);
        order.holds_layers = true;
        assert_eq!(guest_memory_bytes(&order), (1 << 30) + (256 << 20));
    }
}
