//! Progress while a run goes on: a listener that draws on events and at no other time.
//!
//! Events happen between slices, never during one, so nothing is drawn while anything is measured; there is no thread
//! and no timer here. Costs so far come from whoever is handed in as [`Current`]: this module computes none.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::bars::{Bars, Shared, write_line};
use super::points::with_point;
use super::units;
use super::words::clean;
use crate::clock::RunClock;
use crate::rounds::{Event, Listener};
use crate::sample::{Arm, Cause, Failure, MishapRecord, Phase, PlanRecord, StopReason, WorkloadRecord};

/// Who knows the costs so far, one finished line each; asked once after every block.
pub trait Current {
    /// The lines to show, such as `docker  cpu.lzma  +25 % [22, 28]`.
    fn lines(&mut self) -> Vec<String>;
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Redrawn in place; the writer is a terminal of this many columns.
    Terminal {
        /// Columns.
        width: u16,
    },
    /// One line after another.
    Lines,
    /// Not at all (`--quiet`).
    Quiet,
}

/// The progress of one run.
pub struct Live {
    steps: Steps,
    names: Vec<String>,
    screen: Screen,
    current: Box<dyn Current>,
    clock: RunClock,
    mishaps: u32,
}

enum Screen {
    Terminal(Bars),
    Lines(Shared),
    Quiet,
}

impl Live {
    /// Progress of this plan, expected to take `estimate_seconds`; the time starts to count now.
    pub fn new(
        plan: &PlanRecord,
        estimate_seconds: Option<f64>,
        progress: Progress,
        writer: Box<dyn Write + Send>,
        current: Box<dyn Current>,
    ) -> Self {
        let steps = Steps::of(plan, estimate_seconds);
        let writer = Arc::new(Mutex::new(writer));
        let screen = match progress {
            Progress::Terminal { width } => Screen::Terminal(Bars::new(writer, width, steps.per_block)),
            Progress::Lines => Screen::Lines(writer),
            Progress::Quiet => Screen::Quiet,
        };
        let names = plan.environments.iter().map(|name| clean(name)).collect();
        Self { steps, names, screen, current, clock: RunClock::start(), mishaps: 0 }
    }

    fn name(&self, arm: &Arm) -> String {
        let name = self.names.get(arm.environment as usize).map_or("?", String::as_str);
        if arm.environment == 0 { format!("{name}#{}", arm.replica) } else { name.to_owned() }
    }

    fn launching(&mut self, arm: &Arm) -> io::Result<()> {
        self.steps.launch += 1;
        let (number, of) = (self.steps.launch, self.steps.launches_per_block);
        let doing = format!("launching {} ({number} of {of})", self.name(arm));
        self.say(&doing)
    }

    fn mishap(&mut self, mishap: &MishapRecord) -> io::Result<()> {
        let is_missing = mishap.cause == Cause::Missing;
        self.mishaps += u32::from(!is_missing);
        let mut what: Vec<String> = mishap.arm.iter().map(|arm| self.name(arm)).collect();
        let point = mishap.point.as_deref().and_then(|point| serde_json::from_str(point).ok());
        what.extend(mishap.workload.iter().map(|workload| with_point(workload, point.as_ref())));
        let what = if what.is_empty() { "the run".to_owned() } else { what.join(", ") };
        let message = clean(&mishap.message);
        let line = match is_missing {
            true => format!("missing: {what}: {message}"),
            false => format!("mishap: {what}: {}: {message}", mishap.cause.name()),
        };
        self.keep(&line)
    }

    fn stopped(&mut self, reason: StopReason) -> io::Result<()> {
        let blocks = units::count(self.steps.blocks_done, "block");
        let mishaps =
            if self.mishaps == 0 { String::new() } else { format!(", {}", units::count(self.mishaps, "mishap")) };
        let line = format!("{blocks} in {}{mishaps} ({})", whole(self.clock.seconds()), reason.name());
        if let Screen::Terminal(bars) = &self.screen {
            bars.clear()?;
        }
        self.keep(&line)
    }

    /// Shows what is being done now.
    fn say(&mut self, doing: &str) -> io::Result<()> {
        let line = format!("block {}/{}: {doing}{}", self.steps.block, self.steps.blocks, self.times());
        match &self.screen {
            Screen::Terminal(bars) => {
                bars.doing(line, self.steps.in_block);
                Ok(())
            }
            Screen::Lines(writer) => write_line(writer, &line),
            Screen::Quiet => Ok(()),
        }
    }

    /// Prints a line that stays.
    fn keep(&self, line: &str) -> io::Result<()> {
        match &self.screen {
            Screen::Terminal(bars) => bars.keep(line),
            Screen::Lines(writer) => write_line(writer, line),
            Screen::Quiet => Ok(()),
        }
    }

    fn costs(&mut self) -> io::Result<()> {
        if matches!(self.screen, Screen::Quiet) {
            return Ok(());
        }
        let lines: Vec<String> = self.current.lines().iter().map(|line| clean(line)).collect();
        match &mut self.screen {
            Screen::Terminal(bars) => bars.show(&lines),
            Screen::Lines(writer) => return lines.iter().try_for_each(|line| write_line(writer, &format!("  {line}"))),
            Screen::Quiet => {}
        }
        Ok(())
    }

    fn times(&self) -> String {
        let elapsed = self.clock.seconds();
        let left = self.steps.seconds_left(elapsed);
        let left = left.map_or_else(String::new, |left| format!(", about {} left", whole(left)));
        format!(" [{}{left}]", whole(elapsed))
    }

    fn step(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::BlockStarted { block } => {
                self.steps.start_block(*block);
                self.say("starting")
            }
            Event::Launching { arm } => self.launching(arm),
            Event::WorkloadStarted { workload } => self.say(&format!("measuring {}", clean(workload))),
            Event::Launched(_) => Ok(()),
            Event::Sliced(bundle) => {
                self.steps.in_block += u64::from(bundle.slice.phase == Phase::Measured);
                if let Screen::Terminal(bars) = &self.screen {
                    bars.reached(self.steps.in_block);
                }
                Ok(())
            }
            Event::Mishap(mishap) => self.mishap(mishap),
            Event::BlockFinished { .. } => {
                self.steps.blocks_done += 1;
                self.say("done")?;
                self.costs()
            }
            Event::Stopped { reason } => self.stopped(*reason),
        }
    }
}

impl Listener for Live {
    /// Progress that cannot be shown (a closed terminal) is no reason to end a run: it is silent from then on.
    fn hear(&mut self, event: &Event) -> Result<(), Failure> {
        if self.step(event).is_err() {
            self.screen = Screen::Quiet;
        }
        Ok(())
    }
}

/// How far a run is.
#[derive(Debug)]
struct Steps {
    blocks: u32,
    per_block: u64,
    launches_per_block: usize,
    estimate_seconds: Option<f64>,
    limit_seconds: Option<f64>,
    block: u32,
    blocks_done: u32,
    launch: usize,
    in_block: u64,
}

impl Steps {
    fn of(plan: &PlanRecord, estimate_seconds: Option<f64>) -> Self {
        let launches: usize =
            plan.groups.iter().map(|group| 2 + group.iter().filter(|position| **position != 0).count()).sum();
        let sliced = plan.workloads.iter().filter(|workload| workload.measured_by == "slices");
        let sliced: usize = sliced.map(WorkloadRecord::points_count).sum();
        let per_block = launches as u64 * sliced as u64 * u64::from(plan.slices);
        Self {
            blocks: plan.blocks,
            per_block,
            launches_per_block: launches,
            estimate_seconds,
            limit_seconds: plan.time_limit_seconds,
            block: 0,
            blocks_done: 0,
            launch: 0,
            in_block: 0,
        }
    }

    fn start_block(&mut self, block: u32) {
        self.block = block;
        self.launch = 0;
        self.in_block = 0;
    }

    /// Seconds left at the pace so far; before the first block is done, by the estimate.
    fn seconds_left(&self, elapsed: f64) -> Option<f64> {
        let left = if self.blocks_done == 0 {
            self.estimate_seconds? - elapsed
        } else {
            let within = if self.block > self.blocks_done { self.share_of_block() } else { 0.0 };
            let done = f64::from(self.blocks_done) + within;
            elapsed / done * (f64::from(self.blocks) - done)
        };
        let capped = self.limit_seconds.map_or(left, |limit| left.min(limit - elapsed));
        (left.is_finite() && capped > 0.0).then_some(capped)
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of a block, for a person")]
    fn share_of_block(&self) -> f64 {
        (self.in_block as f64 / self.per_block.max(1) as f64).min(1.0)
    }
}

/// Whole seconds: a running time with milliseconds only flickers.
fn whole(seconds: f64) -> String {
    let seconds = seconds.max(0.0).ceil();
    if seconds < 10.0 { format!("{seconds:.0} s") } else { units::duration(seconds) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;
    use crate::report::fixture;
    use crate::sample::Cause;

    struct Wire(Sender<Vec<u8>>, ThreadId);

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert_eq!(thread::current().id(), self.1, "somebody else draws");
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe.into()).map(|()| bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Fixed(Vec<String>);

    impl Current for Fixed {
        fn lines(&mut self) -> Vec<String> {
            self.0.clone()
        }
    }

    fn live(progress: Progress) -> (Live, Receiver<Vec<u8>>) {
        let (sender, receiver) = channel();
        let current = Fixed(vec!["qemu  cpu.lzma  +25 % [22, 28]".to_owned()]);
        (
            Live::new(
                &fixture::plan(),
                None,
                progress,
                Box::new(Wire(sender, thread::current().id())),
                Box::new(current),
            ),
            receiver,
        )
    }

    fn drawn(receiver: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(receiver.try_iter().flatten().collect()).unwrap()
    }

    fn events() -> Vec<Event> {
        let docker = Arm { environment: 1, replica: 1 };
        vec![
            Event::BlockStarted { block: 1 },
            Event::Launching { arm: Arm { environment: 0, replica: 2 } },
            Event::Launched(fixture::launch(1, docker.clone())),
            Event::Launching { arm: docker.clone() },
            Event::Launched(fixture::launch(2, docker.clone())),
            Event::WorkloadStarted { workload: "cpu.lzma".to_owned() },
            Event::Sliced(fixture::slice(1, 1, Phase::WarmUp)),
            Event::Sliced(fixture::slice(2, 1, Phase::Measured)),
            Event::Mishap(MishapRecord {
                block: 1,
                arm: Some(docker),
                workload: Some("cpu.lzma".to_owned()),
                point: None,
                cause: Cause::Timeout,
                message: "no answer\u{1b}[2J within 30 s".to_owned(),
                at: 9.0,
            }),
            Event::BlockFinished { block: 1 },
            Event::Stopped { reason: StopReason::Interrupted },
        ]
    }

    fn without_times(text: &str) -> String {
        let line = |line: &str| line.split(" [").next().unwrap_or(line).split(" in ").next().unwrap_or(line).to_owned();
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn without_a_terminal_each_step_is_a_plain_line() {
        let (mut live, receiver) = live(Progress::Lines);
        for event in events() {
            live.hear(&event).unwrap();
        }
        insta::assert_snapshot!(without_times(&drawn(&receiver)), @r"
        block 1/5: starting
        block 1/5: launching native#2 (1 of 6)
        block 1/5: launching docker:net=host,disk=volume (2 of 6)
        block 1/5: measuring cpu.lzma
        mishap: docker:net=host,disk=volume, cpu.lzma: timeout: no answer�[2J within 30 s
        block 1/5: done
          qemu  cpu.lzma  +25 %
        1 block
        ");
    }

    #[test]
    fn quiet_writes_nothing() {
        let (mut live, receiver) = live(Progress::Quiet);
        for event in events() {
            live.hear(&event).unwrap();
        }
        assert_eq!(drawn(&receiver), "");
    }

    #[test]
    fn a_terminal_is_drawn_on_events_by_whoever_brings_them() {
        let (mut live, receiver) = live(Progress::Terminal { width: 90 });
        for event in events() {
            live.hear(&event).unwrap();
            let drawn_by_it = drawn(&receiver);
            if matches!(event, Event::WorkloadStarted { .. }) {
                assert!(drawn_by_it.contains("block 1/5: measuring cpu.lzma"), "{drawn_by_it:?}");
            }
            if matches!(event, Event::BlockFinished { .. }) {
                assert!(drawn_by_it.contains("qemu  cpu.lzma  +25 % [22, 28]"), "{drawn_by_it:?}");
            }
        }
        assert_eq!(live.steps.in_block, 1);
    }

    #[test]
    fn a_closed_terminal_does_not_end_the_run() {
        for progress in [Progress::Lines, Progress::Terminal { width: 80 }] {
            let (mut live, receiver) = live(progress);
            drop(receiver);
            for event in events() {
                assert!(live.hear(&event).is_ok());
            }
        }
    }

    #[test]
    fn what_is_left_follows_the_pace_and_never_exceeds_the_limit() {
        let mut steps = Steps::of(&fixture::plan(), Some(100.0));
        assert_eq!((steps.launches_per_block, steps.per_block), (6, 12));
        assert_eq!(steps.seconds_left(30.0), Some(70.0));
        steps.start_block(1);
        steps.blocks_done = 1;
        assert_eq!(steps.seconds_left(20.0), Some(80.0));
        steps.start_block(2);
        steps.in_block = 6;
        assert_eq!(steps.seconds_left(30.0), Some(70.0));
        assert_eq!(steps.seconds_left(550.0), Some(50.0));
        assert_eq!(steps.seconds_left(700.0), None);
    }
}
