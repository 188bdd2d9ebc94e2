//! Copies bytes both ways between the host and an agent further in, until either side closes.
//!
//! It blocks in poll, holds at most one buffer per direction, looks into no frame and reads no clock: while a slice
//! runs further in, it sleeps.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::wire::Wire;

const BUFFER_BYTES: usize = 64 * 1024;
/// How often it asks whether it was interrupted; a signal ends a poll anyway, so this only covers a race.
const STEP_MS: u16 = 1000;

/// Returns when either side has closed, or on an interruption.
///
/// # Errors
/// When polling itself fails; a side that breaks counts as closed.
pub(crate) fn relay(outer: &Wire, inner: &Wire) -> nix::Result<()> {
    let mut lanes = [Lane::new(outer.reader(), inner.writer()), Lane::new(inner.reader(), outer.writer())];
    while !outer.is_interrupted() && !inner.is_interrupted() {
        let mut waits = [lanes[0].wait(), lanes[1].wait()];
        match poll(&mut waits, PollTimeout::from(STEP_MS)) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        }
        let found = waits.map(|wait| wait.revents().unwrap_or(PollFlags::empty()));
        for (lane, found) in lanes.iter_mut().zip(found) {
            if !found.is_empty() && lane.advance(found) == Flow::Closed {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Open,
    Closed,
}

/// One direction: reads only when everything read before is written, so nothing is lost when the source ends.
struct Lane<'fd> {
    from: BorrowedFd<'fd>,
    to: BorrowedFd<'fd>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<'fd> Lane<'fd> {
    fn new(from: BorrowedFd<'fd>, to: BorrowedFd<'fd>) -> Self {
        Self { from, to, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn wait(&self) -> PollFd<'fd> {
        if self.is_empty() {
            PollFd::new(self.from, PollFlags::POLLIN)
        } else {
            PollFd::new(self.to, PollFlags::POLLOUT)
        }
    }

    /// Does what poll said is possible. A hang-up with nothing left to move is the end: polling again would spin.
    fn advance(&mut self, found: PollFlags) -> Flow {
        let moved = if self.is_empty() { self.fill() } else { self.drain() };
        match moved {
            Ok(0) => Flow::Closed,
            Ok(_) if self.is_empty() => Flow::Open,
            Ok(_) => self.drain_at_once(),
            Err(Errno::EAGAIN | Errno::EINTR) if !found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) => {
                Flow::Open
            }
            Err(_) => Flow::Closed,
        }
    }

    /// Saves a poll for what was just read; if the target is full, the next poll waits for it.
    fn drain_at_once(&mut self) -> Flow {
        match self.drain() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Flow::Open,
            Err(_) => Flow::Closed,
        }
    }

    fn fill(&mut self) -> nix::Result<usize> {
        let count = nix::unistd::read(self.from, &mut self.buffer)?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    fn drain(&mut self) -> nix::Result<usize> {
        let count = nix::unistd::write(self.to, &self.buffer[self.start..self.end])?;
        self.start += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    fn over(stream: &UnixStream) -> Wire {
        let copy = || stream.try_clone().unwrap().into();
        Wire::new(copy(), copy(), || false).unwrap()
    }

    /// The two far ends, and the relay between them in a thread.
    fn relayed() -> (UnixStream, UnixStream, thread::JoinHandle<nix::Result<()>>) {
        let (host, outer) = UnixStream::pair().unwrap();
        let (inner, agent) = UnixStream::pair().unwrap();
        let between = thread::spawn(move || {
            let wires = (over(&outer), over(&inner));
            drop((outer, inner));
            relay(&wires.0, &wires.1)
        });
        (host, agent, between)
    }

    #[test]
    fn bytes_cross_both_ways_at_once_and_in_order() {
        let (mut host, mut agent, between) = relayed();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index / 251) as u8).collect();
        let echo = thread::spawn(move || {
            let mut buffer = vec![0; 10_000];
            while let Ok(count @ 1..) = agent.read(&mut buffer) {
                agent.write_all(&buffer[..count]).unwrap();
            }
        });
        let mut sender = host.try_clone().unwrap();
        let sent = bytes.clone();
        let sending = thread::spawn(move || sender.write_all(&sent).unwrap());
        let mut got = vec![0; bytes.len()];
        host.read_exact(&mut got).unwrap();
        assert!(got == bytes, "the echo differs");
        sending.join().unwrap();
        drop(host);
        between.join().unwrap().unwrap();
        echo.join().unwrap();
    }

    #[test]
    fn the_last_words_of_the_inner_side_arrive() {
        let (mut host, mut agent, between) = relayed();
        agent.write_all(&[7; 100_000]).unwrap();
        drop(agent);
        let mut got = Vec::new();
        host.read_to_end(&mut got).unwrap();
        assert_eq!(got, [7; 100_000]);
        between.join().unwrap().unwrap();
    }

    #[test]
    fn an_interruption_ends_it() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let (_host, outer) = UnixStream::pair().unwrap();
        let (inner, _agent) = UnixStream::pair().unwrap();
        let outer =
            Wire::new(outer.try_clone().unwrap().into(), outer.into(), || STOP.load(Ordering::Relaxed)).unwrap();
        let between = thread::spawn(move || relay(&outer, &over(&inner)));
        STOP.store(true, Ordering::Relaxed);
        let start = Instant::now();
        between.join().unwrap().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}
