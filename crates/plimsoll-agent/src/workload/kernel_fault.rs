//! `kernel.fault`: the first touch of each page of anonymous memory. The kernel finds a page, clears it and maps it; in a
//! virtual machine the hypervisor may have to do the same once more below.
//!
//! The pages are given back between units, untimed. The faults of one unit are counted from there to the check after
//! the slice, so that counting costs the unit nothing.

use std::num::NonZeroUsize;

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use plimsoll_protocol::Parameters;

use super::region::{Mapping, Pages};
use super::words::{chosen, points};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, check_multiple, mib,
};

/// Faults that have nothing to do with the region: fewer than one huge page causes if it is made of small ones.
const FAULTS_BESIDE: u64 = 64;
const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The workload `kernel.fault`.
#[derive(Debug)]
pub(super) struct Fault;

static ABOUT: About = About {
    name: "kernel.fault",
    summary: "page faults: the first touch of each page of anonymous memory",
    work: "page",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout { name: "pages", meaning: "their size: 4k, or huge for 2 MiB", range: None },
        ParameterAbout {
            name: "region_bytes",
            meaning: "memory touched in one unit, a multiple of the page size",
            range: Some((Pages::Small.bytes().get() as u64, 1 << 40)),
        },
    ],
    uses_disk: false,
};

impl Workload for Fault {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let named = ABOUT.merged(Parameters::default().with("pages", Pages::WORDS[0].0), written)?;
        let pages = chosen(&named, "pages", Pages::WORDS).map_err(|error| error.to_string())?;
        let parameters = ABOUT.merged(Parameters::default().with("region_bytes", region_bytes(pages)), &named)?;
        let region_bytes = ABOUT.number(&parameters, "region_bytes").map_err(|error| error.to_string())?;
        check_multiple("region_bytes", region_bytes, pages.bytes().get() as u64)?;
        let needed = region_bytes.saturating_mul(2);
        if needed > room.memory_bytes {
            return Err(format!(
                "kernel.fault touches {} MiB, which must fit half of the memory, and the limit is {} MiB: set --memory to \
                 {} MiB or more, or a smaller `region_bytes` in the plan",
                mib(region_bytes),
                mib(room.memory_bytes),
                mib(needed),
            ));
        }
        Ok(parameters)
    }

    fn points(&self, _room: &Room) -> Vec<Parameters> {
        points("pages", Pages::WORDS)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let pages = chosen(parameters, "pages", Pages::WORDS)?;
        let region_bytes = ABOUT.count(parameters, "region_bytes")?;
        check_multiple("region_bytes", region_bytes as u64, pages.bytes().get() as u64)
            .map_err(WorkloadError::Wrong)?;
        let bytes = NonZeroUsize::new(region_bytes).ok_or_else(|| WorkloadError::no_memory("kernel.fault"))?;
        Pages::small_is_base()?;
        let mut faults = Faults::new(pages, bytes)?;
        faults.try_once()?;
        Ok(Box::new(faults))
    }
}

/// What a unit touches where the plan does not say.
fn region_bytes(pages: Pages) -> u64 {
    match pages {
        Pages::Small => 8 << 20,
        Pages::Huge => 32 << 20,
    }
}

/// Minor faults of this thread since it began; always 0 where the kernel does not count them.
fn faults_so_far() -> Result<u64, WorkloadError> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    let usage = usage.map_err(|error| WorkloadError::system("counting page faults", error))?;
    Ok(u64::try_from(usage.minor_page_faults()).unwrap_or(0))
}

struct Faults {
    pages: Pages,
    page_bytes: NonZeroUsize,
    count: u64,
    /// `None` after clean-up.
    region: Option<Mapping>,
    /// What the last unit has written; never 0, which is what a page holds that nobody touched.
    value: u8,
    /// Whether this kernel counts faults: gVisor does not.
    counted: bool,
    before: u64,
}

impl Faults {
    fn new(pages: Pages, bytes: NonZeroUsize) -> Result<Self, WorkloadError> {
        let no_memory = |error| WorkloadError::system("mapping the memory of kernel.fault", error);
        let page_bytes = pages.bytes();
        let mut region = Mapping::map_aligned(bytes, page_bytes).map_err(no_memory)?;
        match (pages, region.want_huge_pages(pages == Pages::Huge)) {
            // Where nobody knows of huge pages, all are small.
            (_, Ok(())) | (Pages::Small, Err(Errno::EINVAL)) => {}
            (Pages::Huge, Err(Errno::EINVAL)) => {
                return Err(WorkloadError::Missing("this kernel has no transparent huge pages".to_owned()));
            }
            (_, Err(error)) => return Err(WorkloadError::system("advising about huge pages", error)),
        }
        let count = (bytes.get() / page_bytes) as u64;
        Ok(Self { pages, page_bytes, count, region: Some(region), value: 0, counted: true, before: 0 })
    }

    fn region(&mut self) -> Result<&mut Mapping, WorkloadError> {
        self.region.as_mut().ok_or_else(|| WorkloadError::Wrong("kernel.fault is cleaned up already".to_owned()))
    }

    /// One unit, after which it is known which pages are to be had here.
    fn try_once(&mut self) -> Result<(), WorkloadError> {
        self.renew()?;
        self.unit(&mut Recorder::default())?;
        let seen = self.look()?;
        self.counted = seen.by_unit > 0;
        if self.pages == Pages::Huge && !self.counted {
            let message = "this kernel does not count page faults, so nobody can tell whether huge pages are had";
            return Err(WorkloadError::Missing(message.to_owned()));
        }
        if !self.plausible(&seen) {
            let setting = std::fs::read_to_string(SETTING).unwrap_or_else(|_| "unknown".to_owned());
            return Err(WorkloadError::Missing(format!(
                "pages of {} bytes cannot be had: {} (transparent huge pages: {})",
                self.page_bytes,
                self.described(&seen),
                setting.trim(),
            )));
        }
        self.check(&seen)
    }

    /// Counts the faults of the unit before, and then those of touching every small page: none are left to have if a
    /// page of the wanted size was had at once.
    fn look(&mut self) -> Result<Seen, WorkloadError> {
        let after = faults_so_far()?;
        let (page_bytes, value) = (self.page_bytes, self.value);
        let all_touched = value != 0 && self.region()?.holds(page_bytes, value);
        let before_rest = faults_so_far()?;
        self.region()?.touch(Pages::Small.bytes(), value);
        Ok(Seen { by_unit: after - self.before, by_rest: faults_so_far()? - before_rest, all_touched })
    }

    /// One fault for each page at least, and none for the rest of a page.
    fn plausible(&self, seen: &Seen) -> bool {
        !self.counted || (seen.by_unit >= self.count && seen.by_rest <= FAULTS_BESIDE)
    }

    fn described(&self, seen: &Seen) -> String {
        format!(
            "touching {} of them gave {} faults, and all in between {} more",
            self.count, seen.by_unit, seen.by_rest
        )
    }

    fn check(&mut self, seen: &Seen) -> Result<(), WorkloadError> {
        let page_bytes = self.page_bytes;
        if !seen.all_touched {
            return Err(WorkloadError::Wrong("kernel.fault did not touch all of its pages".to_owned()));
        }
        if !self.plausible(seen) {
            let message =
                format!("these were not first touches of pages of {page_bytes} bytes: {}", self.described(seen));
            return Err(WorkloadError::Wrong(message));
        }
        self.renew()?;
        if !self.region()?.holds(page_bytes, 0) {
            return Err(WorkloadError::Wrong("the pages of kernel.fault are not given back".to_owned()));
        }
        Ok(())
    }
}

/// What was found after a unit.
struct Seen {
    by_unit: u64,
    by_rest: u64,
    all_touched: bool,
}

impl Prepared for Faults {
    fn renew(&mut self) -> Result<bool, WorkloadError> {
        let given_back = self.region()?.give_back();
        given_back.map_err(|error| WorkloadError::system("giving back the pages of kernel.fault", error))?;
        self.before = faults_so_far()?;
        Ok(true)
    }

    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        let (page_bytes, value) = (self.page_bytes, self.value.checked_add(1).unwrap_or(1));
        self.region()?.touch(page_bytes, value);
        self.value = value;
        Ok(self.count as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        let seen = self.look()?;
        self.check(&seen)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        let Some(region) = self.region.take() else { return Ok(()) };
        region.unmap().map_err(|error| WorkloadError::system("unmapping the memory of kernel.fault", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::scene;

    const ROOM: Room = Room { cpus: 1, memory_bytes: 128 << 20, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 0 };

    fn faults(pages: Pages, bytes: usize) -> Faults {
        Faults::new(pages, NonZeroUsize::new(bytes).unwrap()).unwrap()
    }

    #[test]
    fn pages_that_were_touched_before_are_found_by_counting_faults() {
        let mut faults = faults(Pages::Small, 1 << 20);
        faults.try_once().unwrap();
        faults.renew().unwrap();
        assert_eq!(faults.unit(&mut Recorder::default()).unwrap(), 256.0);
        faults.verify().unwrap();
        if !faults.counted {
            return;
        }
        faults.renew().unwrap();
        faults.unit(&mut Recorder::default()).unwrap();
        faults.before = faults_so_far().unwrap();
        faults.unit(&mut Recorder::default()).unwrap();
        let error = faults.verify().unwrap_err().to_string();
        assert!(error.contains("not first touches of pages of 4096 bytes"), "{error}");
    }

    #[test]
    fn a_page_that_was_left_out_is_found_even_where_faults_are_not_counted() {
        let mut faults = faults(Pages::Small, 1 << 20);
        faults.counted = false;
        faults.renew().unwrap();
        faults.unit(&mut Recorder::default()).unwrap();
        faults.verify().unwrap();
        // Every second page only.
        let value = faults.value;
        faults.region().unwrap().touch(NonZeroUsize::new(8192).unwrap(), value);
        assert!(faults.verify().unwrap_err().to_string().contains("did not touch all"));
        faults.value = 0;
        assert!(faults.verify().is_err(), "no unit was done at all");
    }

    #[test]
    fn small_pages_in_place_of_huge_ones_are_told_by_their_faults() {
        let seen = |by_unit, by_rest| Seen { by_unit, by_rest, all_touched: true };
        let mut huge = faults(Pages::Huge, 8 << 20);
        assert!(huge.plausible(&seen(4, 0)) && huge.plausible(&seen(5, 64)));
        assert!(!huge.plausible(&seen(4, 511)), "one of four is made of small pages");
        assert!(!huge.plausible(&seen(3, 0)), "one was there before");
        huge.region().unwrap().want_huge_pages(false).unwrap();
        let error = huge.try_once().unwrap_err();
        assert!(matches!(&error, WorkloadError::Missing(_)), "{error}");
    }

    #[test]
    fn the_region_suits_its_pages_and_half_of_the_memory() {
        let written = |pages: &str, bytes: u64| {
            Fault.size(&ROOM, &Parameters::default().with("pages", pages).with("region_bytes", bytes))
        };
        let derived = Fault.size(&ROOM, &Parameters::default().with("pages", "huge")).unwrap();
        assert_eq!(derived.integer("region_bytes", 0, u64::MAX), Ok(32 << 20));
        assert!(written("4k", 12_288).is_ok());
        assert!(written("huge", 12_288).unwrap_err().contains("not a multiple of 2097152"));
        assert!(written("4k", 128 << 20).unwrap_err().contains("--memory to 256 MiB"));
        assert!(written("1g", 1 << 30).unwrap_err().contains("it can be `4k` or `huge`"));
        let odd = Parameters::default().with("pages", "4k").with("region_bytes", 5000);
        assert!(Fault.prepare(&odd, &scene()).is_err());
    }
}
