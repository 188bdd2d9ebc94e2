//! `cpu.lzma`: compression of text by liblzma's threaded encoder, the work of `xz -T`.
//!
//! Encoder and threads live across units, so that a unit is compression and neither thread starts nor page faults. A
//! unit hands over the whole input and flushes; the threads take its blocks as they come. After a slice the blocks of the
//! last unit are decompressed and compared.

use liblzma::stream::{Action, Check, Error, MtStreamBuilder, Status, Stream};
use plimsoll_protocol::Parameters;

use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib, text::text,
};

/// Whoever is done with the last block waits for the others, so a unit has several of them for each thread.
const BLOCKS_PER_THREAD: u64 = 4;
/// About 60 ms of work natively: short enough for a slice of 0.2 s, and for a guest that is emulated. The blocks of
/// `xz -2` have 6 MiB and compress at half the rate (docs/workloads-cpu.md).
const INPUT_BYTES_PER_THREAD: u64 = BLOCKS_PER_THREAD * 128 * 1024;
const PRESET: u64 = 2;
/// What the encoder takes per thread with each preset, MiB: what xz(1) states, and 6 MiB for stacks and buffers.
const MEMORY_MIB_PER_THREAD: [u64; 10] = [9, 15, 23, 38, 54, 100, 100, 192, 376, 680];
/// The input, each thread's copy of its part, what comes out of it, and the output.
const COPIES_OF_INPUT: u64 = 4;
/// Every .xz stream begins with a header of this size; blocks follow.
const HEADER_BYTES: usize = 12;
/// Bounds the calls that one unit may need.
const CALLS_MAX: u32 = 10_000;

/// The workload `cpu.lzma`.
#[derive(Debug)]
pub(super) struct Lzma;

static ABOUT: About = About {
    name: "cpu.lzma",
    summary: "compression of text on every CPU (liblzma, threaded)",
    work: "byte of input",
    metrics: &[Metric { name: "throughput", unit: "B/s", kind: MetricKind::Rate, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 3, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout {
            name: "input_bytes",
            meaning: "text compressed in one unit, shared by the threads",
            range: Some((4096, 1 << 30)),
        },
        ParameterAbout { name: "threads", meaning: "threads of the encoder", range: Some((1, 4096)) },
        ParameterAbout { name: "preset", meaning: "liblzma's preset, 0 fastest", range: Some((0, 9)) },
    ],
    uses_disk: false,
};

impl Workload for Lzma {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let derived = Parameters::default().with("threads", u64::from(room.cpus.max(1))).with("preset", PRESET);
        let parameters = ABOUT.merged(derived, written)?;
        let number = |parameters: &Parameters, name| ABOUT.number(parameters, name).map_err(|error| error.to_string());
        let threads = number(&parameters, "threads")?;
        let input = Parameters::default().with("input_bytes", threads * INPUT_BYTES_PER_THREAD);
        let parameters = ABOUT.merged(input, &parameters)?;
        let preset = number(&parameters, "preset")? as usize;
        let per_thread = MEMORY_MIB_PER_THREAD.get(preset).copied().unwrap_or(u64::MAX >> 40) << 20;
        let needed = 2 * (threads * per_thread + COPIES_OF_INPUT * number(&parameters, "input_bytes")?);
        if needed > room.memory_bytes {
            return Err(format!(
                "cpu.lzma with {threads} threads and preset {preset} needs {} MiB of memory and the limit is {} MiB: set \
                 --memory higher, fewer --cpus, or fewer `threads` in the plan",
                mib(needed),
                mib(room.memory_bytes),
            ));
        }
        Ok(parameters)
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let input = text(scene.seed, ABOUT.count(parameters, "input_bytes")?);
        let threads = ABOUT.number(parameters, "threads")?;
        let preset = ABOUT.number(parameters, "preset")?;
        let mut encoder = Encoder::new(input, threads, preset)?;
        // The first output of all begins with the stream's header.
        encoder.compress()?;
        encoder.header = encoder.output.drain(..HEADER_BYTES).collect();
        encoder.verify()?;
        Ok(Box::new(encoder))
    }
}

struct Encoder {
    stream: Stream,
    input: Vec<u8>,
    header: Vec<u8>,
    /// Blocks of the last unit.
    output: Vec<u8>,
}

impl Encoder {
    fn new(input: Vec<u8>, threads: u64, preset: u64) -> Result<Self, WorkloadError> {
        let mut builder = MtStreamBuilder::new();
        builder.threads(threads as u32).preset(preset as u32).check(Check::Crc64);
        builder.block_size((input.len() as u64).div_ceil(BLOCKS_PER_THREAD * threads));
        let stream = builder.encoder().map_err(|error| lzma_error("making the encoder", error))?;
        // Text never grows, but input of any kind must fit: LZMA2 stores what it cannot shrink.
        let headers = 256 * (BLOCKS_PER_THREAD * threads) as usize;
        let output = Vec::with_capacity(input.len() + input.len() / 8 + headers + 4096);
        Ok(Self { stream, input, header: Vec::new(), output })
    }

    /// Compresses the whole input and waits until all of it has come out.
    fn compress(&mut self) -> Result<(), WorkloadError> {
        self.output.clear();
        let start = self.stream.total_in();
        for _ in 0..CALLS_MAX {
            let taken = (self.stream.total_in() - start) as usize;
            let status = self.stream.process_vec(&self.input[taken..], &mut self.output, Action::FullFlush);
            match status.map_err(|error| lzma_error("compressing", error))? {
                Status::StreamEnd => return Ok(()),
                Status::Ok => {}
                other => return Err(WorkloadError::Wrong(format!("liblzma's encoder stopped with {other:?}"))),
            }
        }
        Err(WorkloadError::Wrong("liblzma's encoder makes no progress".to_owned()))
    }

    /// The text that the header and the blocks of the last unit stand for.
    fn decompressed(&self) -> Result<Vec<u8>, WorkloadError> {
        let decoder = Stream::new_stream_decoder(u64::MAX, 0);
        let mut decoder = decoder.map_err(|error| lzma_error("making the decoder", error))?;
        let compressed = [self.header.as_slice(), &self.output].concat();
        // One byte more than expected, so that the decoder reaches the end of the last block and checks it.
        let mut plain = Vec::with_capacity(self.input.len() + 1);
        for _ in 0..CALLS_MAX {
            let taken = decoder.total_in() as usize;
            if taken == compressed.len() {
                break;
            }
            let status = decoder.process_vec(&compressed[taken..], &mut plain, Action::Run);
            status.map_err(|error| lzma_error("decompressing", error))?;
        }
        Ok(plain)
    }
}

impl Prepared for Encoder {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.compress()?;
        Ok(self.input.len() as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        if self.decompressed()? == self.input {
            return Ok(());
        }
        Err(WorkloadError::Wrong("what was compressed does not decompress to the input".to_owned()))
    }
}

fn lzma_error(doing: &str, error: Error) -> WorkloadError {
    match error {
        Error::Mem | Error::MemLimit => WorkloadError::no_memory(format!("liblzma, {doing}")),
        other => WorkloadError::Wrong(format!("liblzma, {doing}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(threads: u64) -> Encoder {
        let mut encoder = Encoder::new(text(1, 1024 * 1024), threads, PRESET).unwrap();
        encoder.compress().unwrap();
        encoder.header = encoder.output.drain(..HEADER_BYTES).collect();
        encoder
    }

    #[test]
    fn every_unit_decompresses_to_the_input_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let mut encoder = encoder(threads);
            let first = encoder.output.clone();
            for _ in 0..3 {
                encoder.unit(&mut Recorder::default()).unwrap();
                encoder.verify().unwrap();
                assert!(encoder.output == first, "the same input gave other output");
            }
        }
    }

    #[test]
    fn a_changed_byte_anywhere_in_the_output_is_found() {
        let mut encoder = encoder(2);
        let length = encoder.output.len();
        for place in [20, length / 2, length - 5] {
            encoder.output[place] ^= 1;
            assert!(encoder.verify().is_err(), "byte {place} of {length}");
            encoder.output[place] ^= 1;
        }
        encoder.output.truncate(length / 2);
        assert!(encoder.verify().is_err());
    }

    #[test]
    fn the_text_shrinks_as_english_does_within_a_stated_band() {
        let mut encoder = encoder(2);
        encoder.unit(&mut Recorder::default()).unwrap();
        let ratio = encoder.output.len() as f64 / encoder.input.len() as f64;
        assert!((0.355..0.375).contains(&ratio), "compressed to {ratio:.3} of its size");
    }

    #[test]
    fn many_cpus_with_little_memory_are_refused_with_a_remedy() {
        let room = Room { cpus: 64, memory_bytes: 1 << 30, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 0 };
        let written = |name, value: u64| Parameters::default().with(name, value);
        assert!(Lzma.size(&room, &Parameters::default()).unwrap_err().contains("--memory"));
        assert!(Lzma.size(&Room { cpus: 2, ..room }, &Parameters::default()).is_ok());
        assert!(Lzma.size(&room, &written("threads", 2)).is_ok(), "the advice can be followed");
        let two = Room { cpus: 2, ..room };
        assert!(Lzma.size(&two, &written("threads", 64)).is_err());
        assert!(Lzma.size(&two, &written("preset", 9)).is_err());
        assert!(Lzma.size(&two, &written("input_bytes", 1 << 30)).is_err());
    }
}
