use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use plimsoll_protocol::SliceOrder;
use tempfile::TempDir;

use super::*;
use crate::slice::run_slice;
use crate::workload::tests::folder;

static ABOUT: About = about("disk.test", "for tests", "request", PER_REQUEST, OF_ONE_DIRECTION);
const IO: Io =
    Io { about: &ABOUT, random: true, read_percent: 50, block_bytes: 4096, counts_bytes: false, points: SMALL };
const ROOM: Room =
    Room { cpus: 2, memory_bytes: 1 << 30, disk_bytes: 8 << 30, files_bytes_max: 768 << 20, cache_bytes: 0 };

/// Buffered, since not every disk under a temporary folder has direct I/O.
fn plan(engine: &str) -> Parameters {
    Parameters::default().with("access", "buffered").with("engine", engine).with("file_bytes", 1 << 20)
}

/// Whether this machine permits it; a system call filter around the tests may not.
#[allow(clippy::print_stderr, reason = "a test that is skipped says why")]
fn permitted(engine: &str) -> bool {
    let folder = folder();
    let scene = Scene { data_dir: folder.path(), seed: 7 };
    match IO.prepare(&IO.size(&ROOM, &plan(engine)).unwrap(), &scene) {
        Err(WorkloadError::Missing(message)) => {
            assert!(message.contains("is not permitted here"), "{message}");
            eprintln!("skipped: {message}");
            false
        }
        prepared => {
            prepared.unwrap();
            true
        }
    }
}

fn requests(io: Io, written: &Parameters) -> (TempDir, Requests) {
    let folder = folder();
    let parameters = io.size(&ROOM, written).unwrap();
    let (sizes, content) = (io.sizes(&parameters).unwrap(), Content::new(7));
    let path = folder.path().join("file");
    let made = Made::by(path, |path| content.lay_out(path, sizes.file_bytes / PAGE_BYTES as u64)).unwrap();
    let requests = Requests::start(&io, made, &content, sizes, 7).unwrap();
    (folder, requests)
}

#[test]
fn every_engine_reads_and_writes_what_it_should_with_any_number_of_jobs() {
    let deep = ["aio", "io_uring"].into_iter().flat_map(|engine| [(engine, 1, 1), (engine, 16, 1), (engine, 3, 5)]);
    for (engine, depth, jobs) in deep.chain([("sync", 1, 1), ("sync", 1, 3)]) {
        if !permitted(engine) {
            continue;
        }
        for (random, read_percent) in [(true, 100), (true, 0), (true, 70), (false, 100), (false, 0)] {
            let io = Io { random, read_percent, ..IO };
            let (folder, mut requests) = requests(io, &plan(engine).with("depth", depth).with("jobs", jobs));
            let mut recorder = Recorder::with(&["latency"]);
            for _ in 0..20 {
                assert_eq!(requests.unit(&mut recorder).unwrap(), f64::from(requests.per_unit));
            }
            requests.verify().unwrap();
            let (done, counted) = (recorder.histograms[0].1.len(), 20 * u64::from(requests.per_unit));
            assert!(done >= counted && done <= counted + 10 * depth * jobs, "{engine}, {depth}, {jobs}: {done}");
            requests.unit(&mut recorder).unwrap();
            requests.clean_up().unwrap();
            assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        }
    }
}

#[test]
fn places_that_follow_each_other_cover_a_jobs_part_in_turn() {
    let io = Io { random: false, read_percent: 0, ..IO };
    let (_folder, mut requests) = requests(io, &plan("sync").with("file_bytes", 40 * 4096).with("jobs", 2));
    for _ in 0..5 {
        requests.unit(&mut Recorder::default()).unwrap();
    }
    requests.verify().unwrap();
    let file = File::open(requests.made.path()).unwrap();
    let generation = |page: u64| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, page * 4096 + 16).unwrap();
        u64::from_le_bytes(word)
    };
    for part in [0..20, 20..40] {
        let generations: Vec<u64> = part.map(generation).collect();
        let (least, most) = (generations.iter().min().unwrap(), generations.iter().max().unwrap());
        assert!(most - least <= 1, "{generations:?}");
        assert!(generations.is_sorted_by(|one, next| one >= next), "in order: {generations:?}");
    }
}

#[test]
fn a_write_that_was_lost_is_found() {
    let io = Io { read_percent: 0, random: false, ..IO };
    let (_folder, mut requests) = requests(io, &plan("aio").with("depth", 4));
    let before = std::fs::read(requests.made.path()).unwrap();
    requests.unit(&mut Recorder::default()).unwrap();
    let file = OpenOptions::new().write(true).open(requests.made.path()).unwrap();
    requests.team.all(Task::Drain).unwrap();
    file.write_all_at(&before, 0).unwrap();
    let error = requests.verify().unwrap_err().to_string();
    assert!(error.contains(", holds page") && error.ends_with("generation 0"), "{error}");
}

#[test]
fn a_read_of_something_else_is_found() {
    let (_folder, mut requests) = requests(Io { read_percent: 100, ..IO }, &plan("aio").with("depth", 4));
    let file = OpenOptions::new().write(true).open(requests.made.path()).unwrap();
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
    requests.unit(&mut Recorder::default()).unwrap();
    assert!(requests.verify().unwrap_err().to_string().contains("holds page 72340172838076673"));
}

#[test]
fn a_file_that_ends_too_early_ends_all_jobs() {
    for engine in ["aio", "io_uring", "sync"].into_iter().filter(|engine| permitted(engine)) {
        for (depth, jobs) in [(1, 1), (16, 3)] {
            let depth = if engine == "sync" { 1 } else { depth };
            let written = plan(engine).with("depth", depth).with("jobs", jobs);
            let (_folder, mut requests) = requests(Io { read_percent: 100, ..IO }, &written);
            // With several jobs only some of them meet the end.
            let left = if jobs == 1 { 100 } else { 1 << 19 };
            OpenOptions::new().write(true).open(requests.made.path()).unwrap().set_len(left).unwrap();
            let error = requests.unit(&mut Recorder::default()).unwrap_err().to_string();
            assert!(error.contains("reading 4096 bytes of") && error.contains("gave"), "{error}");
        }
    }
}

#[test]
fn a_refusal_is_named_after_o_direct_only_where_that_was_asked_for() {
    let full = std::path::Path::new("/data/x");
    let words = |errno: Errno, direct| job::refused(full, errno.into(), "reading", direct).to_string();
    assert!(words(Errno::EINVAL, true).contains("refuses O_DIRECT"));
    assert!(!words(Errno::EINVAL, false).contains("O_DIRECT") && !words(Errno::EIO, true).contains("O_DIRECT"));
}

#[test]
fn units_are_some_mib_and_many_times_what_is_under_way() {
    let requests = |block_bytes: u64, depth: u64, jobs: u64| {
        let written = Parameters::default().with("block_bytes", block_bytes).with("depth", depth).with("jobs", jobs);
        let written = written.with("file_bytes", 512 << 20);
        IO.sizes(&IO.size(&ROOM, &written).unwrap()).unwrap().requests()
    };
    assert_eq!([requests(4096, 1, 1), requests(4096, 16, 1), requests(4096, 16, 4)], [256, 1024, 4096]);
    assert_eq!([requests(1 << 20, 1, 1), requests(1 << 20, 16, 1), requests(64 << 20, 1, 1)], [16, 16, 1]);
}

#[test]
fn a_slice_by_amount_is_exactly_the_requests_that_the_plan_says() {
    let (_folder, mut by_amount) = requests(IO, &plan("sync").with("jobs", 2).with("requests", 300));
    let order = SliceOrder { lead_in_ns: 1, slice_ns_min: 5_000_000_000 };
    let report = run_slice(&mut by_amount, &mut Recorder::with(&["latency"]), &order).unwrap();
    assert_eq!((report.units, report.work), (1, 300.0));
    let (_folder, by_time) = requests(IO, &plan("sync"));
    assert_eq!((by_time.pace(), by_time.per_unit), (Pace::Time, 256));
}

#[test]
fn numbers_that_do_not_go_together_are_refused() {
    let refused = |written: Parameters| IO.size(&ROOM, &written).unwrap_err();
    assert!(refused(Parameters::default().with("block_bytes", 5000)).contains("not a multiple of 4096"));
    assert!(refused(Parameters::default().with("file_bytes", 8192).with("block_bytes", 65_536)).contains("65536"));
    let many = Parameters::default().with("file_bytes", 65_536).with("depth", 16);
    assert!(refused(many).contains("need a file of 69632 bytes"));
    assert!(refused(Parameters::default().with("engine", "sync").with("depth", 2)).contains("one request under way"));
    assert!(refused(Parameters::default().with("engine", "posix")).contains("it can be `aio` or `io_uring` or `sync`"));
    assert!(refused(Parameters::default().with("file_bytes", 1 << 30)).contains("up to 768 MiB"));
    let large = Parameters::default().with("block_bytes", 1 << 20).with("depth", 16);
    let error = IO.size(&Room { memory_bytes: 16 << 20, ..ROOM }, &large).unwrap_err();
    assert!(error.contains("need 32 MiB of it, and the limit is 16 MiB"), "{error}");
    let small = Room { disk_bytes: 40 << 20, ..ROOM };
    assert!(IO.size(&small, &Parameters::default()).unwrap_err().contains("64 MiB of free disk"));
}

#[test]
fn an_engine_that_is_not_permitted_is_missing_and_anything_else_is_a_failure() {
    for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EACCES, Errno::EAGAIN] {
        assert!(matches!(engine::not_to_be_had("io_uring", errno.into()), WorkloadError::Missing(_)), "{errno}");
    }
    let error = engine::not_to_be_had("io_uring", Errno::ENOMEM.into());
    assert_eq!(error.cause(), plimsoll_protocol::Cause::OutOfMemory);
    assert!(error.to_string().starts_with("setting up the I/O engine `io_uring`: "), "{error}");
}

#[test]
fn only_a_mixture_has_a_share_that_a_plan_may_change() {
    let written = Parameters::default().with("read_percent", 40);
    let size = |name: &str| crate::workload::find(name).unwrap().size(&ROOM, &written);
    assert!(size("disk.randread").unwrap_err().contains("has no parameter `read_percent`"));
    assert_eq!(size("disk.mixed").unwrap().integer("read_percent", 0, 100), Ok(40));
}
