use std::fs::OpenOptions;
use std::path::PathBuf;

use plimsoll_protocol::SliceOrder;
use tempfile::TempDir;

use super::super::disk::PAGE_BYTES;
use super::super::layer_tree::Entry;
use super::super::tests::folder;
use super::*;
use crate::slice::run_slice;

const ROOM: Room =
    Room { cpus: 2, memory_bytes: 1 << 30, disk_bytes: 8 << 30, files_bytes_max: 768 << 20, cache_bytes: 0 };

fn point(operation: &str) -> Parameters {
    let written = Parameters::default().with("file_bytes", 8192).with("files", 3).with("rounds", 2).with("depth", 2);
    Layers.size(&ROOM, &written.with("operation", operation)).unwrap()
}

fn prepare(folder: &Path, parameters: &Parameters) -> Result<Box<dyn Prepared>, String> {
    Layers.prepare(parameters, &Scene { data_dir: folder, seed: 7 }).map_err(|error| error.to_string())
}

fn slice(prepared: &mut dyn Prepared) -> Result<f64, String> {
    let order = SliceOrder { lead_in_ns: 1, slice_ns_min: 0 };
    let report = run_slice(prepared, &mut Recorder::new(&ABOUT), &order);
    report.map(|report| report.work).map_err(|error| error.to_string())
}

/// A data directory as in a root of so many layers, which hold the tree of these points.
fn layered(points: &[Parameters], layers: u32) -> TempDir {
    let (folder, tree) = (folder(), Tree::of(&TreeOrder { points: points.to_vec(), seed: 7 }).unwrap());
    for entry in (0..layers).flat_map(|layer| tree.entries(layer, layers)) {
        match entry {
            Entry::Directory(path) => fs::create_dir_all(folder.path().join(path)).unwrap(),
            Entry::File { path, bytes } => fs::write(folder.path().join(path), bytes).unwrap(),
        }
    }
    folder
}

fn root(folder: &TempDir, parameters: &Parameters) -> PathBuf {
    folder.path().join(TOP).join(Branch::read(parameters).unwrap().name())
}

#[test]
fn each_slice_of_first_touches_takes_files_of_its_own_until_there_are_none() {
    for operation in ["open", "write"] {
        let (folder, parameters) = (folder(), point(operation));
        let mut visits = prepare(folder.path(), &parameters).unwrap();
        assert_eq!(visits.pace(), Pace::Amount);
        // Whatever a slice touches of another's set would be found changed, or not found.
        for set in ["0", "1"] {
            assert_eq!(slice(visits.as_mut()), Ok(3.0));
            fs::remove_dir_all(root(&folder, &parameters).join(set)).unwrap();
        }
        let error = slice(visits.as_mut()).unwrap_err();
        assert!(error.contains("for 2 slices") && error.contains("set larger `rounds`"), "{error}");
    }
}

#[test]
fn what_can_be_repeated_goes_by_time_and_has_no_end() {
    for operation in ["again", "missing"] {
        let (folder, parameters) = (folder(), point(operation));
        let mut visits = prepare(folder.path(), &parameters).unwrap();
        assert_eq!((visits.pace(), Layers.slices_max(&parameters)), (Pace::Time, None));
        for _ in 0..5 {
            assert_eq!(slice(visits.as_mut()).unwrap() % 3.0, 0.0);
        }
    }
    let limit = Some(SlicesMax { slices: 2, parameter: "rounds" });
    assert_eq!([Layers.slices_max(&point("open")), Layers.slices_max(&point("write"))], [limit, limit]);
}

#[test]
fn names_that_are_nowhere_are_never_the_same() {
    let (folder, parameters) = (folder(), point("missing"));
    let mut visits = prepare(folder.path(), &parameters).unwrap();
    // Preparing looked three up, so the next are the fourth to the sixth.
    fs::write(root(&folder, &parameters).join("0/2/missing-0000000000000002"), "").unwrap();
    visits.unit(&mut Recorder::default()).unwrap();
    fs::write(root(&folder, &parameters).join("0/2/missing-0000000000000007"), "").unwrap();
    let error = visits.unit(&mut Recorder::default()).unwrap_err().to_string();
    assert!(error.ends_with("missing-0000000000000007 is there"), "{error}");
}

#[test]
fn a_tree_that_came_with_the_root_is_used_and_stays() {
    let points = ["open", "write", "again", "missing"].map(point);
    for layers in [1, 3] {
        let folder = layered(&points, layers);
        for parameters in &points {
            let mut visits = prepare(folder.path(), parameters).unwrap();
            assert_eq!(slice(visits.as_mut()), Ok(3.0), "{parameters:?}");
            visits.clean_up().unwrap();
            drop(visits);
            assert!(root(&folder, parameters).join("0/2/file-0002").exists());
        }
        // Those that were touched are not fresh a second time; the others are as good as before.
        let refusals = points.each_ref().map(|parameters| prepare(folder.path(), parameters).err());
        let refused = |refusal: &Option<String>| refusal.as_ref().is_some_and(|it| it.contains("another launch"));
        assert_eq!(refusals.each_ref().map(refused), [true, true, false, false], "{refusals:?}");
        assert_eq!([refusals[2].as_ref(), refusals[3].as_ref()], [None, None]);
    }
}

#[test]
fn a_tree_of_which_nothing_was_touched_stays_fresh() {
    let folder = layered(&[point("open")], 2);
    for _ in 0..2 {
        drop(prepare(folder.path(), &point("open")).unwrap());
    }
}

#[test]
fn a_tree_that_does_not_fit_is_refused_and_not_mended() {
    let parameters = point("open");
    let refused = |spoil: &dyn Fn(&Path)| {
        let folder = layered(std::slice::from_ref(&parameters), 2);
        spoil(&root(&folder, &parameters));
        prepare(folder.path(), &parameters).err().unwrap()
    };
    assert!(refused(&|root| fs::remove_dir_all(root).unwrap()).contains("has no such branch"));
    assert!(refused(&|root| fs::remove_file(root.join("manifest")).unwrap()).contains("or none with a manifest"));
    assert!(refused(&|root| fs::write(root.join("manifest"), "of another seed").unwrap()).contains("of another seed"));
    assert!(refused(&|root| fs::remove_dir_all(root.join("1")).unwrap()).contains("`1` is not there"));
    assert!(refused(&|root| fs::write(root.join("stray"), "").unwrap()).contains("`stray` is there"));
}

#[test]
fn what_was_read_and_written_is_compared() {
    for (operation, spoiled, expected) in [
        ("open", 8192 + 5000, "page 3 holds other bytes"),
        ("again", 100, "page 0 holds other bytes"),
        ("write", 8192 + 5000, "page 3 holds other bytes"),
    ] {
        let (folder, parameters) = (folder(), point(operation));
        let mut visits = prepare(folder.path(), &parameters).unwrap();
        let file = root(&folder, &parameters).join("0/2").join(format!("file-000{}", spoiled / 8192));
        let mut bytes = fs::read(&file).unwrap();
        bytes[spoiled % 8192] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = slice(visits.as_mut()).unwrap_err();
        assert!(error.contains(expected), "{operation}: {error}");
    }
}

#[test]
fn a_write_that_was_lost_is_found() {
    let (folder, parameters) = (folder(), point("write"));
    let mut visits = prepare(folder.path(), &parameters).unwrap();
    let file = root(&folder, &parameters).join("0/2/file-0001");
    let before = fs::read(&file).unwrap();
    visits.unit(&mut Recorder::default()).unwrap();
    assert_ne!(fs::read(&file).unwrap()[..PAGE_BYTES], before[..PAGE_BYTES]);
    fs::write(&file, before).unwrap();
    let error = visits.verify().unwrap_err().to_string();
    assert!(error.contains("page 2 of seed 7, generation 1, holds page 2 of seed 7, generation 0"), "{error}");
}

#[test]
fn files_that_are_gone_or_too_short_are_errors_that_name_them() {
    let (folder, parameters) = (folder(), point("open"));
    let mut visits = prepare(folder.path(), &parameters).unwrap();
    let set = root(&folder, &parameters);
    fs::remove_file(set.join("0/2/file-0001")).unwrap();
    assert!(slice(visits.as_mut()).unwrap_err().contains("0/2/file-0001: No such file"));
    OpenOptions::new().write(true).open(set.join("1/2/file-0002")).unwrap().set_len(4096).unwrap();
    let error = slice(visits.as_mut()).unwrap_err();
    assert!(error.starts_with("reading ") && error.contains("1/2/file-0002"), "{error}");
}

#[test]
fn the_tree_of_all_points_is_small() {
    let points: Vec<_> = Layers.points(&ROOM).iter().map(|point| Layers.size(&ROOM, point).unwrap()).collect();
    let tree = Tree::of(&TreeOrder { points: points.to_vec(), seed: 1 }).unwrap();
    let files = tree.entries(0, 1).filter(|entry| matches!(entry, Entry::File { .. })).count();
    assert_eq!(tree.bytes(), points.iter().map(|point| Layers.files_bytes(point)).sum());
    assert!(files < 8000 && tree.bytes() < 64 << 20, "{files} files of {} bytes", tree.bytes());
}

#[test]
fn large_files_are_fewer_and_odd_sizes_are_refused_on_the_host_and_inside() {
    let files = |file_bytes: u64| {
        let sized = Layers.size(&ROOM, &Parameters::default().with("file_bytes", file_bytes)).unwrap();
        sized.integer("files", 1, 9999).unwrap()
    };
    assert_eq!([files(4096), files(1 << 20), files(32 << 20)], [128, 4, 1]);
    let odd = Parameters::default().with("file_bytes", 5000);
    assert!(Layers.size(&ROOM, &odd).unwrap_err().contains("not a multiple of 4096"));
    assert!(prepare(Path::new("/nonexistent"), &point("open").with("file_bytes", 5000)).is_err());
    let small = Room { disk_bytes: 1 << 20, ..ROOM };
    assert!(Layers.size(&small, &Parameters::default()).unwrap_err().contains("free disk"));
}
