//! The loop that walks the schedule and emits events.
//!
//! ```text
//! walk -> Block -> Group (the arms that are alive together) -> workload -> warm-up, visits
//! ```
//! A failure of one arm costs that arm the workload (its agent lives on) or the rest of the block (it does not); the
//! others go on. Only a listener that cannot record ends the run as failed. Whatever happens, every session that was
//! opened is shut down.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_agent::workload::WarmUp;
use plimsoll_protocol::WorkloadOrder;

use super::schedule::Schedule;
use super::warm_up::{Warmth, warmth};
use super::{Event, Launcher, Listener, Session, Slice, StopRule};
use crate::clock::RunClock;
use crate::sample::{Arm, Cause, Failure, LaunchRecord, MishapRecord, Phase, SliceBundle, SliceRecord, StopReason};

/// What the loop needs to know of a plan.
#[derive(Debug, Clone)]
pub struct Design {
    /// Seed of every order.
    pub seed: u64,
    /// Arms that are alive together; every group has its own two natives.
    pub groups: Vec<Vec<Arm>>,
    /// Workloads that are measured in slices.
    pub workloads: Vec<WorkloadDesign>,
    /// Blocks at most.
    pub blocks: u32,
    /// Measured slices per launch and workload.
    pub slices: u32,
    /// Untimed lead-in of every slice.
    pub lead_in: Duration,
    /// Shortest slice.
    pub slice_min: Duration,
    /// Shortest warm-up slice; it has no lead-in, being one itself.
    pub warm_up_min: Duration,
}

/// A workload of the design.
#[derive(Debug, Clone)]
pub struct WorkloadDesign {
    /// What the agent is asked for.
    pub order: WorkloadOrder,
    /// Its point in a sweep, as JSON.
    pub point: Option<String>,
    /// When it is warm.
    pub warm_up: WarmUp,
}

/// Those whom the loop talks to.
pub struct Walk<'a> {
    /// The design that is walked.
    pub design: &'a Design,
    /// Starts arms.
    pub launcher: &'a mut dyn Launcher,
    /// Hear every event, in this order.
    pub listeners: Vec<&'a mut dyn Listener>,
    /// Decides after every block.
    pub stop: &'a mut dyn StopRule,
    /// Started with the run.
    pub clock: RunClock,
    /// Whether the user asked to stop.
    pub interrupted: fn() -> bool,
}

/// After so many launches that lacked what a workload needs, an arm is not asked again: one launch may have lacked only
/// free memory.
const LACKS_MAX: u32 = 2;

/// Most visits of a workload for so many planned slices: as many again make up for those that the host disturbs.
#[must_use]
pub fn visits_max(slices: u32) -> u32 {
    2 * slices
}

/// How far the loop goes on after a step.
type Step<T> = Result<T, End>;

/// Why the loop ends at once.
enum End {
    Interrupted,
    Recording(Failure),
}

/// Walks the whole design. The reason is also the last event.
///
/// # Errors
/// The failure of a listener that could not record; everything is shut down by then.
pub fn walk(walk: Walk<'_>) -> Result<StopReason, Failure> {
    let design = walk.design;
    let schedule = Schedule::new(design.seed, design.groups.clone(), design.workloads.len());
    let mut walker = Walker { walk, schedule, live: BTreeMap::new(), launches: 0, slices: 0, lacks: BTreeMap::new() };
    let ended = walker.blocks();
    walker.shut_everything_down();
    let reason = match ended {
        Ok(reason) => reason,
        Err(End::Interrupted) => StopReason::Interrupted,
        Err(End::Recording(failure)) => {
            // Perhaps a last line still fits; the failure itself is what the caller hears.
            let _ = walker.emit(&Event::Stopped { reason: StopReason::Failed });
            return Err(failure);
        }
    };
    match walker.emit(&Event::Stopped { reason }) {
        Err(End::Recording(failure)) => Err(failure),
        _ => Ok(reason),
    }
}

struct Walker<'a> {
    walk: Walk<'a>,
    schedule: Schedule,
    live: BTreeMap<Arm, Live>,
    launches: u64,
    slices: u64,
    /// How often an arm said that it lacks what a workload needs; it is not asked for ever.
    lacks: BTreeMap<(Arm, usize), u32>,
}

struct Live {
    launch: u64,
    session: Box<dyn Session>,
    /// Whether the workload now visiting is ready in it.
    ready: bool,
}

/// Where in the schedule the loop stands.
#[derive(Clone, Copy)]
struct Spot {
    block: u32,
    group: u32,
}

/// A slice that was measured.
struct Taken {
    /// Seconds per unit of work.
    time: f64,
    /// Whether the host disturbed it.
    spoiled: bool,
}

impl Walker<'_> {
    fn blocks(&mut self) -> Step<StopReason> {
        for block in 1..=self.walk.design.blocks {
            self.emit(&Event::BlockStarted { block })?;
            let groups: Vec<u32> = self.schedule.groups(block).into_iter().map(|(group, _)| group).collect();
            for group in groups {
                self.group(Spot { block, group })?;
            }
            self.emit(&Event::BlockFinished { block })?;
            if let Some(reason) = self.walk.stop.after_block(block, self.walk.clock.seconds()) {
                return Ok(reason);
            }
        }
        Ok(StopReason::Blocks)
    }

    fn group(&mut self, spot: Spot) -> Step<()> {
        for (position, arm) in (0..).zip(self.schedule.launches(spot.block, spot.group)) {
            self.launch(spot, position, &arm)?;
        }
        for workload in self.schedule.workloads(spot.block, spot.group) {
            self.workload(spot, workload)?;
        }
        self.shut_down_block(spot)
    }

    fn launch(&mut self, spot: Spot, position: u32, arm: &Arm) -> Step<()> {
        self.go_on()?;
        self.emit(&Event::Launching { arm: arm.clone() })?;
        self.launches += 1;
        let (id, requested_at) = (self.launches, self.walk.clock.seconds());
        let launched = match self.walk.launcher.launch(arm, id) {
            Ok(launched) => launched,
            Err(failure) => return self.mishap(spot, Some(arm), None, failure),
        };
        let mismatches = launched.profile.mismatches.clone();
        let mut live = Live { launch: id, session: launched.session, ready: false };
        let parked = live.session.park();
        self.live.insert(arm.clone(), live);
        self.emit(&Event::Launched(LaunchRecord {
            id,
            block: spot.block,
            group: spot.group,
            arm: arm.clone(),
            position,
            requested_at,
            ready_seconds: launched.ready_seconds,
            profile: launched.profile,
        }))?;
        if let Err(failure) = parked {
            return self.lose(spot, arm, None, failure);
        }
        if mismatches.is_empty() {
            return Ok(());
        }
        self.lose(spot, arm, None, Failure::new(Cause::Mismatch, mismatches.join("; ")))
    }

    fn workload(&mut self, spot: Spot, workload: usize) -> Step<()> {
        let name = self.walk.design.workloads[workload].order.name.clone();
        self.emit(&Event::WorkloadStarted { workload: name })?;
        for arm in self.schedule.visit(spot.block, spot.group, workload, u32::MAX) {
            self.warm_up(spot, workload, &arm)?;
        }
        self.visits(spot, workload)?;
        for arm in self.schedule.visit(spot.block, spot.group, workload, u32::MAX) {
            self.attended(spot, workload, &arm, |_, session| session.clean_up())?;
        }
        Ok(())
    }

    /// Prepares the workload in one arm and runs warm-up slices until its rule is satisfied; then the arm is parked.
    fn warm_up(&mut self, spot: Spot, workload: usize, arm: &Arm) -> Step<()> {
        let lacks_it = self.lacks.get(&(arm.clone(), workload)).is_some_and(|times| *times >= LACKS_MAX);
        if let Some(live) = self.live.get_mut(arm) {
            live.ready = !lacks_it;
        }
        let design = self.walk.design.workloads[workload].clone();
        self.attended(spot, workload, arm, |_, session| session.prepare(&design.order))?;
        let mut times = Vec::new();
        while warmth(&design.warm_up, &times) == Warmth::More && self.is_ready(arm) {
            let visit = times.len() as u32;
            if let Some(taken) = self.slice(spot, workload, arm, Phase::WarmUp, visit, 0)? {
                times.push(taken.time);
            }
        }
        Ok(())
    }

    /// The planned visits, and then as many more as it takes until the host has left every arm its slices undisturbed: at
    /// most as many again. Every arm takes part in all of them, so that what comes later comes later for all. The rule
    /// looks at the host's counters and never at a result.
    fn visits(&mut self, spot: Spot, workload: usize) -> Step<()> {
        let planned = self.walk.design.slices;
        let mut undisturbed: BTreeMap<Arm, u32> = BTreeMap::new();
        for visit in 0..visits_max(planned) {
            for (position, arm) in (0..).zip(self.schedule.visit(spot.block, spot.group, workload, visit)) {
                let taken = self.slice(spot, workload, &arm, Phase::Measured, visit, position)?;
                let count = undisturbed.entry(arm).or_default();
                // Who cannot be measured is not waited for.
                *count += taken.map_or(planned, |taken| u32::from(!taken.spoiled));
            }
            if undisturbed.values().all(|count| *count >= planned) {
                break;
            }
        }
        Ok(())
    }

    /// One slice of one arm while all others are parked; `None` if it was not measured.
    fn slice(
        &mut self,
        spot: Spot,
        workload: usize,
        arm: &Arm,
        phase: Phase,
        visit: u32,
        position: u32,
    ) -> Step<Option<Taken>> {
        let design = self.walk.design;
        let (lead_in, slice_min) = match phase {
            Phase::WarmUp => (Duration::ZERO, design.warm_up_min),
            Phase::Measured => (design.lead_in, design.slice_min),
        };
        let started_at = self.walk.clock.seconds();
        let measured =
            self.attended(spot, workload, arm, |launch, session| Ok((launch, session.slice(lead_in, slice_min)?)))?;
        let Some((launch, slice)) = measured else { return Ok(None) };
        self.slices += 1;
        let taken = Taken { time: slice.seconds_inside / slice.work, spoiled: slice.spoiled.is_some() };
        let record = SliceRecord {
            id: self.slices,
            launch,
            workload: design.workloads[workload].order.name.clone(),
            point: design.workloads[workload].point.clone(),
            phase,
            visit,
            position,
            started_at,
            work: slice.work,
            seconds_inside: slice.seconds_inside,
            seconds_outside: slice.seconds_outside,
            spoiled: slice.spoiled.clone(),
        };
        self.emit(&Event::Sliced(bundle(record, slice)))?;
        Ok(Some(taken))
    }

    /// Resumes an arm in which the workload is ready, does something with it, and parks it again. `None` where it is not
    /// ready or where it failed, which is by then recorded.
    fn attended<T>(
        &mut self,
        spot: Spot,
        workload: usize,
        arm: &Arm,
        act: impl FnOnce(u64, &mut dyn Session) -> Result<T, Failure>,
    ) -> Step<Option<T>> {
        self.go_on()?;
        let Some(live) = self.live.get_mut(arm).filter(|live| live.ready) else { return Ok(None) };
        let (launch, session) = (live.launch, live.session.as_mut());
        let resumed = session.resume();
        let acted = resumed.and_then(|()| act(launch, session));
        let parked =
            if acted.as_ref().is_err_and(|failure| ends_the_agent(failure.cause)) { Ok(()) } else { session.park() };
        match (acted, parked) {
            (Ok(value), Ok(())) => Ok(Some(value)),
            (Err(failure), Ok(())) if !ends_the_agent(failure.cause) => {
                self.leave_out(spot, workload, arm, failure)?;
                Ok(None)
            }
            (Err(failure), _) | (Ok(_), Err(failure)) => {
                self.lose(spot, arm, Some(workload), failure)?;
                Ok(None)
            }
        }
    }

    fn is_ready(&self, arm: &Arm) -> bool {
        self.live.get(arm).is_some_and(|live| live.ready)
    }

    /// The arm sits out the workload; its agent lives on.
    fn leave_out(&mut self, spot: Spot, workload: usize, arm: &Arm, failure: Failure) -> Step<()> {
        if failure.cause == Cause::Missing {
            *self.lacks.entry((arm.clone(), workload)).or_default() += 1;
        }
        if let Some(live) = self.live.get_mut(arm) {
            live.ready = false;
        }
        self.mishap(spot, Some(arm), Some(workload), failure)
    }

    /// The arm is gone for the rest of the block.
    fn lose(&mut self, spot: Spot, arm: &Arm, workload: Option<usize>, failure: Failure) -> Step<()> {
        let shut_down = self.live.remove(arm).map_or(Ok(()), |mut live| live.session.shut_down());
        self.mishap(spot, Some(arm), workload, failure)?;
        match shut_down {
            Ok(()) => Ok(()),
            Err(failure) => self.mishap(spot, Some(arm), None, failure),
        }
    }

    fn shut_down_block(&mut self, spot: Spot) -> Step<()> {
        let arms: Vec<Arm> = self.live.keys().cloned().collect();
        for arm in arms {
            let Some(mut live) = self.live.remove(&arm) else { continue };
            if let Err(failure) = live.session.shut_down() {
                self.mishap(spot, Some(&arm), None, Failure::new(Cause::TearDown, failure.message))?;
            }
        }
        Ok(())
    }

    /// What is left when the run ends early; a failure here is still in the journal.
    fn shut_everything_down(&mut self) {
        for (_, mut live) in std::mem::take(&mut self.live) {
            let _ = live.session.shut_down();
        }
    }

    fn go_on(&self) -> Step<()> {
        if (self.walk.interrupted)() { Err(End::Interrupted) } else { Ok(()) }
    }

    /// Records a failure, unless the user stopped the run: what fails then failed because of that.
    fn mishap(&mut self, spot: Spot, arm: Option<&Arm>, workload: Option<usize>, failure: Failure) -> Step<()> {
        self.go_on()?;
        let workload = workload.map(|workload| &self.walk.design.workloads[workload]);
        let at = self.walk.clock.seconds();
        self.emit(&Event::Mishap(MishapRecord {
            block: spot.block,
            arm: arm.cloned(),
            workload: workload.map(|workload| workload.order.name.clone()),
            point: workload.and_then(|workload| workload.point.clone()),
            cause: failure.cause,
            message: failure.message,
            at,
        }))
    }

    fn emit(&mut self, event: &Event) -> Step<()> {
        self.walk.listeners.iter_mut().try_for_each(|listener| listener.hear(event)).map_err(End::Recording)
    }
}

/// Whether the agent, or what carries it, cannot be used after such a failure.
fn ends_the_agent(cause: Cause) -> bool {
    !matches!(cause, Cause::Workload | Cause::DiskFull | Cause::Missing)
}

fn bundle(record: SliceRecord, slice: Slice) -> SliceBundle {
    SliceBundle {
        slice: record,
        histograms: slice.histograms,
        evidence_inside: slice.evidence_inside,
        evidence_host: slice.evidence_host,
    }
}
