//! `kernel.mmap`: map 1 MiB of anonymous memory and unmap it, without touching it: no page, only the bookkeeping.

use std::num::NonZeroUsize;

use nix::errno::Errno;
use plimsoll_protocol::Parameters;

use super::region::{Mapping, is_mapped};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const PAIRS: u64 = 1000;
const MAP_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
const PAGE_BYTES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Another thread of the process may map what was just unmapped; not every time.
const LOOKS: usize = 8;

/// The workload `kernel.mmap`.
#[derive(Debug)]
pub(super) struct Mmap;

static ABOUT: About = About {
    name: "kernel.mmap",
    summary: "map and unmap 1 MiB of memory, untouched",
    work: "pair of mmap and munmap",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout {
        name: "pairs",
        meaning: "pairs of calls in one unit",
        range: Some((1, 10_000_000)),
    }],
    uses_disk: false,
};

impl Workload for Mmap {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("pairs", PAIRS), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let pairs = ABOUT.number(parameters, "pairs")?;
        let mut prepared = Pairs { pairs, unmap: Mapping::unmap };
        prepared.verify()?;
        Ok(Box::new(prepared))
    }
}

struct Pairs {
    pairs: u64,
    unmap: fn(Mapping) -> nix::Result<()>,
}

impl Pairs {
    #[inline]
    fn pair(&self) -> Result<usize, WorkloadError> {
        let region = Mapping::map(MAP_BYTES).map_err(|error| refused("mapping", error))?;
        let address = region.address();
        (self.unmap)(region).map_err(|error| refused("unmapping", error))?;
        Ok(address)
    }
}

fn refused(doing: &str, errno: Errno) -> WorkloadError {
    WorkloadError::system(format!("{doing} the memory of kernel.mmap"), errno)
}

impl Prepared for Pairs {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        for _ in 0..self.pairs {
            self.pair()?;
        }
        Ok(self.pairs as f64)
    }

    /// What the calls of a unit give is memory that can be used, and what they take is gone.
    fn verify(&mut self) -> Result<(), WorkloadError> {
        let mut region = Mapping::map(MAP_BYTES).map_err(|error| refused("mapping", error))?;
        region.touch(PAGE_BYTES, 1);
        if !region.holds(PAGE_BYTES, 1) {
            return Err(WorkloadError::Wrong("the memory of kernel.mmap does not hold what is written".to_owned()));
        }
        (self.unmap)(region).map_err(|error| refused("unmapping", error))?;
        for _ in 0..LOOKS {
            let address = self.pair()?;
            if !is_mapped(address).map_err(|error| refused("looking for", error))? {
                return Ok(());
            }
        }
        Err(WorkloadError::Wrong("the memory of kernel.mmap is still there after munmap".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_stays_mapped_or_is_refused_is_an_error() {
        let mut pairs = Pairs { pairs: 10, unmap: Mapping::unmap };
        assert_eq!(pairs.unit(&mut Recorder::default()).unwrap(), 10.0);
        pairs.verify().unwrap();
        pairs.unmap = |region| {
            std::mem::forget(region);
            Ok(())
        };
        let error = pairs.verify().unwrap_err().to_string();
        assert!(error.contains("still there after munmap"), "{error}");
        pairs.unmap = |_| Err(Errno::EINVAL);
        assert!(pairs.unit(&mut Recorder::default()).is_err());
    }
}
