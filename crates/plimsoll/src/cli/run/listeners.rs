//! Those who listen to the rounds beside the store: a record in memory, for the stop rule and for the display.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::rc::Rc;

use plimsoll::analysis::progress::{Standing, standings};
use plimsoll::report::{self, Live, Progress, units};
use plimsoll::rounds::{Event, Listener};
use plimsoll::sample::{Failure, Phase, PlanRecord, RunInfo, RunRecord, SliceBundle};

/// The record of the run so far, shared by those who need it. Histograms and evidence stay in the run file.
#[derive(Clone)]
pub(super) struct SoFar(Rc<RefCell<RunRecord>>);

impl SoFar {
    pub(super) fn new(run: &RunInfo, plan: &PlanRecord) -> Self {
        let record = RunRecord {
            run: run.clone(),
            plan: plan.clone(),
            host: BTreeMap::new(),
            launches: Vec::new(),
            slices: Vec::new(),
            mishaps: Vec::new(),
        };
        Self(Rc::new(RefCell::new(record)))
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&RunRecord) -> T) -> T {
        look(&self.0.borrow())
    }
}

impl Listener for SoFar {
    fn hear(&mut self, event: &Event) -> Result<(), Failure> {
        let mut record = self.0.borrow_mut();
        match event {
            Event::Launched(launch) => record.launches.push(launch.clone()),
            Event::Sliced(bundle) if bundle.slice.phase == Phase::Measured => record.slices.push(SliceBundle {
                slice: bundle.slice.clone(),
                histograms: Vec::new(),
                evidence_inside: Vec::new(),
                evidence_host: Vec::new(),
            }),
            Event::Mishap(mishap) => record.mishaps.push(mishap.clone()),
            _ => {}
        }
        Ok(())
    }
}

impl report::Current for SoFar {
    fn lines(&mut self) -> Vec<String> {
        self.look(standings).iter().map(line).collect()
    }
}

fn line(standing: &Standing) -> String {
    let cost = units::cost_with_interval(standing.cost, standing.cost_ci95);
    format!("{:<16} {:<24} {cost}", standing.workload, standing.environment)
}

/// The display that fits where stderr goes.
pub(super) fn progress(plan: &PlanRecord, so_far: SoFar, estimate_seconds: f64, quiet: bool) -> Live {
    let stderr = std::io::stderr();
    let progress = match (quiet, stderr.is_terminal()) {
        (true, _) => Progress::Quiet,
        (_, true) => Progress::Terminal { width: super::super::report::width() },
        (_, false) => Progress::Lines,
    };
    Live::new(plan, Some(estimate_seconds), progress, Box::new(stderr), Box::new(so_far))
}
