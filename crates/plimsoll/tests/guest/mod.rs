//! A place of its own for every test, and a guest in it, driven by hand.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll::environment::Environment;
use plimsoll::launch::engines::qemu::kernel::Kernel;
use plimsoll::launch::place::{DATA_DISK_BYTES_MIN, Folders};
use plimsoll::launch::{LaunchOrder, Layer, Limits, Place, Usability, Vessel, engines};
use plimsoll::sample::Failure;
use plimsoll_agent::workload::{self, Room};
use plimsoll_protocol::{
    FrameError, Hello, NestOrder, Observation, Parameters, Reply, Request, SliceOrder, SliceReport, WorkloadOrder,
    read_frame, write_frame,
};

use crate::support;

/// How long an emulated guest may take to boot and answer on a busy machine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// What the places of these tests ask whether to stop.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether this host can run an environment's outermost layer.
pub(crate) fn probe(environment: &str) -> Usability {
    let environment = Environment::parse(environment, &engines::abouts()).unwrap();
    let outermost = &environment.stack()[0];
    engines::find(outermost.engine.name).unwrap().probe(outermost)
}

/// The kernel of guests here, fetched first where that is possible; `None` where QEMU cannot run.
fn kernel() -> Option<Kernel> {
    let fetched = plimsoll::setup::kernel::fetched_kernel(|| false);
    // Where fetching failed, the reason is what the engine says it lacks.
    if support::require("qemu") { fetched.ok() } else { None }
}

/// An opened layer in a place of its own. One at a time: emulated guests would only slow each other down.
pub(crate) struct Rig {
    folder: tempfile::TempDir,
    place: Arc<Place>,
    layer: Box<dyn Layer>,
    launches: u32,
    _alone: MutexGuard<'static, ()>,
}

impl Rig {
    pub(crate) fn new(environment: &str) -> Option<Self> {
        kernel()?;
        Some(Self::over(environment, alone(), tempfile::tempdir().unwrap()))
    }

    /// Guests with data disks of so many bytes.
    pub(crate) fn with_data_disk(environment: &str, bytes: u64) -> Option<Self> {
        kernel()?;
        Some(Self::on(environment, alone(), tempfile::tempdir().unwrap(), bytes))
    }

    /// A guest whose modules folder claims that the kernel has its disk driver built in, which it has not.
    pub(crate) fn without_data_disk_module() -> Option<Self> {
        let kernel = kernel()?;
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("vmlinuz");
        fs::copy(&kernel.image, &image).unwrap();
        let (from, to) = (kernel.modules.unwrap(), folder.path().join("modules"));
        copy_modules(&from.join("kernel"), &to.join("kernel"), &["virtio", "overlay"]);
        let mut built_in = fs::read_to_string(from.join("modules.builtin")).unwrap();
        built_in.push_str("kernel/drivers/block/virtio_blk.ko\n");
        fs::write(to.join("modules.builtin"), built_in).unwrap();
        Some(Self::over(&named(&image), alone(), folder))
    }

    /// A kernel image whose first instruction jumps to itself.
    pub(crate) fn with_a_kernel_that_hangs() -> Option<Self> {
        kernel()?;
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("vmlinuz");
        let mut bytes = vec![0; 1 << 20];
        bytes[0x1f1] = 1;
        bytes[0x200..0x206].copy_from_slice(b"\xeb\xfeHdrS");
        bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        bytes[0x211] = 1;
        bytes[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        fs::write(&image, bytes).unwrap();
        Some(Self::over(&named(&image), alone(), folder))
    }

    fn over(environment: &str, alone: MutexGuard<'static, ()>, folder: tempfile::TempDir) -> Self {
        Self::on(environment, alone, folder, DATA_DISK_BYTES_MIN)
    }

    fn on(environment: &str, alone: MutexGuard<'static, ()>, folder: tempfile::TempDir, data_disk_bytes: u64) -> Self {
        static RIGS: AtomicU32 = AtomicU32::new(0);
        let run = format!("plimsoll-{:05x}{:02x}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
        let inside = |name: &str| folder.path().join(name);
        let folders = Folders { journals: inside("journals"), scratch_in: inside(""), data_in: inside("") };
        let executable = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
        let place = Place::open(&run, &folders, executable, || STOP.load(Ordering::Relaxed)).unwrap();
        let place = Arc::new(Place { data_disk_bytes, ..place });
        let layer = open(&place, environment).unwrap();
        Self { folder, place, layer, launches: 0, _alone: alone }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn open_another(&self, environment: &str) -> Result<(), Failure> {
        open(&self.place, environment).map(drop)
    }

    /// A launch during which the user asks to stop.
    pub(crate) fn launch_interrupted(&mut self, memory_bytes: u64) -> Failure {
        STOP.store(true, Ordering::Relaxed);
        let order = self.order(memory_bytes);
        let launched = self.layer.launch(&order);
        STOP.store(false, Ordering::Relaxed);
        launched.err().unwrap()
    }

    pub(crate) fn launch(&mut self, memory_bytes: u64) -> Guest {
        let order = self.order(memory_bytes);
        let vessel = self.layer.launch(&order).unwrap();
        Guest { vessel, name: order.name, memory_bytes }
    }

    fn order(&mut self, memory_bytes: u64) -> LaunchOrder {
        self.launches += 1;
        let name = format!("{}-{}", self.place.run, self.launches);
        LaunchOrder { name, limits: Limits { cpus: vec![0], memory_bytes }, holds_layers: false }
    }

    /// Closes the layer; nothing may be left anywhere.
    pub(crate) fn finish(mut self) {
        self.layer.close().unwrap();
        self.layer.close().unwrap();
        let files = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        assert_eq!(files(&self.place.scratch), [self.place.executable().unwrap()], "more than the executable is left");
        assert!(files(&self.place.data).is_empty(), "{:?} stayed behind", files(&self.place.data));
        assert_eq!(self.place.journal.left().len(), 2, "more than the place itself is noted");
        assert!(processes_naming(&self.place.run).is_empty(), "processes stayed behind");
        self.place.close().unwrap();
    }
}

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn named(image: &Path) -> String {
    format!("qemu:kernel=\"{}\"", image.display())
}

fn open(place: &Arc<Place>, environment: &str) -> Result<Box<dyn Layer>, Failure> {
    let environment = Environment::parse(environment, &engines::abouts()).unwrap();
    let outermost = &environment.stack()[0];
    engines::find(outermost.engine.name).unwrap().open(place, outermost)
}

/// Copies the module files whose names begin with one of these words, at the same places.
fn copy_modules(from: &Path, to: &Path, words: &[&str]) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_modules(&entry.path(), &to.join(&name), words);
        } else if words.iter().any(|word| name.starts_with(word)) {
            fs::create_dir_all(to).unwrap();
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// Processes with this word in their command line.
fn processes_naming(word: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    })
    .collect()
}

/// A file that an emulated guest makes in a moment.
pub(crate) fn small_file() -> Parameters {
    let written = Parameters::default().with("file_bytes", 16_u64 << 20);
    let (memory_bytes, disk_bytes) = (1 << 30, 1 << 30);
    let room = Room { cpus: 1, memory_bytes, disk_bytes, files_bytes_max: disk_bytes, cache_bytes: 0 };
    workload::find("disk.randread").unwrap().size(&room, &written).unwrap()
}

/// Whether an answer was waited for in vain.
pub(crate) fn is_timeout(error: &FrameError) -> bool {
    matches!(error, FrameError::Stream(error) if error.kind() == ErrorKind::TimedOut)
}

/// A running guest and what is said to its agent.
pub(crate) struct Guest {
    pub(crate) vessel: Box<dyn Vessel>,
    name: String,
    memory_bytes: u64,
}

impl Guest {
    pub(crate) fn send(&mut self, request: &Request) {
        self.vessel.wire().allow(Some(ANSWER_TIME_MAX));
        write_frame(self.vessel.wire(), request).unwrap();
    }

    pub(crate) fn try_receive(&mut self) -> Result<Reply, FrameError> {
        self.vessel.wire().allow(Some(ANSWER_TIME_MAX));
        read_frame(self.vessel.wire())
    }

    pub(crate) fn receive(&mut self) -> Reply {
        match self.try_receive() {
            Ok(reply) => reply,
            Err(error) => panic!("{error}; {}", self.vessel.diagnose().words),
        }
    }

    pub(crate) fn ask_within(&mut self, request: &Request, time: Duration) -> Result<Reply, FrameError> {
        self.vessel.wire().allow(Some(time));
        write_frame(self.vessel.wire(), request)?;
        read_frame(self.vessel.wire())
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, FrameError> {
        self.ask_within(request, ANSWER_TIME_MAX)
    }

    fn asked(&mut self, request: &Request) -> Reply {
        match self.ask(request) {
            Ok(reply) => reply,
            Err(error) => panic!("{error}; {}", self.vessel.diagnose().words),
        }
    }

    pub(crate) fn hello(&mut self) -> Hello {
        match self.asked(&Request::Hello) {
            Reply::Hello(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn observe(&mut self) -> Observation {
        let data_dir = self.vessel.data_dir();
        self.observe_at(&data_dir)
    }

    pub(crate) fn observe_at(&mut self, data_dir: &str) -> Observation {
        match self.asked(&Request::Observe { data_dir: data_dir.to_owned() }) {
            Reply::Observation(observation) => *observation,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn prepare(&mut self, workload: &str, parameters: Parameters) {
        let data_dir = self.vessel.data_dir();
        self.prepare_at(workload, parameters, &data_dir);
    }

    pub(crate) fn prepare_at(&mut self, workload: &str, parameters: Parameters, data_dir: &str) {
        let (name, data_dir) = (workload.to_owned(), data_dir.to_owned());
        let reply = self.asked(&Request::Prepare(WorkloadOrder { name, parameters, data_dir, seed: 1 }));
        assert_eq!(reply, Reply::Prepared);
    }

    pub(crate) fn slice(&mut self) -> SliceReport {
        match self.asked(&Request::Slice(SliceOrder { lead_in_ns: 0, slice_ns_min: 50_000_000 })) {
            Reply::Slice(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Starts a layer inside; returns where its agent keeps data.
    pub(crate) fn nest(&mut self, stack: &str) -> String {
        let order = NestOrder {
            stack: stack.to_owned(),
            launch: self.name.clone(),
            cpus: vec![0],
            memory_bytes: self.memory_bytes,
            tree: None,
        };
        match self.asked(&Request::Nest(order)) {
            Reply::Nested { data_dir, .. } => data_dir,
            other => panic!("{other:?}; {}", self.vessel.diagnose().words),
        }
    }

    /// Whether the agent says anything in this time; what it says is lost.
    pub(crate) fn has_answer_within(&mut self, time: Duration) -> bool {
        self.vessel.wire().allow(Some(time));
        match self.vessel.wire().read_exact(&mut [0]) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                false
            }
        }
    }

    /// Kills QEMU from outside.
    pub(crate) fn kill(&mut self) {
        let pids = processes_naming(&format!("/{}/", self.name));
        assert_eq!(pids.len(), 1, "{pids:?}");
        kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    }

    /// Tears it down, twice.
    pub(crate) fn finish(mut self) {
        self.vessel.tear_down().unwrap();
        self.vessel.tear_down().unwrap();
        assert!(processes_naming(&format!("/{}/", self.name)).is_empty(), "QEMU stayed behind");
    }
}
