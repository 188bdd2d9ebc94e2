//! `kernel.fork`: fork, exec and wait, with a program that does nothing but exit.
//!
//! The program is a file of our own, a static executable of one page: neither a dynamic linker nor a C library start is
//! measured, and it is the same everywhere. Its exit code is one that no failed exec can give.

use std::env::consts::ARCH;
use std::ffi::CString;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use plimsoll_protocol::Parameters;

use super::made::Made;
use super::sys::fork_exec;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const PROCESSES: u64 = 10;
/// Above every error number.
const EXIT_CODE: u8 = 173;
const LOAD_ADDRESS: u64 = 0x40_0000;
const HEADERS_BYTES: u64 = 64 + 56;

/// The workload `kernel.fork`.
#[derive(Debug)]
pub(super) struct Fork;

static ABOUT: About = About {
    name: "kernel.fork",
    summary: "fork, exec and wait for a tiny static program",
    work: "process",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.15 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout {
        name: "processes",
        meaning: "processes in one unit, one after another",
        range: Some((1, 100_000)),
    }],
    uses_disk: true,
};

impl Workload for Fork {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("processes", PROCESSES), written)
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let processes = ABOUT.number(parameters, "processes")?;
        let program = program(ARCH)
            .ok_or_else(|| WorkloadError::Missing(format!("kernel.fork has no program for {ARCH} yet")))?;
        let forks = Forks::make(scene.data_dir.join("kernel.fork"), &program, processes)?;
        forks.try_one()?;
        Ok(Box::new(forks))
    }
}

/// The executable: an ELF header, one segment that holds the whole file, and a call of exit_group.
fn program(architecture: &str) -> Option<Vec<u8>> {
    let code = u32::from(EXIT_CODE);
    let (machine, code) = match architecture {
        // mov edi, code; mov eax, 231; syscall
        "x86_64" => (62, [&[0xbf], &code.to_le_bytes()[..], &[0xb8, 231, 0, 0, 0, 0x0f, 0x05]].concat()),
        // movz x0, code; movz x8, 94; svc 0
        "aarch64" => {
            let words = [0xd280_0000 | code << 5, 0xd280_0000 | 94 << 5 | 8, 0xd400_0001];
            (183, words.map(u32::to_le_bytes).concat())
        }
        _ => return None,
    };
    Some([elf_headers(machine, code.len() as u64), code].concat())
}

fn elf_headers(machine: u16, code_bytes: u64) -> Vec<u8> {
    let file_bytes = HEADERS_BYTES + code_bytes;
    let mut headers = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut short = |value: u16| headers.extend_from_slice(&value.to_le_bytes());
    [2, machine].into_iter().for_each(&mut short); // executable
    headers.extend_from_slice(&1_u32.to_le_bytes());
    let mut long = |value: u64| headers.extend_from_slice(&value.to_le_bytes());
    [LOAD_ADDRESS + HEADERS_BYTES, 64, 0].into_iter().for_each(&mut long); // entry, program headers, no sections
    headers.extend_from_slice(&0_u32.to_le_bytes());
    let mut short = |value: u16| headers.extend_from_slice(&value.to_le_bytes());
    [64, 56, 1, 64, 0, 0].into_iter().for_each(&mut short); // sizes and numbers of headers
    let mut word = |value: u32| headers.extend_from_slice(&value.to_le_bytes());
    [1, 5].into_iter().for_each(&mut word); // a segment to load, readable and executable
    let mut long = |value: u64| headers.extend_from_slice(&value.to_le_bytes());
    // Offset, both addresses, both sizes, and an alignment that suits every page size.
    [0, LOAD_ADDRESS, LOAD_ADDRESS, file_bytes, file_bytes, 0x1_0000].into_iter().for_each(&mut long);
    headers
}

fn write_executable(path: &Path, program: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(path)?;
    file.write_all(program)?;
    file.set_permissions(Permissions::from_mode(0o700))
}

struct Forks {
    made: Made,
    /// Its path, as the system takes it.
    program: CString,
    processes: u64,
}

impl Forks {
    fn make(path: PathBuf, program: &[u8], processes: u64) -> Result<Self, WorkloadError> {
        let name = CString::new(path.as_os_str().as_bytes());
        let name = name.map_err(|error| WorkloadError::system("naming the program of kernel.fork", error))?;
        let made = Made::by(path, |path| write_executable(path, program))?;
        Ok(Self { made, program: name, processes })
    }

    fn try_one(&self) -> Result<(), WorkloadError> {
        let status = self.start_and_wait()?;
        if status == Some(Errno::EACCES as i32) {
            let folder = self.made.path().parent().unwrap_or(Path::new("/")).display();
            return Err(WorkloadError::Missing(format!(
                "no program can be started from {folder}: is it mounted noexec?"
            )));
        }
        self.check(status)
    }

    /// The exit code; `None` if there was none. A child that got so far either runs the program or exits.
    #[inline]
    fn start_and_wait(&self) -> Result<Option<i32>, WorkloadError> {
        let started = fork_exec(&self.program);
        let process = started.map_err(|error| WorkloadError::system("forking a process of kernel.fork", error))?;
        loop {
            match waitpid(process, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Some(code)),
                Ok(_) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(WorkloadError::system("waiting for a process of kernel.fork", error)),
            }
        }
    }

    #[inline]
    fn check(&self, status: Option<i32>) -> Result<(), WorkloadError> {
        if status == Some(i32::from(EXIT_CODE)) {
            return Ok(());
        }
        let end = match status {
            Some(code) => format!("with {code} ({})", Errno::from_raw(code).desc()),
            None => "by a signal".to_owned(),
        };
        Err(WorkloadError::Wrong(format!("{} ended {end} and not with {EXIT_CODE}", self.made.path().display())))
    }
}

impl Prepared for Forks {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        for _ in 0..self.processes {
            let status = self.start_and_wait()?;
            self.check(status)?;
        }
        Ok(self.processes as f64)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.made.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::alone;

    fn forks(folder: &Path, program: &[u8]) -> Forks {
        Forks::make(folder.join("kernel.fork"), program, 3).unwrap()
    }

    #[test]
    fn a_program_that_is_replaced_removed_or_broken_is_an_error() {
        let _alone = alone();
        let folder = crate::workload::tests::folder();
        let Some(mut bytes) = program(ARCH) else { return };
        assert!(bytes.len() < 200, "{}", bytes.len());
        let mut forks = forks(folder.path(), &bytes);
        assert_eq!(forks.unit(&mut Recorder::default()).unwrap(), 3.0);
        let error = |forks: &mut Forks| forks.unit(&mut Recorder::default()).unwrap_err().to_string();

        let place = bytes.iter().rposition(|byte| *byte == EXIT_CODE);
        if let Some(place) = place {
            bytes[place] = 42;
            write_executable(forks.made.path(), &bytes).unwrap();
            assert!(error(&mut forks).contains("ended with 42"));
            // The last byte of either program is in the instruction that makes the call.
            *bytes.last_mut().unwrap() = 0x0b;
            write_executable(forks.made.path(), &bytes).unwrap();
            assert!(error(&mut forks).contains("ended by a signal"));
        }
        write_executable(forks.made.path(), b"").unwrap();
        assert!(error(&mut forks).contains("ended with 8 (Exec format error)"));
        forks.clean_up().unwrap();
        assert!(error(&mut forks).contains("ended with 2 (No such file or directory)"));
    }

    #[test]
    fn a_folder_from_which_no_program_starts_is_missing_something() {
        let _alone = alone();
        let folder = crate::workload::tests::folder();
        let Some(bytes) = program(ARCH) else { return };
        let forks = forks(folder.path(), &bytes);
        forks.try_one().unwrap();
        // Without the x bit exec is refused to root too, with the same error as on a noexec mount.
        std::fs::set_permissions(forks.made.path(), Permissions::from_mode(0o600)).unwrap();
        let error = forks.try_one().unwrap_err();
        assert!(matches!(&error, WorkloadError::Missing(message) if message.contains("noexec")), "{error}");
    }

    #[test]
    fn each_architecture_has_its_instructions_and_others_have_no_program() {
        let code = |architecture| program(architecture).map(|bytes| bytes[HEADERS_BYTES as usize..].to_vec());
        assert_eq!(code("x86_64").unwrap(), [0xbf, 173, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05]);
        // As an assembler writes `mov x0, #173; mov x8, #94; svc #0`.
        let words = [0xd280_15a0_u32, 0xd280_0bc8, 0xd400_0001];
        assert_eq!(code("aarch64").unwrap(), words.map(u32::to_le_bytes).concat());
        assert_eq!(code("mips"), None);
    }

    #[test]
    fn the_headers_describe_the_whole_file() {
        let headers = elf_headers(62, 12);
        assert_eq!(headers.len() as u64, HEADERS_BYTES);
        assert_eq!(headers[18], 62);
        assert_eq!(headers[24..32], (LOAD_ADDRESS + HEADERS_BYTES).to_le_bytes());
        assert_eq!(headers[96..104], (HEADERS_BYTES + 12).to_le_bytes());
    }
}
