//! The order of things, told by fakes: what is launched, parked, resumed, measured and shut down, and when.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use plimsoll_agent::workload::WarmUp;
use plimsoll_protocol::{Parameters, WorkloadOrder};

use super::*;
use crate::clock::RunClock;
use crate::sample::{Cause, Phase};

type Diary = Rc<RefCell<Vec<(Arm, String)>>>;

/// A run against fakes, described and then walked.
struct Rehearsal {
    design: Design,
    faults: BTreeMap<(Arm, &'static str), Cause>,
    stop_after: Option<u32>,
    mismatched: Option<Arm>,
    deaf_at: Option<&'static str>,
    /// Slices of an arm, counted over the run, that the host spoils.
    robbed: BTreeMap<Arm, BTreeSet<u32>>,
}

/// What happened.
struct Performance {
    diary: Vec<(Arm, String)>,
    events: Vec<Event>,
    ended: Result<StopReason, Failure>,
}

fn arm(environment: u32, replica: u32) -> Arm {
    Arm { environment, replica }
}

fn rehearsal(environments: u32) -> Rehearsal {
    let mut arms = vec![arm(0, 1), arm(0, 2)];
    arms.extend((1..environments).map(|environment| arm(environment, 1)));
    Rehearsal {
        design: Design {
            seed: 42,
            groups: vec![arms],
            workloads: vec![workload("cpu.lzma"), workload("mem.triad")],
            blocks: 3,
            slices: 4,
            lead_in: Duration::from_millis(20),
            slice_min: Duration::from_millis(200),
            warm_up_min: Duration::from_millis(50),
        },
        faults: BTreeMap::new(),
        stop_after: None,
        mismatched: None,
        deaf_at: None,
        robbed: BTreeMap::new(),
    }
}

fn workload(name: &str) -> WorkloadDesign {
    WorkloadDesign {
        order: WorkloadOrder { name: name.into(), parameters: Parameters::default(), data_dir: String::new(), seed: 1 },
        point: Some(format!("{{\"of\":\"{name}\"}}")),
        warm_up: WarmUp { slices_min: 2, slices_max: 3, tolerance: 0.1 },
    }
}

impl Rehearsal {
    fn fails(mut self, arm: Arm, at: &'static str, cause: Cause) -> Self {
        self.faults.insert((arm, at), cause);
        self
    }

    fn walk(self, interrupted: fn() -> bool) -> Performance {
        let diary = Diary::default();
        let mut launcher = FakeLauncher {
            diary: Rc::clone(&diary),
            faults: Rc::new(self.faults),
            mismatched: self.mismatched,
            robbed: Rc::new(self.robbed),
            taken: Rc::default(),
        };
        let mut listener = Recorder { events: Vec::new(), deaf_at: self.deaf_at };
        let mut stop = StopAfter(self.stop_after);
        let ended = walk(Walk {
            design: &self.design,
            launcher: &mut launcher,
            listeners: vec![&mut listener],
            stop: &mut stop,
            clock: RunClock::start(),
            interrupted,
        });
        let diary = diary.borrow().clone();
        Performance { diary, events: listener.events, ended }
    }

    fn perform(self) -> Performance {
        self.walk(|| false)
    }
}

struct FakeLauncher {
    diary: Diary,
    faults: Rc<BTreeMap<(Arm, &'static str), Cause>>,
    mismatched: Option<Arm>,
    robbed: Rc<BTreeMap<Arm, BTreeSet<u32>>>,
    taken: Rc<RefCell<BTreeMap<Arm, u32>>>,
}

impl Launcher for FakeLauncher {
    fn launch(&mut self, arm: &Arm, _launch: u64) -> Result<Launched, Failure> {
        let mut session = FakeSession {
            arm: arm.clone(),
            diary: Rc::clone(&self.diary),
            faults: Rc::clone(&self.faults),
            robbed: Rc::clone(&self.robbed),
            taken: Rc::clone(&self.taken),
        };
        session.act("launch")?;
        let mut profile = Profile::default();
        if self.mismatched.as_ref() == Some(arm) {
            profile.mismatches.push("asked for 1 CPU, got 2".into());
        }
        Ok(Launched { session: Box::new(session), ready_seconds: 0.01, profile })
    }
}

struct FakeSession {
    arm: Arm,
    diary: Diary,
    faults: Rc<BTreeMap<(Arm, &'static str), Cause>>,
    robbed: Rc<BTreeMap<Arm, BTreeSet<u32>>>,
    taken: Rc<RefCell<BTreeMap<Arm, u32>>>,
}

impl FakeSession {
    fn act(&mut self, what: &'static str) -> Result<(), Failure> {
        self.diary.borrow_mut().push((self.arm.clone(), what.to_owned()));
        match self.faults.get(&(self.arm.clone(), what)) {
            Some(cause) => Err(Failure::new(*cause, format!("{what} fails by script"))),
            None => Ok(()),
        }
    }
}

impl Session for FakeSession {
    fn prepare(&mut self, _order: &WorkloadOrder) -> Result<(), Failure> {
        self.act("prepare")
    }

    fn slice(&mut self, _lead_in: Duration, _slice_min: Duration) -> Result<Slice, Failure> {
        self.act("slice")?;
        let mut taken = self.taken.borrow_mut();
        let count = taken.entry(self.arm.clone()).or_default();
        *count += 1;
        let robbed = self.robbed.get(&self.arm).is_some_and(|robbed| robbed.contains(count));
        Ok(Slice {
            work: 10.0,
            seconds_inside: 0.2,
            seconds_outside: 0.23,
            histograms: Vec::new(),
            evidence_inside: Vec::new(),
            evidence_host: Vec::new(),
            spoiled: robbed.then(|| "stolen".to_owned()),
        })
    }

    fn clean_up(&mut self) -> Result<(), Failure> {
        self.act("clean up")
    }

    fn park(&mut self) -> Result<(), Failure> {
        self.act("park")
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.act("resume")
    }

    fn shut_down(&mut self) -> Result<(), Failure> {
        self.act("shut down")
    }
}

struct Recorder {
    events: Vec<Event>,
    deaf_at: Option<&'static str>,
}

impl Listener for Recorder {
    fn hear(&mut self, event: &Event) -> Result<(), Failure> {
        let name = format!("{event:?}");
        if self.deaf_at.is_some_and(|deaf_at| name.starts_with(deaf_at)) {
            return Err(Failure::new(Cause::DiskFull, "no room for the record"));
        }
        self.events.push(event.clone());
        Ok(())
    }
}

struct StopAfter(Option<u32>);

impl StopRule for StopAfter {
    fn after_block(&mut self, blocks_done: u32, _seconds: f64) -> Option<StopReason> {
        (self.0 == Some(blocks_done)).then_some(StopReason::Precision)
    }
}

impl Performance {
    /// Positions in the diary at which this arm did this.
    fn count(&self, arm: &Arm, what: &str) -> usize {
        self.diary.iter().filter(|(who, did)| who == arm && did == what).count()
    }

    fn slices(&self) -> Vec<&SliceBundle> {
        self.events
            .iter()
            .filter_map(|event| if let Event::Sliced(bundle) = event { Some(bundle) } else { None })
            .collect()
    }

    fn mishaps(&self) -> Vec<&MishapRecord> {
        self.events
            .iter()
            .filter_map(|event| if let Event::Mishap(mishap) = event { Some(mishap) } else { None })
            .collect()
    }

    fn launches(&self) -> Vec<&LaunchRecord> {
        self.events
            .iter()
            .filter_map(|event| if let Event::Launched(launch) = event { Some(launch) } else { None })
            .collect()
    }
}

#[test]
fn every_block_launches_every_environment_once_and_native_twice() {
    let performance = rehearsal(4).perform();
    for block in 1..=3 {
        let launched: Vec<&Arm> =
            performance.launches().iter().filter(|launch| launch.block == block).map(|launch| &launch.arm).collect();
        let distinct: BTreeSet<&Arm> = launched.iter().copied().collect();
        assert_eq!((launched.len(), distinct.len()), (5, 5));
        assert!(distinct.contains(&arm(0, 1)) && distinct.contains(&arm(0, 2)));
    }
}

#[test]
fn each_visit_measures_every_arm_once_in_an_order_of_its_own() {
    let performance = rehearsal(4).perform();
    let mut orders = BTreeSet::new();
    let launches: BTreeMap<u64, Arm> =
        performance.launches().iter().map(|launch| (launch.id, launch.arm.clone())).collect();
    let mut visits: BTreeMap<(u32, &str, u32), Vec<Arm>> = BTreeMap::new();
    let blocks: BTreeMap<u64, u32> = performance.launches().iter().map(|launch| (launch.id, launch.block)).collect();
    for bundle in performance.slices() {
        let slice = &bundle.slice;
        if slice.phase == Phase::Measured {
            let visit = visits.entry((blocks[&slice.launch], &slice.workload, slice.visit)).or_default();
            visit.push(launches[&slice.launch].clone());
        }
    }
    assert_eq!(visits.len(), 3 * 2 * 4);
    for order in visits.into_values() {
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 5);
        orders.insert(order);
    }
    assert!(orders.len() > 15, "24 visits in only {} different orders", orders.len());
}

#[test]
fn only_one_arm_is_ever_awake() {
    let performance = rehearsal(4).perform();
    let mut awake: BTreeSet<Arm> = BTreeSet::new();
    for (who, did) in &performance.diary {
        match did.as_str() {
            "launch" | "resume" => {
                assert!(awake.is_empty(), "{who:?} {did} while {awake:?} is awake");
                awake.insert(who.clone());
            }
            "park" => assert!(awake.remove(who)),
            "slice" | "prepare" | "clean up" => assert!(awake.contains(who)),
            _ => {}
        }
    }
}

#[test]
fn warm_up_slices_are_recorded_apart() {
    let performance = rehearsal(2).perform();
    let (warm, measured): (Vec<&SliceBundle>, Vec<&SliceBundle>) =
        performance.slices().into_iter().partition(|bundle| bundle.slice.phase == Phase::WarmUp);
    assert_eq!(warm.len(), 3 * 2 * 3 * 2, "3 blocks, 2 workloads, 3 arms, 2 slices until steady");
    assert_eq!(measured.len(), 3 * 2 * 3 * 4);
}

#[test]
fn an_arm_that_does_not_launch_is_a_mishap_and_the_others_go_on() {
    let performance = rehearsal(3).fails(arm(2, 1), "launch", Cause::Launch).perform();
    assert_eq!(performance.ended, Ok(StopReason::Blocks));
    assert_eq!(performance.mishaps().len(), 3);
    assert_eq!(performance.count(&arm(2, 1), "slice"), 0);
    assert_eq!(performance.count(&arm(1, 1), "slice"), 3 * 2 * (2 + 4));
}

#[test]
fn an_agent_that_dies_is_shut_down_once_and_sits_out_the_block() {
    let performance = rehearsal(3).fails(arm(1, 1), "slice", Cause::Died).perform();
    assert_eq!(performance.count(&arm(1, 1), "shut down"), 3);
    assert_eq!(performance.count(&arm(1, 1), "slice"), 3);
    let first = performance.mishaps()[0];
    assert_eq!((first.cause, first.arm.clone()), (Cause::Died, Some(arm(1, 1))));
    assert!(first.workload.is_some());
}

#[test]
fn a_workload_that_fails_costs_only_that_workload() {
    let performance = rehearsal(3).fails(arm(1, 1), "prepare", Cause::Workload).perform();
    assert_eq!(performance.mishaps().len(), 3 * 2, "each block, each workload");
    assert_eq!(performance.count(&arm(1, 1), "slice"), 0);
    assert_eq!(performance.count(&arm(1, 1), "prepare"), 3 * 2);
    assert_eq!(performance.count(&arm(1, 1), "shut down"), 3);
}

#[test]
fn what_was_asked_and_not_got_is_never_measured() {
    let mut rehearsal = rehearsal(3);
    rehearsal.mismatched = Some(arm(2, 1));
    let performance = rehearsal.perform();
    assert_eq!(performance.count(&arm(2, 1), "slice"), 0);
    assert_eq!(performance.count(&arm(2, 1), "shut down"), 3);
    assert!(performance.mishaps().iter().all(|mishap| mishap.cause == Cause::Mismatch));
    assert_eq!(performance.mishaps().len(), 3);
}

#[test]
fn every_launch_is_shut_down_whatever_happens() {
    let faults =
        [("slice", Cause::Died), ("park", Cause::Timeout), ("resume", Cause::Timeout), ("clean up", Cause::Workload)];
    for (at, cause) in faults {
        let performance = rehearsal(3).fails(arm(1, 1), at, cause).perform();
        for arm in [arm(0, 1), arm(0, 2), arm(1, 1), arm(2, 1)] {
            assert_eq!(performance.count(&arm, "launch"), performance.count(&arm, "shut down"), "{at}: {arm:?}");
        }
    }
}

#[test]
fn a_stop_rule_ends_the_run_after_a_whole_block() {
    let mut rehearsal = rehearsal(2);
    rehearsal.stop_after = Some(2);
    let performance = rehearsal.perform();
    assert_eq!(performance.ended, Ok(StopReason::Precision));
    assert_eq!(performance.count(&arm(1, 1), "launch"), 2);
    assert_eq!(performance.count(&arm(1, 1), "shut down"), 2);
    assert_eq!(performance.events.last(), Some(&Event::Stopped { reason: StopReason::Precision }));
}

#[test]
fn a_listener_that_cannot_record_stops_the_run_and_leaves_nothing_alive() {
    let mut rehearsal = rehearsal(3);
    rehearsal.deaf_at = Some("Sliced");
    let performance = rehearsal.perform();
    assert_eq!(performance.ended.unwrap_err().cause, Cause::DiskFull);
    let launched = performance.diary.iter().filter(|(_, did)| did == "launch").count();
    let shut_down = performance.diary.iter().filter(|(_, did)| did == "shut down").count();
    assert_eq!((launched, shut_down), (4, 4));
}

thread_local! {
    /// How often the loop may still ask whether it was interrupted before it is.
    static PATIENCE: Cell<u32> = const { Cell::new(0) };
}

fn out_of_patience() -> bool {
    PATIENCE.with(|patience| {
        let left = patience.get();
        patience.set(left.saturating_sub(1));
        left == 0
    })
}

#[test]
fn an_interrupted_run_records_no_mishap_and_leaves_nothing_alive() {
    for patience in 0..40 {
        PATIENCE.set(patience);
        let performance = rehearsal(2).fails(arm(1, 1), "slice", Cause::Interrupted).walk(out_of_patience);
        assert_eq!(performance.ended, Ok(StopReason::Interrupted), "after {patience} questions");
        assert_eq!(performance.events.last(), Some(&Event::Stopped { reason: StopReason::Interrupted }));
        assert!(performance.mishaps().iter().all(|mishap| mishap.cause != Cause::Died));
        for arm in [arm(0, 1), arm(0, 2), arm(1, 1)] {
            assert_eq!(performance.count(&arm, "launch"), performance.count(&arm, "shut down"), "{arm:?}");
        }
    }
}

#[test]
fn groups_each_have_their_own_two_natives() {
    let mut rehearsal = rehearsal(3);
    rehearsal.design.groups = vec![vec![arm(0, 1), arm(0, 2), arm(1, 1)], vec![arm(0, 1), arm(0, 2), arm(2, 1)]];
    let performance = rehearsal.perform();
    assert_eq!(performance.count(&arm(0, 1), "launch"), 3 * 2);
    assert_eq!(performance.count(&arm(2, 1), "launch"), 3);
    let groups: BTreeSet<(u32, u32)> =
        performance.launches().iter().map(|launch| (launch.block, launch.group)).collect();
    assert_eq!(groups.len(), 6);
}

/// One block, one workload: two warm-up slices, then the first two of four measured ones of arm 1 are spoiled.
#[test]
fn a_slice_that_the_host_spoiled_is_made_up_for_in_a_later_visit() {
    let mut rehearsal = rehearsal(3);
    (rehearsal.design.blocks, rehearsal.design.workloads) = (1, vec![workload("cpu.lzma")]);
    rehearsal.robbed.insert(arm(1, 1), [3, 4, 7].into());
    let performance = rehearsal.perform();
    let visits = |of: Arm| {
        let launch = performance.launches().iter().find(|launch| launch.arm == of).unwrap().id;
        let slices = performance.slices().into_iter().map(|bundle| &bundle.slice);
        let measured = slices.filter(|slice| slice.launch == launch && slice.phase == Phase::Measured);
        measured.map(|slice| (slice.visit, slice.spoiled.is_some())).collect::<Vec<_>>()
    };
    let undisturbed: Vec<_> = (0..7).map(|visit| (visit, false)).collect();
    assert_eq!(visits(arm(0, 1)), undisturbed, "what comes later comes later for all");
    assert_eq!(visits(arm(2, 1)), undisturbed);
    let made_up = [(0, true), (1, true), (2, false), (3, false), (4, true), (5, false), (6, false)];
    assert_eq!(visits(arm(1, 1)), made_up);
}

#[test]
fn a_host_that_spoils_everything_doubles_the_visits_and_no_more() {
    let mut rehearsal = rehearsal(2);
    (rehearsal.design.blocks, rehearsal.design.workloads) = (1, vec![workload("cpu.lzma")]);
    rehearsal.robbed.insert(arm(1, 1), (1..1000).collect());
    let performance = rehearsal.perform();
    assert_eq!(performance.count(&arm(1, 1), "slice"), 2 + 2 * 4);
    assert_eq!(performance.count(&arm(0, 1), "slice"), 2 + 2 * 4);
}

#[test]
fn an_arm_that_cannot_be_measured_is_not_waited_for() {
    let performance = rehearsal(2).fails(arm(1, 1), "slice", Cause::Workload).perform();
    assert_eq!(performance.count(&arm(0, 1), "slice"), 3 * 2 * (2 + 4));
}

#[test]
fn what_an_arm_lacked_twice_is_not_asked_for_again() {
    let performance = rehearsal(3).fails(arm(1, 1), "prepare", Cause::Missing).perform();
    assert_eq!(performance.count(&arm(1, 1), "prepare"), 4, "in two of three blocks, for each of two workloads");
    assert_eq!(performance.count(&arm(1, 1), "slice"), 0);
    assert_eq!(performance.count(&arm(1, 1), "launch"), 3, "the next workload may find what it needs");
    let said: Vec<_> =
        performance.mishaps().iter().map(|mishap| (mishap.block, mishap.point.clone().unwrap())).collect();
    assert_eq!(said.len(), 4);
    assert!(said.iter().all(|(block, point)| *block <= 2 && point.contains("of")), "{said:?}");
}
