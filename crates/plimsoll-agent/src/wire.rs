//! A byte stream over two file descriptors, with a deadline and an ear for interruption.
//!
//! Pipes, sockets and virtio-serial ports all fit; the descriptors are made non-blocking and every wait is a poll.
//!
//! A virtio-serial port to which the host has not connected yet reads as ended and polls as hung up, at once and for
//! ever. So on a character device that is no terminal the end counts only after something was heard; before that it
//! is waited out in short steps:
//!
//! ```text
//! nobody yet --first byte--> heard --hang-up--> ended        pipes and sockets begin as "heard"
//! ```

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{dup2_stdin, dup2_stdout};

/// How often a wait asks whether it was interrupted.
const POLL_STEP: Duration = Duration::from_millis(100);
/// How often a port without a listener is looked at; polling it would return at once.
const ABSENT_STEP: Duration = Duration::from_millis(10);

/// An ordered byte stream in both directions. A read or write that does not finish by the deadline fails with
/// [`io::ErrorKind::TimedOut`], one that is interrupted with [`io::ErrorKind::ConnectionAborted`].
#[derive(Debug)]
pub struct Wire {
    reader: OwnedFd,
    writer: OwnedFd,
    deadline: Option<Instant>,
    interrupted: fn() -> bool,
    /// Whether a hang-up means that somebody was there before.
    heard: bool,
}

impl Wire {
    /// Joins a readable and a writable descriptor. `interrupted` is asked at least every 100 ms while waiting.
    ///
    /// The descriptors become non-blocking, and so does every other descriptor of the same open file.
    ///
    /// # Errors
    /// When the descriptors cannot be made non-blocking.
    pub fn new(reader: OwnedFd, writer: OwnedFd, interrupted: fn() -> bool) -> io::Result<Self> {
        set_nonblocking(reader.as_fd())?;
        set_nonblocking(writer.as_fd())?;
        let heard = !is_port(&reader)?;
        Ok(Self { reader, writer, deadline: None, interrupted, heard })
    }

    /// Takes over standard input and output. From then on standard input is empty and standard output goes where
    /// standard error goes, so that neither a stray print nor a child can corrupt frames.
    ///
    /// # Errors
    /// When the descriptors cannot be duplicated.
    pub fn from_stdio(interrupted: fn() -> bool) -> io::Result<Self> {
        let reader = io::stdin().as_fd().try_clone_to_owned()?;
        let writer = io::stdout().as_fd().try_clone_to_owned()?;
        dup2_stdout(io::stderr())?;
        if let Ok(null) = File::open("/dev/null") {
            dup2_stdin(null)?;
        }
        Self::new(reader, writer, interrupted)
    }

    /// From now on reads and writes together may take this long; `None` waits for ever.
    pub fn allow(&mut self, time: Option<Duration>) {
        self.deadline = time.map(|time| Instant::now() + time);
    }

    /// Gives the descriptors back, the readable one first; they stay non-blocking.
    #[must_use]
    pub fn into_fds(self) -> (OwnedFd, OwnedFd) {
        (self.reader, self.writer)
    }

    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(crate) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// How long the next wait may be; fails when there is no time left.
    fn step(&self, longest: Duration) -> io::Result<PollTimeout> {
        if self.is_interrupted() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted"));
        }
        let left = match self.deadline {
            None => longest,
            Some(deadline) => deadline.saturating_duration_since(Instant::now()).min(longest),
        };
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the other end did not answer in time"));
        }
        // Rounded up: a wait of zero milliseconds would be a busy loop.
        let milliseconds = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        Ok(PollTimeout::from(milliseconds))
    }

    fn wait(&self, descriptor: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<()> {
        let found = poll_one(descriptor, wanted, self.step(POLL_STEP)?)?;
        if !found.contains(PollFlags::POLLHUP) || found.intersects(wanted) {
            return Ok(());
        }
        match self.heard {
            false => self.linger(),
            // A port that the host has left never accepts bytes and never says so: trying again would spin.
            true if wanted == PollFlags::POLLOUT => Err(io::ErrorKind::BrokenPipe.into()),
            true => Ok(()),
        }
    }

    /// Waits one short step without asking a descriptor that would answer at once.
    fn linger(&self) -> io::Result<()> {
        match poll(&mut [], self.step(ABSENT_STEP)?) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn nobody_yet(&self) -> io::Result<bool> {
        let found = || poll_one(self.reader(), PollFlags::POLLIN, PollTimeout::ZERO);
        Ok(!self.heard && found()?.contains(PollFlags::POLLHUP))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match nix::unistd::read(&self.reader, buffer) {
                Ok(0) if self.nobody_yet()? => self.linger()?,
                Ok(count) => {
                    self.heard |= count > 0;
                    return Ok(count);
                }
                Err(Errno::EAGAIN) => self.wait(self.reader(), PollFlags::POLLIN)?,
                Err(Errno::EINTR) => drop(self.step(POLL_STEP)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(&self.writer, buffer) {
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) => self.wait(self.writer(), PollFlags::POLLOUT)?,
                Err(Errno::EINTR) => drop(self.step(POLL_STEP)?),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn set_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// A character device that is no terminal: a virtio-serial port, for all we know.
fn is_port(descriptor: &OwnedFd) -> io::Result<bool> {
    let kind = File::from(descriptor.try_clone()?).metadata()?.file_type();
    Ok(kind.is_char_device() && !descriptor.is_terminal())
}

fn poll_one(descriptor: BorrowedFd<'_>, wanted: PollFlags, timeout: PollTimeout) -> io::Result<PollFlags> {
    let mut descriptors = [PollFd::new(descriptor, wanted)];
    match poll(&mut descriptors, timeout) {
        Ok(_) => Ok(descriptors[0].revents().unwrap_or(PollFlags::empty())),
        Err(Errno::EINTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{UsageWho, getrusage};
    use plimsoll_protocol::{Cause, FRAME_BYTES_MAX, FrameError, Reply, read_frame, write_frame};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    fn over(stream: UnixStream) -> Wire {
        Wire::new(stream.try_clone().unwrap().into(), stream.into(), || false).unwrap()
    }

    fn pipes() -> (Wire, Wire) {
        let (left_reads, right_writes) = nix::unistd::pipe().unwrap();
        let (right_reads, left_writes) = nix::unistd::pipe().unwrap();
        (Wire::new(left_reads, left_writes, || false).unwrap(), Wire::new(right_reads, right_writes, || false).unwrap())
    }

    fn big(letter: &str) -> Reply {
        Reply::Failed { cause: Cause::Workload, message: letter.repeat(FRAME_BYTES_MAX as usize - 64) }
    }

    #[test]
    fn a_read_fails_at_its_deadline_and_not_before() {
        let (mut wire, _other) = pipes();
        wire.allow(Some(Duration::from_millis(130)));
        let start = Instant::now();
        let error = wire.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(130), "{:?}", start.elapsed());
    }

    #[test]
    fn bytes_that_trickle_do_not_move_the_deadline() {
        let (mut wire, mut other) = pipes();
        let feeder = thread::spawn(move || {
            for _ in 0..20 {
                other.write_all(b"P").unwrap();
                thread::sleep(Duration::from_millis(30));
            }
            other
        });
        wire.allow(Some(Duration::from_millis(150)));
        let error = wire.read_exact(&mut [0; 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(feeder.join().unwrap());
    }

    #[test]
    fn a_write_that_nobody_drains_fails_at_its_deadline() {
        let (mut wire, _other) = pipes();
        wire.allow(Some(Duration::from_millis(50)));
        let error = write_frame(&mut wire, &big("x")).unwrap_err();
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        assert!(matches!(&error, FrameError::Stream(error) if timed_out(error)), "{error}");
    }

    #[test]
    fn an_interruption_ends_a_wait_that_has_no_deadline() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let (reader, _held) = nix::unistd::pipe().unwrap();
        let (_held_too, writer) = nix::unistd::pipe().unwrap();
        let mut wire = Wire::new(reader, writer, || STOP.load(Ordering::Relaxed)).unwrap();
        let waiting = thread::spawn(move || wire.read(&mut [0; 8]).unwrap_err().kind());
        thread::sleep(Duration::from_millis(50));
        STOP.store(true, Ordering::Relaxed);
        let asked = Instant::now();
        assert_eq!(waiting.join().unwrap(), io::ErrorKind::ConnectionAborted);
        assert!(asked.elapsed() < Duration::from_millis(1000), "{:?}", asked.elapsed());
    }

    #[test]
    fn the_end_of_the_stream_reads_as_zero_bytes() {
        let (mut wire, other) = pipes();
        drop(other);
        assert_eq!(wire.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(wire.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_largest_frames_cross_pipes_and_sockets_in_both_directions_at_once() {
        let (left, right) = UnixStream::pair().unwrap();
        for (mut left, mut right) in [pipes(), (over(left), over(right))] {
            let answering = thread::spawn(move || {
                let got: Reply = read_frame(&mut right).unwrap();
                write_frame(&mut right, &big("r")).unwrap();
                got
            });
            left.allow(Some(Duration::from_secs(20)));
            write_frame(&mut left, &big("l")).unwrap();
            assert_eq!(read_frame::<Reply>(&mut left).unwrap(), big("r"));
            assert_eq!(answering.join().unwrap(), big("l"));
        }
    }

    /// A FIFO whose writer left reads as ended and polls as hung up, as a port without a host does.
    #[test]
    fn a_port_without_a_host_is_waited_for_without_spinning_and_ends_once_it_was_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let open = |flags| nix::fcntl::open(&path, flags, nix::sys::stat::Mode::empty()).unwrap();
        let reader = open(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        drop(open(OFlag::O_WRONLY));
        let mut wire = Wire::new(reader.try_clone().unwrap(), reader, || false).unwrap();
        wire.heard = false;

        wire.allow(Some(Duration::from_millis(300)));
        let before = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        assert_eq!(wire.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let after = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        let waits = after.voluntary_context_switches() - before.voluntary_context_switches();
        assert!((3..=100).contains(&waits), "{waits} waits in 300 ms");

        let mut late = File::from(open(OFlag::O_WRONLY));
        late.write_all(b"hi").unwrap();
        drop(late);
        wire.allow(Some(Duration::from_secs(5)));
        let mut text = String::new();
        wire.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }

    /// The readable end of a pipe without a writer polls as a port does that the host has left: hung up, never writable.
    #[test]
    fn a_port_that_was_left_breaks_a_write_and_one_without_a_host_is_waited_for() {
        let (left, _) = nix::unistd::pipe().unwrap();
        let (mut wire, _other) = pipes();
        let error = wire.wait(left.as_fd(), PollFlags::POLLOUT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        wire.heard = false;
        let start = Instant::now();
        wire.wait(left.as_fd(), PollFlags::POLLOUT).unwrap();
        assert!(start.elapsed() >= ABSENT_STEP);
    }

    #[test]
    fn an_empty_device_is_at_its_end_and_not_waited_for() {
        let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
        let mut wire = Wire::new(null.try_clone().unwrap(), null, || false).unwrap();
        wire.allow(Some(Duration::from_secs(5)));
        assert_eq!(wire.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn the_descriptors_come_back() {
        let (wire, mut other) = pipes();
        let (_reader, writer) = wire.into_fds();
        nix::unistd::write(&writer, b"x").unwrap();
        assert_eq!(other.read(&mut [0; 8]).unwrap(), 1);
    }
}
