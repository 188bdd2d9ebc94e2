//! What holds for every workload in the table, with each really prepared, measured and cleaned up at a small size.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_protocol::{Evidence, SliceOrder};

use super::*;
use crate::slice::run_slice;

const ROOM: Room =
    Room { cpus: 2, memory_bytes: 4 << 30, disk_bytes: 1 << 30, files_bytes_max: 768 << 20, cache_bytes: 32 << 20 };

/// One test at a time that forks, starts programs or catches signals: a process that another test forks would hold the
/// file of a program open for writing while it is started, and a signal has one handler.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For workloads that keep no files.
pub(super) fn scene() -> Scene<'static> {
    Scene { data_dir: Path::new("/nonexistent"), seed: 7 }
}

/// A directory on the disk that holds what was built: /tmp may be memory.
pub(super) fn folder() -> tempfile::TempDir {
    let built = std::env::current_exe().unwrap();
    tempfile::tempdir_in(built.parent().unwrap()).unwrap()
}

fn measured() -> impl Iterator<Item = &'static dyn Workload> {
    WORKLOADS.iter().copied().filter(|workload| workload.about().measured_by == MeasuredBy::Slices)
}

/// Every workload that is measured in slices, at each of its points.
fn points() -> impl Iterator<Item = (&'static dyn Workload, Parameters)> {
    measured().flat_map(|workload| workload.points(&ROOM).into_iter().map(move |point| (workload, point)))
}

/// The workload's own sizes at a point, made small.
fn small(workload: &dyn Workload, point: &Parameters) -> Parameters {
    const SMALL: [(&str, u64); 19] = [
        ("array_bytes", 1 << 20),
        ("input_bytes", 128 << 10),
        ("n", 150),
        ("file_bytes", 2 << 20),
        ("block_bytes", 16 << 10),
        ("calls", 500),
        ("commits", 4),
        ("table_bytes", 1 << 20),
        ("bytes", 4 << 20),
        ("round_trips", 50),
        ("region_bytes", 4 << 20),
        ("processes", 2),
        ("threads", 2),
        ("signals", 50),
        ("sleeps", 1),
        ("pairs", 50),
        ("lookups", 50),
        ("reads", 500),
        ("files", 20),
    ];
    let mut parameters = workload.size(&ROOM, point).unwrap();
    for (name, value) in SMALL {
        // What a point says stays, unless it is large.
        let said = parameters.integer(name, 0, u64::MAX).unwrap_or(0);
        if parameters.0.contains_key(name) && !(point.0.contains_key(name) && said < value) {
            parameters = parameters.with(name, value);
        }
    }
    parameters
}

/// `None`, with a printed reason, where that disk has no direct reads or this machine lacks what the point needs.
#[allow(clippy::print_stderr, reason = "a test that is skipped says why")]
fn prepared(workload: &dyn Workload, point: &Parameters, folder: &Path) -> Option<Box<dyn Prepared>> {
    let scene = Scene { data_dir: folder, seed: 7 };
    let name = workload.about().name;
    match workload.prepare(&small(workload, point), &scene) {
        Err(WorkloadError::Wrong(message)) if message.contains("refuses O_DIRECT") => {
            let required = std::env::var("PLIMSOLL_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "o_direct"), "{message}");
            eprintln!("skipped: {message}");
            None
        }
        Err(WorkloadError::Missing(message)) => {
            eprintln!("skipped: {name} at {point:?}: {message}");
            assert_eq!(folder.read_dir().unwrap().count(), 0, "{name} left something");
            None
        }
        Err(error) => panic!("{name} at {point:?}: {error}"),
        Ok(prepared) => Some(prepared),
    }
}

#[test]
fn every_workload_is_measured_verified_and_cleaned_up_at_every_point() {
    let _alone = alone();
    let order = SliceOrder { lead_in_ns: 2_000_000, slice_ns_min: 20_000_000 };
    for (workload, point) in points() {
        let about = workload.about();
        let folder = folder();
        let Some(mut prepared) = prepared(workload, &point, folder.path()) else { continue };
        let mut recorder = Recorder::new(about);
        for _ in 0..2 {
            let report = run_slice(prepared.as_mut(), &mut recorder, &order);
            let report = report.unwrap_or_else(|error| panic!("{} at {point:?}: {error}", about.name));
            match prepared.pace() {
                Pace::Time => assert!(report.seconds >= 0.020, "{}: {report:?}", about.name),
                Pace::Amount => assert_eq!(report.units, 1, "{}", about.name),
            }
            let per_unit = report.work / report.units as f64;
            assert!(per_unit >= 1.0 && per_unit.fract() == 0.0, "{}: {per_unit} per unit", about.name);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), usize::from(about.uses_disk), "{}", about.name);
        prepared.clean_up().unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{} left something", about.name);
        prepared.clean_up().unwrap();
    }
}

#[test]
fn a_workload_that_is_dropped_leaves_nothing_either() {
    let _alone = alone();
    for (workload, point) in points() {
        let folder = folder();
        drop(prepared(workload, &point, folder.path()));
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{} left something", workload.about().name);
    }
}

#[test]
fn direct_reads_are_recorded_each_and_stated_and_a_changed_block_is_found() {
    let folder = folder();
    let workload = find("disk.randread").unwrap();
    let Some(mut prepared) = prepared(workload, &Parameters::default(), folder.path()) else { return };
    let mut recorder = Recorder::new(workload.about());
    let order = SliceOrder { lead_in_ns: 0, slice_ns_min: 0 };
    let report = run_slice(prepared.as_mut(), &mut recorder, &order).unwrap();
    assert_eq!((report.work, recorder.histograms[0].1.len()), (256.0, 256));
    assert!(recorder.histograms[0].1.value_at_quantile(0.5) > 1000, "faster than any device");
    let asked = |name| report.evidence.iter().find(|row| row.name == name).map(|row| row.value);
    assert_eq!(asked(Evidence::DISK_ASKED_READ), Some(256.0 * f64::from(16 << 10)));
    assert_eq!(asked(Evidence::DISK_ASKED_WRITE), Some(0.0));

    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::write(file, vec![0; 2 << 20]).unwrap();
    let error = run_slice(prepared.as_mut(), &mut recorder, &order).unwrap_err();
    assert!(error.to_string().contains("holds page 0 of seed 0"), "{error}");
}

#[test]
fn names_are_unique_and_made_of_a_family_and_a_name() {
    let names: BTreeSet<_> = WORKLOADS.iter().map(|workload| workload.about().name).collect();
    assert_eq!(names.len(), WORKLOADS.len());
    for name in names {
        assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || ".-".contains(letter)), "{name}");
        assert_eq!(find(name).unwrap().about().name, name);
    }
    assert!(find("cpu").is_none());
    assert_eq!(families(), ["null", "cpu", "mem", "kernel", "disk", "start"]);
}

#[test]
fn every_workload_has_one_headline_and_known_units() {
    for about in WORKLOADS.iter().map(|workload| workload.about()) {
        assert_eq!(about.metrics.iter().filter(|metric| metric.headline).count(), 1, "{}", about.name);
        assert!(about.headline().is_some());
        let names: BTreeSet<_> = about.metrics.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), about.metrics.len(), "{}", about.name);
        for metric in about.metrics {
            let timed = !matches!(metric.kind, MetricKind::Rate);
            assert_eq!(metric.unit == "s", timed, "{} {}", about.name, metric.name);
            assert!(["s", "B/s", "1/s", "FLOP/s"].contains(&metric.unit), "{}", metric.unit);
        }
        assert!(about.warm_up.slices_min <= about.warm_up.slices_max, "{}", about.name);
    }
}

#[test]
fn what_has_an_end_is_never_used_up_before_it_is_measured() {
    let order = SliceOrder { lead_in_ns: 2_000_000, slice_ns_min: 20_000_000 };
    for (workload, point) in points() {
        let parameters = small(workload, &point);
        let Some(limit) = workload.slices_max(&parameters) else { continue };
        let about = workload.about();
        assert!(about.parameter(limit.parameter).is_some(), "{}", about.name);
        assert_eq!(about.warm_up.slices_max, 0, "{}", about.name);
        let folder = folder();
        let Some(mut prepared) = prepared(workload, &point, folder.path()) else { continue };
        for slice in 0..=limit.slices {
            let report = run_slice(prepared.as_mut(), &mut Recorder::new(about), &order);
            assert_eq!(report.is_ok(), slice < limit.slices, "{} at {point:?}: {slice}", about.name);
        }
    }
}

#[test]
fn sizes_name_exactly_the_declared_parameters_and_lie_within_their_ranges() {
    for workload in WORKLOADS {
        let about = workload.about();
        let points = workload.points(&ROOM);
        assert!(!points.is_empty(), "{}", about.name);
        for point in [Parameters::default()].iter().chain(&points) {
            let parameters = workload.size(&ROOM, point).unwrap();
            let declared: BTreeSet<_> = about.parameters.iter().map(|parameter| parameter.name).collect();
            assert_eq!(parameters.0.keys().map(String::as_str).collect::<BTreeSet<_>>(), declared, "{}", about.name);
            assert_eq!(check_parameters(about, &parameters), Vec::<String>::new());
            assert!(point.0.iter().all(|(name, value)| parameters.0.get(name) == Some(value)), "{point:?}");
        }
        assert_eq!(workload.size(&ROOM, &points[0]), workload.size(&ROOM, &Parameters::default()), "{}", about.name);
    }
}

#[test]
fn words_that_a_workload_does_not_know_are_errors_in_the_plan_and_in_the_agent() {
    for workload in measured() {
        let about = workload.about();
        for parameter in about.parameters.iter().filter(|parameter| parameter.range.is_none()) {
            let wrong = small(workload, &Parameters::default()).with(parameter.name, "unheard-of");
            let (planned, refused) = (workload.size(&ROOM, &wrong), workload.prepare(&wrong, &scene()));
            for error in [planned.unwrap_err(), refused.err().unwrap().to_string()] {
                assert!(error.contains("`unheard-of`") && error.contains("it can be"), "{}: {error}", about.name);
            }
        }
    }
}

#[test]
fn unknown_parameters_and_values_out_of_range_are_errors_in_the_plan_and_in_the_agent() {
    let folder = folder();
    let scene = Scene { data_dir: folder.path(), seed: 1 };
    for workload in measured() {
        let about = workload.about();
        let small = || small(workload, &Parameters::default());
        let mut wrong = vec![small().with("colour", 1)];
        for parameter in about.parameters {
            let Some((low, high)) = parameter.range else {
                wrong.push(small().with(parameter.name, 1));
                continue;
            };
            wrong.push(small().with(parameter.name, high + 1));
            wrong.push(small().with(parameter.name, "many"));
            if low > 0 {
                wrong.push(small().with(parameter.name, low - 1));
            }
        }
        for parameters in wrong {
            assert_eq!(check_parameters(about, &parameters).len(), 1, "{parameters:?}");
            assert!(workload.prepare(&parameters, &scene).is_err(), "{} with {parameters:?}", about.name);
        }
        if let Some(parameter) = about.parameters.first() {
            let mut parameters = small();
            parameters.0.remove(parameter.name);
            assert_eq!(check_parameters(about, &parameters), Vec::<String>::new(), "a plan need not set everything");
            let error = workload.prepare(&parameters, &scene).err().unwrap();
            assert!(matches!(error, WorkloadError::Parameter(ParameterError::Missing(_))), "{error}");
        }
    }
}

#[test]
fn all_wrong_parameters_are_told_at_once() {
    let about = find("cpu.lzma").unwrap().about();
    let wrong = check_parameters(about, &Parameters::default().with("threads", 0).with("speed", 1));
    let expected = [
        "`cpu.lzma` has no parameter `speed`; it has `input_bytes`, `threads`, `preset`",
        "parameter `threads` is 0, outside 1 to 4096",
    ];
    assert_eq!(wrong, expected);
}

#[test]
fn no_agent_prepares_what_the_host_measures() {
    let ready = find("start.ready").unwrap();
    let error = ready.prepare(&Parameters::default(), &Scene { data_dir: Path::new("."), seed: 1 }).err().unwrap();
    assert!(error.to_string().contains("measured by the host"), "{error}");
}

#[test]
fn the_kind_of_a_failure_follows_from_what_the_system_said() {
    use nix::errno::Errno;
    let cause = |errno| WorkloadError::system("x", errno).cause();
    assert_eq!(cause(Errno::ENOSPC), Cause::DiskFull);
    assert_eq!(cause(Errno::EDQUOT), Cause::DiskFull);
    assert_eq!(cause(Errno::ENOMEM), Cause::OutOfMemory);
    assert_eq!(cause(Errno::EIO), Cause::Workload);
    assert_eq!(WorkloadError::Wrong(String::new()).cause(), Cause::Workload);
}
