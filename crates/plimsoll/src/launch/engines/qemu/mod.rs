//! Engine `qemu`: a virtual machine with the distribution's kernel, started afresh for every block.
//!
//! ```text
//! host                                            guest
//! arguments (data) -> QEMU --- virtio-serial ---> guest-init -> agent        kernel, modules, initramfs: once per run
//!                        `--- QMP: stop, cont, quit                          data disk, if any: copied for every launch
//! ```
//!
//! The machine has no network in this version. Who executes its instructions, the CPU or QEMU's translator, is tried
//! before anything else ([`accelerator`]), and everything translated is labelled `emulated`.

mod accelerator;
mod arguments;
mod disk;
mod drive;
mod initramfs;
pub mod kernel;
mod modules;
mod qmp;
mod superblock;
mod sys;
#[cfg(test)]
mod testing;
mod unpack;
mod vessel;
mod vmlinux;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::accelerator::verdict;
use self::arguments::{Accelerator, Machine};
use self::disk::Template;
use self::drive::Drive;
pub(crate) use self::drive::is_in_memory;
use self::kernel::{Kernel, REMEDY};
pub(crate) use self::vessel::files_in_memory_bytes_max;
pub use self::vessel::{INNER_LAYERS_BYTES, MEMORY_OVERHEAD_BYTES_MAX};
use crate::environment::{EngineAbout, Layer as LayerChoice, OptionAbout, Values};
use crate::launch::journal::{Entry, Resource};
use crate::launch::process::{find_program, run_tool, run_tool_for_its_output};
use crate::launch::{Engine, LaunchOrder, Layer, Place, Usability, Vessel};
use crate::sample::Failure;

/// QEMU's program; this version knows x86 machines only.
const PROGRAM: &str = "qemu-system-x86_64";
/// How long QEMU may take to say its version.
const VERSION_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may take to read one block.
const IO_URING_TIME_MAX: Duration = Duration::from_secs(2);

static ABOUT: EngineAbout = EngineAbout {
    name: "qemu",
    summary: "a QEMU virtual machine with a kernel of its own",
    needs: "qemu-system-x86_64, qemu-img, mkfs.ext4 and a guest kernel",
    virtual_machine: true,
    nests_in_guest: false,
    options: &[
        OptionAbout {
            key: "accel",
            values: Values::OneOf(&["auto", "tcg", "kvm"]),
            default: "auto",
            meaning: "who executes the guest: the CPU (kvm) or QEMU's translator (tcg); auto tries kvm first",
        },
        OptionAbout {
            key: "kernel",
            values: Values::Path,
            default: "",
            meaning: "the guest's kernel (bzImage); else the fetched one, else the host's",
        },
        drive::DISK,
        drive::CACHE,
        drive::AIO,
        drive::IOTHREAD,
        drive::BUS,
        OptionAbout {
            key: "machine",
            values: Values::OneOf(&["q35", "microvm"]),
            default: "q35",
            meaning: "the emulated machine; microvm under kvm only",
        },
        OptionAbout {
            key: "net",
            values: Values::OneOf(&["none"]),
            default: "none",
            meaning: "the guest's network; there is none in this version",
        },
        drive::TUNED,
    ],
    rules: drive::RULES,
};

/// The engine.
#[derive(Debug, Clone, Copy)]
pub struct Qemu;

impl Engine for Qemu {
    fn about(&self) -> &'static EngineAbout {
        &ABOUT
    }

    fn probe(&self, choice: &LayerChoice) -> Usability {
        match Settled::on_this_host(choice) {
            Ok(settled) => Usability::Usable { details: settled.details(), labels: settled.labels() },
            Err(Refusal { why, remedy }) => Usability::Unusable { why, remedy },
        }
    }

    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure> {
        let settled = Settled::on_this_host(choice).map_err(|refusal| Failure::launch(refusal.sentence()))?;
        Ok(Box::new(QemuLayer::open(place, settled)?))
    }
}

/// Why it cannot run here.
#[derive(Debug)]
struct Refusal {
    why: String,
    remedy: Option<String>,
}

impl Refusal {
    fn new(why: impl Into<String>, remedy: &str) -> Self {
        Self { why: why.into(), remedy: Some(remedy.to_owned()) }
    }

    fn sentence(self) -> String {
        match self.remedy {
            Some(remedy) => format!("{}; try `{remedy}`", self.why),
            None => self.why,
        }
    }
}

/// A choice with every question answered on this host.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    program: PathBuf,
    version: String,
    machine: Machine,
    accelerator: Accelerator,
    /// What the trial of KVM found; empty where none was needed.
    accelerator_detail: String,
    /// `None`: data lie in the guest's memory.
    drive: Option<Drive>,
    kernel: Kernel,
}

impl Settled {
    fn on_this_host(choice: &LayerChoice) -> Result<Self, Refusal> {
        if std::env::consts::ARCH != "x86_64" {
            return Err(Refusal {
                why: "this version starts virtual machines on x86-64 only".to_owned(),
                remedy: None,
            });
        }
        let program =
            find_program(PROGRAM).ok_or_else(|| Refusal::new(format!("{PROGRAM} is not installed"), REMEDY))?;
        if let Some(tool) = ["qemu-img", "mkfs.ext4"].into_iter().find(|tool| find_program(tool).is_none()) {
            return Err(Refusal::new(format!("{tool} is not installed"), REMEDY));
        }
        let named = choice.option("kernel");
        let remedy = if named.is_empty() { REMEDY } else { "qemu" };
        let kernel = kernel::find(named).map_err(|failure| Refusal::new(failure.message, remedy))?;
        let machine = if choice.option("machine") == "microvm" { Machine::Microvm } else { Machine::Q35 };
        let drive = Drive::of(choice);
        if drive.as_ref().is_some_and(|drive| drive.aio() == "io_uring") {
            try_io_uring(&kernel.image)?;
        }
        let (accelerator, accelerator_detail) = accelerate(choice.option("accel"), machine, &program)?;
        let version = version(&program)?;
        Ok(Self { program, version, machine, accelerator, accelerator_detail, drive, kernel })
    }

    fn details(&self) -> BTreeMap<String, String> {
        let kernel = self.kernel.release.clone().unwrap_or_else(|| self.kernel.image.display().to_string());
        let mut details = BTreeMap::from([
            ("version".to_owned(), self.version.clone()),
            ("accelerator".to_owned(), self.accelerator.name().to_owned()),
            ("machine".to_owned(), self.machine.name().to_owned()),
            ("kernel".to_owned(), kernel),
        ]);
        if !self.accelerator_detail.is_empty() {
            details.insert("accelerator_trial".to_owned(), self.accelerator_detail.clone());
        }
        details
    }

    fn labels(&self) -> Vec<String> {
        let emulated = (self.accelerator == Accelerator::Tcg).then(|| "emulated".to_owned());
        let disk = self.drive.as_ref().map_or_else(|| vec!["memory".to_owned()], Drive::labels);
        emulated.into_iter().chain(["net=none".to_owned()]).chain(disk).collect()
    }
}

/// Who executes the guest, and what the trial of KVM found.
fn accelerate(asked: &str, machine: Machine, program: &Path) -> Result<(Accelerator, String), Refusal> {
    let (accelerator, detail) = if asked == "tcg" {
        (Accelerator::Tcg, String::new())
    } else {
        let found = verdict(program);
        (found.accelerator, found.detail.clone())
    };
    match (accelerator, asked, machine) {
        (Accelerator::Tcg, "kvm", _) => Err(Refusal::new(detail, "qemu:accel=tcg")),
        (Accelerator::Tcg, _, Machine::Microvm) => {
            let why = "a microvm under tcg has no clock to calibrate its TSC by and hangs when its CPU is shared";
            let why = if detail.is_empty() { why.to_owned() } else { format!("{why} ({detail})") };
            Err(Refusal::new(why, "qemu:machine=q35"))
        }
        _ => Ok((accelerator, detail)),
    }
}

/// Reads a block of a file by io_uring with QEMU's own code: it may be built without, and a kernel may refuse it.
fn try_io_uring(file: &Path) -> Result<(), Refusal> {
    let file = file.display().to_string();
    let argv = ["qemu-img", "bench", "-f", "raw", "-i", "io_uring", "-c", "1", "-d", "1", "-s", "4096", &file];
    let refused = |said: &str| Refusal::new(format!("QEMU cannot use io_uring here: {said}"), "qemu:aio=threads");
    let tried = run_tool(&argv, IO_URING_TIME_MAX, crate::interrupt::requested);
    let output = tried.map_err(|failure| refused(&failure.message))?;
    // Where the kernel refuses it, some versions say so, go on with their threads and end well.
    if output.code == Some(0) && output.stderr.trim().is_empty() {
        return Ok(());
    }
    Err(refused(output.stderr.trim()))
}

/// `7.2.22` of "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".
fn version(program: &Path) -> Result<String, Refusal> {
    let argv = [&program.display().to_string(), "--version"].map(String::from);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let said = run_tool_for_its_output(&argv, VERSION_TIME_MAX, crate::interrupt::requested);
    let said = said.map_err(|failure| Refusal::new(failure.message, REMEDY))?;
    let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1);
    version.map(str::to_owned).ok_or_else(|| Refusal::new(format!("{PROGRAM} does not say its version"), REMEDY))
}

/// The engine opened in a place: what every launch shares.
struct QemuLayer {
    place: Arc<Place>,
    settled: Settled,
    files: Files,
    entries: Vec<Entry>,
}

/// The files that every launch starts from.
#[derive(Debug, Default)]
struct Files {
    /// A bzImage, or the ELF kernel out of it.
    kernel: PathBuf,
    initramfs: PathBuf,
    /// The data disk, if there is one; each launch has its own copy.
    template: Option<Template>,
}

impl QemuLayer {
    fn open(place: &Arc<Place>, settled: Settled) -> Result<Self, Failure> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-qemu-{}", place.run, OPENED.fetch_add(1, Ordering::Relaxed));
        let (scratch, data) = (place.scratch.join(&name), place.data.join(&name));
        let mut layer = Self { place: Arc::clone(place), settled, files: Files::default(), entries: Vec::new() };
        // What is made before a failure goes with the layer's drop.
        for folder in [&scratch, &data] {
            layer.entries.push(make_folder(place, folder)?);
        }
        let Settled { kernel, machine, accelerator, drive, .. } = &layer.settled;
        let template = |drive: &Drive| disk::make_template(&data, drive, place.data_disk_bytes, place.interrupted);
        layer.files = Files {
            kernel: kernel_to_start(kernel, *accelerator, &scratch)?,
            initramfs: scratch.join("initramfs"),
            template: drive.as_ref().map(template).transpose()?,
        };
        initramfs::write(&place.bundle, kernel, *machine, drive.as_ref(), &layer.files.initramfs)?;
        Ok(layer)
    }
}

impl Layer for QemuLayer {
    fn launch(&mut self, order: &LaunchOrder) -> Result<Box<dyn Vessel>, Failure> {
        let vessel = vessel::launch(&self.place, &self.settled, &self.files, order);
        Ok(Box::new(vessel.map_err(|failure| failure.while_doing(&order.name))?))
    }

    fn close(&mut self) -> Result<(), Failure> {
        undo(&self.place, &mut self.entries)
    }
}

impl Drop for QemuLayer {
    fn drop(&mut self) {
        // The journal still knows whatever could not be removed.
        let _ = self.close();
    }
}

/// The kernel's own image; for the translator the ELF kernel out of it, where there is one that QEMU can enter. Where
/// there is none the guest unpacks its kernel itself, which only takes longer.
fn kernel_to_start(kernel: &Kernel, accelerator: Accelerator, scratch: &Path) -> Result<PathBuf, Failure> {
    if accelerator == Accelerator::Kvm {
        return Ok(kernel.image.clone());
    }
    let named = |path: &Path, error: std::io::Error| Failure::from(error).while_doing(&path.display().to_string());
    let image = unpack::read(&kernel.image).map_err(|error| named(&kernel.image, error))?;
    let Ok(vmlinux) = vmlinux::unwrapped(&image) else { return Ok(kernel.image.clone()) };
    let path = scratch.join("vmlinux");
    std::fs::write(&path, vmlinux).map_err(|error| named(&path, error))?;
    Ok(path)
}

/// Makes a folder that the journal knows.
fn make_folder(place: &Place, path: &Path) -> Result<Entry, Failure> {
    let entry = place.journal.note(Resource::Directory { path: path.to_owned() })?;
    match std::fs::create_dir_all(path) {
        Ok(()) => Ok(entry),
        Err(error) => {
            place.journal.undo(entry)?;
            Err(Failure::from(error).while_doing(&path.display().to_string()))
        }
    }
}

/// Undoes entries in reverse order; what fails stays in the list.
fn undo(place: &Place, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    while let Some(entry) = entries.last() {
        place.journal.undo(*entry)?;
        entries.pop();
    }
    Ok(())
}
