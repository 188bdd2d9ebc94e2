//! What is written is read back; what was cut off is readable; what is no run file is refused.

use super::*;
use crate::sample::{Arm, Histogram, Phase, Profile, RunRecord, SliceRecord};

fn plan() -> PlanRecord {
    PlanRecord {
        environments: vec!["native".into(), "sandbox:net=none".into()],
        rungs: Vec::new(),
        unusable: Vec::new(),
        workloads: Vec::new(),
        groups: vec![vec![0, 1]],
        preset: Some("quick".into()),
        seed: u64::MAX,
        blocks: 5,
        slices: 3,
        slice_ns_min: 200_000_000,
        lead_in_ns: 20_000_000,
        precision: None,
        time_limit_seconds: None,
        margin: 0.01,
        cpus: vec![1],
        shared_cpu: false,
        memory_bytes: 1 << 30,
        steal_share_max: 0.02,
    }
}

fn record() -> RunRecord {
    let launch = LaunchRecord {
        id: 1,
        block: 1,
        group: 0,
        arm: Arm { environment: 1, replica: 1 },
        position: 2,
        requested_at: 0.5,
        ready_seconds: 0.012,
        profile: Profile { labels: vec!["emulated".into()], ..Profile::default() },
    };
    let slice = SliceRecord {
        id: 1,
        launch: 1,
        workload: "disk.randread".into(),
        point: Some("{\"threads\":4}".into()),
        phase: Phase::Measured,
        visit: 3,
        position: 1,
        started_at: 1.25,
        work: 4096.0,
        seconds_inside: 0.2,
        seconds_outside: 0.23,
        spoiled: Some("steal".into()),
    };
    let row = |name: &str| Evidence { source: "test".into(), name: name.into(), unit: "1".into(), value: 2.5 };
    RunRecord {
        run: RunInfo {
            id: "1a2b".into(),
            started: "2026-01-01T00:00:00Z".into(),
            plimsoll: "0.1.0".into(),
            stopped_because: Some(StopReason::Precision),
        },
        plan: plan(),
        host: [("cpu.model".to_owned(), "a CPU".to_owned())].into(),
        launches: vec![launch],
        slices: vec![SliceBundle {
            slice,
            histograms: vec![Histogram { name: "latency".into(), v2: vec![1, 2, 3] }],
            evidence_inside: vec![row("faults")],
            evidence_host: vec![row("steal")],
        }],
        mishaps: vec![MishapRecord {
            block: 1,
            arm: Some(Arm { environment: 0, replica: 2 }),
            workload: Some("cpu.lzma".into()),
            point: Some("{\"threads\":4}".into()),
            cause: Cause::OutOfMemory,
            message: "killed".into(),
            at: 2.0,
        }],
    }
}

fn events(record: &RunRecord) -> Vec<Event> {
    let mut events: Vec<Event> = record.launches.iter().cloned().map(Event::Launched).collect();
    events.extend(record.slices.iter().cloned().map(Event::Sliced));
    events.extend(record.mishaps.iter().cloned().map(Event::Mishap));
    events.push(Event::BlockFinished { block: 1 });
    events.extend(record.run.stopped_because.map(|reason| Event::Stopped { reason }));
    events
}

fn write(path: &Path, record: &RunRecord) -> Store {
    let mut store = Store::create(path, &record.run, &record.plan, &record.host).unwrap();
    for event in events(record) {
        store.hear(&event).unwrap();
    }
    store
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let record = record();
    drop(write(&path, &record));
    assert_eq!(load(&path).unwrap(), record);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "one file, and nothing beside it");
}

#[test]
fn a_file_can_be_read_while_it_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let mut killed = record();
    killed.run.stopped_because = None;
    let _still_open = write(&path, &killed);
    assert_eq!(load(&path).unwrap(), killed);
}

#[test]
fn a_run_file_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    drop(write(&path, &record()));
    let error = Store::create(&path, &record().run, &plan(), &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, StoreError::Exists(_)), "{error}");
}

#[test]
fn what_is_no_run_file_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.sqlite");
    assert!(load(&absent).unwrap_err().to_string().ends_with("there is no such file"));
    assert!(!absent.exists(), "looking for a file does not make it");
    let text = folder.path().join("text.sqlite");
    std::fs::write(&text, "not a database, but long enough to be looked at as one ".repeat(20)).unwrap();
    assert!(load(&text).unwrap_err().to_string().contains("not a database"));
    let newer = folder.path().join("newer.sqlite");
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(load(&newer).unwrap_err().to_string().contains("its schema is 99"));
}

#[test]
fn the_documented_schema_is_the_real_one() {
    let document = include_str!("../../../../docs/schema.md");
    for line in schema::TABLES.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(document.contains(line), "docs/schema.md lacks: {line}");
    }
    assert!(document.contains(&format!("user_version = {}", schema::SCHEMA_VERSION)));
}

#[test]
fn every_cause_and_reason_has_a_name_that_reads_back() {
    for name in ["launch", "timeout", "died", "out-of-memory", "disk-full", "workload", "protocol", "mismatch", "clock"]
    {
        assert_eq!(schema::cause(name).map(Cause::name), Some(name));
    }
    for name in ["blocks", "precision", "time", "interrupted", "failed"] {
        assert_eq!(schema::stop_reason(name).map(StopReason::name), Some(name));
    }
}

#[test]
fn rows_in_another_order_and_of_unknown_slices_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let mut record = record();
    for id in [2, 5, 6] {
        let mut bundle = record.slices[0].clone();
        bundle.slice.id = id;
        bundle.histograms[0].v2 = vec![id as u8];
        bundle.evidence_host[0].value = id as f64;
        bundle.evidence_inside.clear();
        record.slices.push(bundle);
    }
    drop(write(&path, &record));
    let backwards = "
        CREATE TEMP TABLE turned AS SELECT * FROM evidence ORDER BY scope_id DESC, rowid;
        DELETE FROM evidence;
        INSERT INTO evidence VALUES ('slice', 3, 'host', 'test', 'steal', '1', 1.0);
        INSERT INTO evidence SELECT * FROM turned;
        CREATE TEMP TABLE turned_histograms AS SELECT * FROM histograms ORDER BY slice DESC, rowid;
        DELETE FROM histograms;
        INSERT INTO histograms SELECT * FROM turned_histograms;";
    Connection::open(&path).unwrap().execute_batch(backwards).unwrap();
    assert_eq!(load(&path).unwrap(), record);
}
