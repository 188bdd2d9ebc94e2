//! QEMU's machine protocol (QMP): one JSON object per line, each way. Only what is needed, every wait bounded.
//!
//! Events that QEMU sends by itself are read and dropped: what happened to the guest is seen from its process and its
//! byte stream.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use plimsoll_agent::wire::Wire;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sample::{Cause, Failure};

/// How long QEMU may take to answer one command; `stop` takes 0.4 ms when the host is idle.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a QEMU that is asked to end may take to say that it will.
const QUIT_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest line that is accepted, bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most events that may come before an answer.
const EVENTS_MAX: usize = 1000;

/// A connection to a running QEMU that has agreed on its capabilities.
#[derive(Debug)]
pub(super) struct Qmp {
    wire: Wire,
    unread: Vec<u8>,
    version: String,
}

/// One line from QEMU.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return")]
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// A block device as QEMU has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockSeen {
    /// Format of its file.
    pub(super) format: String,
    /// Its size for the guest, bytes.
    pub(super) bytes: u64,
    /// Whether the guest is told of a cache.
    pub(super) writeback: bool,
    /// Whether the host's page cache is gone past.
    pub(super) direct: bool,
    /// Whether flushes are ignored.
    pub(super) no_flush: bool,
}

impl Qmp {
    /// Takes a fresh connection through greeting and capabilities.
    ///
    /// # Errors
    /// When the other end is silent, gone, or no QEMU.
    pub(super) fn greet(wire: Wire) -> Result<Self, Failure> {
        let mut qmp = Self { wire, unread: Vec::new(), version: String::new() };
        qmp.wire.allow(Some(ANSWER_TIME_MAX));
        let greeting = qmp.line()?.greeting.ok_or_else(|| protocol("qmp: the first line is no greeting".to_owned()))?;
        let number = &greeting["version"]["qemu"];
        let part = |name: &str| number[name].as_u64().map_or_else(|| "?".to_owned(), |part| part.to_string());
        qmp.version = format!("{}.{}.{}", part("major"), part("minor"), part("micro"));
        qmp.command("qmp_capabilities")?;
        Ok(qmp)
    }

    /// QEMU's version, such as `7.2.22`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Stops all vCPUs; the guest's clock stands still.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.command("stop").map(drop)
    }

    /// Lets the vCPUs run again.
    pub(super) fn cont(&mut self) -> Result<(), Failure> {
        self.command("cont").map(drop)
    }

    /// The machine's state, such as `running` or `paused`.
    pub(super) fn status(&mut self) -> Result<String, Failure> {
        let status = self.command("query-status")?;
        Ok(status["status"].as_str().unwrap_or("unknown").to_owned())
    }

    /// How many vCPUs there are.
    pub(super) fn cpus(&mut self) -> Result<usize, Failure> {
        Ok(self.command("query-cpus-fast")?.as_array().map_or(0, Vec::len))
    }

    /// Whether the CPU itself executes the guest.
    pub(super) fn uses_kvm(&mut self) -> Result<bool, Failure> {
        Ok(self.command("query-kvm")?["enabled"].as_bool().unwrap_or(false))
    }

    /// The block device of this name.
    pub(super) fn block(&mut self, name: &str) -> Result<BlockSeen, Failure> {
        let all = self.command("query-block")?;
        let found = all.as_array().into_iter().flatten().find(|block| block["device"] == name);
        let inserted = &found.ok_or_else(|| protocol(format!("qmp `query-block`: no device `{name}`")))?["inserted"];
        let flag = |flag: &str| inserted["cache"][flag].as_bool();
        let read = || {
            Some(BlockSeen {
                format: inserted["drv"].as_str()?.to_owned(),
                bytes: inserted["image"]["virtual-size"].as_u64()?,
                writeback: flag("writeback")?,
                direct: flag("direct")?,
                no_flush: flag("no-flush")?,
            })
        };
        read().ok_or_else(|| protocol(format!("qmp `query-block`: device `{name}` is not described")))
    }

    /// A property of a device that was given an id; empty where it is not set.
    pub(super) fn property(&mut self, id: &str, name: &str) -> Result<String, Failure> {
        let arguments = json!({ "path": format!("/machine/peripheral/{id}"), "property": name });
        let found = self.command_with("qom-get", Some(arguments), ANSWER_TIME_MAX)?;
        Ok(found.as_str().unwrap_or_default().to_owned())
    }

    /// Asks QEMU to end; its process is waited for elsewhere.
    pub(super) fn quit(&mut self) -> Result<(), Failure> {
        self.command_with("quit", None, QUIT_TIME_MAX).map(drop)
    }

    fn command(&mut self, name: &str) -> Result<Value, Failure> {
        self.command_with(name, None, ANSWER_TIME_MAX)
    }

    fn command_with(&mut self, name: &str, arguments: Option<Value>, time: Duration) -> Result<Value, Failure> {
        self.wire.allow(Some(time));
        self.exchange(name, arguments).map_err(|failure| failure.while_doing(&format!("qmp `{name}`")))
    }

    fn exchange(&mut self, name: &str, arguments: Option<Value>) -> Result<Value, Failure> {
        let mut command = json!({ "execute": name });
        if let Some(arguments) = arguments {
            command["arguments"] = arguments;
        }
        let line = format!("{command}\n");
        self.wire.write_all(line.as_bytes()).map_err(|error| stream(&error))?;
        for _ in 0..EVENTS_MAX {
            match self.line()? {
                Line { error: Some(refusal), .. } => return Err(Failure::launch(refusal.desc)),
                Line { result: Some(result), .. } => return Ok(result),
                _ => {}
            }
        }
        Err(protocol(format!("more than {EVENTS_MAX} events and no answer")))
    }

    fn line(&mut self) -> Result<Line, Failure> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| protocol(format!("no QMP: {error}")));
            }
            if self.unread.len() > LINE_BYTES_MAX {
                return Err(protocol(format!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            let mut chunk = [0; 4096];
            match self.wire.read(&mut chunk) {
                Ok(0) => return Err(Failure::new(Cause::Died, "QEMU closed its control connection")),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(stream(&error)),
            }
        }
    }
}

fn protocol(message: String) -> Failure {
    Failure::new(Cause::Protocol, message)
}

fn stream(error: &std::io::Error) -> Failure {
    let cause = match error.kind() {
        ErrorKind::TimedOut => Cause::Timeout,
        ErrorKind::ConnectionAborted => Cause::Interrupted,
        _ => Cause::Died,
    };
    Failure::new(cause, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    const GREETING: &str =
        r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}"#;

    /// A client whose QEMU has already said everything that it will ever say.
    fn against(script: &[&str]) -> (Result<Qmp, Failure>, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for line in script {
            theirs.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let copy: OwnedFd = ours.try_clone().unwrap().into();
        (Wire::new(ours.into(), copy, || false).map_err(Failure::from).and_then(Qmp::greet), theirs)
    }

    #[test]
    fn events_before_an_answer_are_not_the_answer() {
        let event = r#"{"timestamp": {"seconds": 1}, "event": "STOP"}"#;
        let (qmp, _theirs) =
            against(&[GREETING, r#"{"return": {}}"#, event, r#"{"return": {"status": "paused", "running": false}}"#]);
        let mut qmp = qmp.unwrap();
        assert_eq!(qmp.version(), "7.2.22");
        assert_eq!(qmp.status().unwrap(), "paused");
    }

    #[test]
    fn a_block_device_that_is_not_there_or_not_described_is_no_device() {
        let described = r#"{"return": [{"device": "data", "inserted": {"drv": "raw", "image": {"virtual-size": 4096},
            "cache": {"no-flush": true, "direct": false, "writeback": true}}}]}"#;
        let described = described.replace('\n', " ");
        let (qmp, _theirs) =
            against(&[GREETING, r#"{"return": {}}"#, &described, &described, r#"{"return": [{"device": "data"}]}"#]);
        let mut qmp = qmp.unwrap();
        let block = qmp.block("data").unwrap();
        assert_eq!((block.format.as_str(), block.bytes), ("raw", 4096));
        assert_eq!((block.writeback, block.direct, block.no_flush), (true, false, true));
        assert_eq!(qmp.block("other").unwrap_err().message, "qmp `query-block`: no device `other`");
        assert!(qmp.block("data").is_err());
    }

    #[test]
    fn a_refusal_is_quoted_with_its_command() {
        let refusal = r#"{"error": {"class": "GenericError", "desc": "not now"}}"#;
        let (qmp, _theirs) = against(&[GREETING, r#"{"return": {}}"#, refusal]);
        assert_eq!(qmp.unwrap().stop().unwrap_err().message, "qmp `stop`: not now");
    }

    #[test]
    fn a_qemu_that_is_gone_died() {
        let (qmp, _theirs) = against(&[GREETING, r#"{"return": {}}"#]);
        assert_eq!(qmp.unwrap().cont().unwrap_err().cause, Cause::Died);
    }

    #[test]
    fn something_else_on_the_socket_is_no_qemu() {
        for script in [&["hello"][..], &["{}"], &["[]"]] {
            let (qmp, _theirs) = against(script);
            assert_eq!(qmp.unwrap_err().cause, Cause::Protocol);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = "x".repeat(2 * LINE_BYTES_MAX);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writing = std::thread::spawn(move || theirs.write_all(endless.as_bytes()));
        let copy: OwnedFd = ours.try_clone().unwrap().into();
        let greeted = Wire::new(ours.into(), copy, || false).map_err(Failure::from).and_then(Qmp::greet);
        assert_eq!(greeted.unwrap_err().cause, Cause::Protocol);
        let _ = writing.join().unwrap();
    }
}
