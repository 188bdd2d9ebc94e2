//! Whether KVM really executes a guest here. That /dev/kvm opens and its API answers says little: a host that is itself
//! a virtual machine may interpret its guests, so slowly that no kernel ever boots.
//!
//! So a guest is tried: 34 bytes in the place of a BIOS that count down and report after every round, timed from
//! outside and compared with the same loop on the host. It is killed when its time is up, whatever it does. Nothing is
//! left on the host: the program lies in an anonymous file, and the socket has no name in the file system.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::arguments::Accelerator;
use super::sys;
use crate::clock;
use crate::launch::process::run_tool;
use crate::sample::{Cause, Failure};

/// How long the trial may take, with QEMU's own start, which takes 0.1 to 0.3 s.
const TRIAL_TIME_MAX: Duration = Duration::from_millis(1300);
/// Iterations of one round: about 3 ms on a CPU.
const ROUND_ITERATIONS: u32 = 10_000_000;
/// Rounds that the guest runs; the fastest counts, so that one undisturbed round is enough.
const ROUNDS: u8 = 16;
/// A guest that needs at most this many times the host's time for a loop that never leaves the CPU is executed by it.
/// QEMU's translator needs about ten times as long, an interpreter hundreds of times.
const SLOWDOWN_MAX: f64 = 4.0;
/// Port of QEMU's debug console; what is written there comes out of the socket.
const CONSOLE_PORT: u16 = 0x402;
/// Port of QEMU's exit device; writing anything there ends QEMU.
const EXIT_PORT: u16 = 0x501;

/// What the trial found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Who is to execute guests here.
    pub(super) accelerator: Accelerator,
    /// Why, one line.
    pub(super) detail: String,
}

/// Whether KVM serves here; tried once per process.
pub(super) fn verdict(qemu: &Path) -> &'static Verdict {
    static VERDICT: OnceLock<Verdict> = OnceLock::new();
    VERDICT.get_or_init(|| match try_kvm(qemu) {
        Ok((native, trial)) => judge(native, &trial),
        Err(failure) => translated(format!("kvm: {}", failure.message)),
    })
}

/// What a guest was seen to do.
#[derive(Debug, Clone, PartialEq)]
struct Trial {
    /// Time between two reports, each.
    rounds: Vec<Duration>,
    /// How it was when the trial ended.
    end: End,
}

#[derive(Debug, Clone, PartialEq)]
enum End {
    /// It said all that it had to say.
    Finished,
    /// It was still running, or still starting.
    Killed,
    /// QEMU ended before that; its words.
    Failed(String),
}

fn judge(native: Duration, trial: &Trial) -> Verdict {
    let Some(best) = trial.rounds.iter().min() else {
        return translated(match &trial.end {
            End::Failed(words) => format!("kvm: QEMU ended at once: {words}"),
            _ => format!(
                "kvm: a guest that only counts made no progress in {:.1} s; this host does not execute guests on its CPU",
                TRIAL_TIME_MAX.as_secs_f64()
            ),
        });
    };
    let slowdown = best.as_secs_f64() / native.as_secs_f64().max(1e-9);
    if slowdown <= SLOWDOWN_MAX {
        let detail = format!("kvm: a guest counts at {:.2} of the host's speed", 1.0 / slowdown);
        return Verdict { accelerator: Accelerator::Kvm, detail };
    }
    translated(format!("kvm: a guest that only counts ran {slowdown:.0} times slower than the host itself"))
}

fn translated(detail: String) -> Verdict {
    Verdict { accelerator: Accelerator::Tcg, detail }
}

/// The host's time for one round, and the guest's trial.
fn try_kvm(qemu: &Path) -> Result<(Duration, Trial), Failure> {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    device.map_err(|error| Failure::from(error).while_doing("/dev/kvm"))?;
    Ok((native_round(), run_trial(qemu, Accelerator::Kvm)?))
}

/// The fastest of as many rounds as the guest runs.
fn native_round() -> Duration {
    let round = || {
        let start = clock::now();
        sys::count_down(ROUND_ITERATIONS);
        start.elapsed()
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

fn run_trial(qemu: &Path, accelerator: Accelerator) -> Result<Trial, Failure> {
    let refused = |error: nix::Error| Failure::from(std::io::Error::from(error)).while_doing("trying a guest");
    let mut program = std::fs::File::from(memfd_create(c"plimsoll-trial", MFdFlags::MFD_CLOEXEC).map_err(refused)?);
    program.write_all(&firmware())?;
    let name = format!("plimsoll-trial-{}-{}", std::process::id(), program.as_raw_fd());
    let address = SocketAddr::from_abstract_name(&name)?;
    let listener = UnixListener::bind_addr(&address)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), program.as_raw_fd());
    let arguments = trial_arguments(accelerator, &path, &name);
    let program = qemu.display().to_string();
    let argv: Vec<&str> = std::iter::once(program.as_str()).chain(arguments.iter().map(String::as_str)).collect();
    let deadline = clock::now() + TRIAL_TIME_MAX;
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| listen(&listener, deadline));
        let ended = run_tool(&argv, TRIAL_TIME_MAX, crate::interrupt::requested);
        // A QEMU that ended before it connected: the listener gets a connection that ends at once.
        drop(UnixStream::connect_addr(&address));
        let reports = listening.join().unwrap_or_default();
        let rounds: Vec<Duration> = reports.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
        let end = match ended {
            Err(failure) if failure.cause == Cause::Timeout => End::Killed,
            Err(failure) => return Err(failure),
            Ok(_) if rounds.len() == usize::from(ROUNDS) => End::Finished,
            Ok(output) => End::Failed(output.stderr.lines().last().unwrap_or("it said nothing").to_owned()),
        };
        Ok(Trial { rounds, end })
    })
}

fn trial_arguments(accelerator: Accelerator, firmware: &str, socket: &str) -> Vec<String> {
    let machine = format!("q35,accel={}", accelerator.name());
    let socket = format!("socket,id=reports,path={socket},abstract=on,server=off");
    let console = format!("isa-debugcon,iobase={CONSOLE_PORT:#x},chardev=reports");
    let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1");
    let line = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", &machine, "-m", "16"];
    let devices = ["-bios", firmware, "-chardev", &socket, "-device", &console, "-device", &exit];
    line.iter().chain(&devices).map(ToString::to_string).collect()
}

/// When each report came. Ends with the connection, or at the deadline.
fn listen(listener: &UnixListener, deadline: Instant) -> Vec<Instant> {
    let mut reports = Vec::new();
    let Ok(Some(mut stream)) = accept(listener, deadline) else { return reports };
    let mut report = [0];
    while wait_readable(&stream, deadline) {
        match stream.read(&mut report) {
            Ok(1) => reports.push(clock::now()),
            Ok(_) => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    reports
}

fn accept(listener: &UnixListener, deadline: Instant) -> std::io::Result<Option<UnixStream>> {
    if wait_readable(listener, deadline) { listener.accept().map(|(stream, _)| Some(stream)) } else { Ok(None) }
}

/// Whether there is something to read before the deadline.
fn wait_readable(fd: &impl AsFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(clock::now()).as_millis();
    let mut waits = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut waits, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)).is_ok_and(|count| count > 0)
}

/// A BIOS of 64 KiB, mapped so that it ends where a PC's first instruction lies: 16 bytes before the end of its address
/// space. Real mode is executed directly by every CPU since 2010 that has virtualisation at all.
fn firmware() -> Vec<u8> {
    const BYTES: usize = 0x1_0000;
    const RESET: usize = BYTES - 16;
    let [iterations_0, iterations_1, iterations_2, iterations_3] = ROUND_ITERATIONS.to_le_bytes();
    let ([console_0, console_1], [exit_0, exit_1]) = (CONSOLE_PORT.to_le_bytes(), EXIT_PORT.to_le_bytes());
    #[rustfmt::skip]
    let code = [
        0xb3, ROUNDS + 1,                                                      //        mov bl, rounds + 1
        0xba, console_0, console_1,                                            // round: mov dx, console
        0xee,                                                                  //        out dx, al
        0x66, 0xb9, iterations_0, iterations_1, iterations_2, iterations_3,    //        mov ecx, iterations
        0x66, 0x49,                                                            // count: dec ecx
        0x75, 0xfc,                                                            //        jnz count
        0xfe, 0xcb,                                                            //        dec bl
        0x75, 0xee,                                                            //        jnz round
        0xba, exit_0, exit_1,                                                  //        mov dx, exit
        0xee,                                                                  //        out dx, al
        0xf4,                                                                  // halt:  hlt
        0xeb, 0xfd,                                                            //        jmp halt
    ];
    let code_at = RESET - code.len();
    let mut image = vec![0xf4; BYTES];
    image[code_at..RESET].copy_from_slice(&code);
    let back = -i16::try_from(code.len() + 3).unwrap_or(i16::MAX);
    let [back_0, back_1] = back.to_le_bytes();
    image[RESET..RESET + 3].copy_from_slice(&[0xe9, back_0, back_1]);
    image
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn judged(rounds: &[Duration], end: End) -> Verdict {
        judge(3 * MS, &Trial { rounds: rounds.to_vec(), end })
    }

    #[test]
    fn a_guest_near_the_host_s_speed_is_executed_by_the_cpu() {
        let verdict = judged(&[90 * MS, 4 * MS, 30 * MS], End::Finished);
        assert_eq!(verdict.accelerator, Accelerator::Kvm);
        assert_eq!(verdict.detail, "kvm: a guest counts at 0.75 of the host's speed");
    }

    #[test]
    fn a_guest_far_below_the_host_s_speed_is_not() {
        let verdict = judged(&[300 * MS, 330 * MS], End::Killed);
        assert_eq!(verdict.accelerator, Accelerator::Tcg);
        assert_eq!(verdict.detail, "kvm: a guest that only counts ran 100 times slower than the host itself");
    }

    #[test]
    fn a_guest_that_reports_nothing_is_not_and_the_words_say_why() {
        assert!(judged(&[], End::Killed).detail.contains("made no progress in 1.3 s"));
        let failed = judged(&[], End::Failed("no such CPU".into()));
        assert_eq!(failed.detail, "kvm: QEMU ended at once: no such CPU");
    }

    #[test]
    fn the_guest_runs_all_its_rounds_under_qemu_s_translator() {
        let Some(qemu) = testing::qemu() else { return };
        let trial = run_trial(&qemu, Accelerator::Tcg).unwrap();
        assert!(!trial.rounds.is_empty(), "{trial:?}");
        assert!(matches!(trial.end, End::Finished | End::Killed), "{trial:?}");
        assert!(trial.rounds.iter().min() > Some(&native_round()), "translated code cannot be as fast as the CPU");
    }

    #[test]
    fn the_verdict_is_there_within_its_bound() {
        let Some(qemu) = testing::qemu() else { return };
        let verdict = verdict(&qemu);
        assert!(verdict.detail.starts_with("kvm: "), "{verdict:?}");
    }
}
