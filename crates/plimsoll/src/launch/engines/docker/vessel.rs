//! One container: launched, parked, diagnosed, removed.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_agent::wire::Wire;

use super::client::ContainerState;
use super::host_state::filesystem_of;
use super::pump::Pump;
use super::request::{self, Disk, DiskKind, Wishes};
use super::shared::Daemon;
use crate::launch::bundle::DATA_PATH;
use crate::launch::cgroup::{cpu_folder_of_process, cpu_time_of};
use crate::launch::journal::{Entry, Journal, Resource};
use crate::launch::{Diagnosis, LaunchOrder, Place, Vessel};
use crate::sample::{Cause, Failure};

/// From the end of a container's stream until the engine knows that it has ended.
const EXIT_BOUND: Duration = Duration::from_secs(2);
/// How much of the agent's stderr is quoted, bytes.
const LOG_TAIL_BYTES: usize = 2048;

/// A container with its agent.
pub(super) struct Container {
    name: String,
    daemon: Arc<Daemon>,
    wire: Wire,
    pump: Pump,
    log: PathBuf,
    asked: BTreeMap<String, String>,
    label: String,
    data_on_host: PathBuf,
    /// Where the kernel counts its CPU time.
    cpu_folder: OnceCell<Option<PathBuf>>,
    made: Made,
}

impl Container {
    /// Creates, attaches and starts it.
    pub(super) fn launch(
        place: &Place,
        daemon: Arc<Daemon>,
        wishes: Wishes,
        image: &str,
        order: &LaunchOrder,
    ) -> Result<Self, Failure> {
        let mut made =
            Made { daemon: Arc::clone(&daemon), journal: place.journal.clone(), container: None, volume: None };
        let disk = made.disk(place, wishes, order)?;
        let asked = asked(&daemon, &disk, wishes.layers)?;
        let data_on_host = data_on_host(place, &daemon, &disk);
        let log = place.scratch.join(format!("{}.log", order.name));
        let started = made.container(order).and_then(|()| {
            let body = request::container(wishes, &disk, order, image);
            daemon.client.create(&order.name, body)?;
            let (pump, host) = Pump::attach(&daemon.client, &order.name, &log)?;
            daemon.client.start(&order.name)?;
            let wire = Wire::new(OwnedFd::from(host.try_clone()?), OwnedFd::from(host), place.interrupted)?;
            Ok((pump, wire))
        });
        let (pump, wire) = started.map_err(|failure| made.give_up(failure))?;
        Ok(Self {
            name: order.name.clone(),
            daemon,
            wire,
            pump,
            log,
            asked,
            label: wishes.network_label(),
            data_on_host,
            cpu_folder: OnceCell::new(),
            made,
        })
    }

    /// A request that failed because the engine is gone says so.
    fn explain(&self, failure: Failure) -> Failure {
        match self.daemon.ended() {
            Some(words) if failure.cause != Cause::Interrupted => {
                Failure::new(Cause::Died, format!("{failure}; {words}"))
            }
            _ => failure,
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl Vessel for Container {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn data_dir(&self) -> String {
        DATA_PATH.to_owned()
    }

    fn data_on_host(&self) -> Option<&Path> {
        Some(&self.data_on_host)
    }

    fn asked(&self) -> BTreeMap<String, String> {
        self.asked.clone()
    }

    fn facts(&self) -> BTreeMap<String, String> {
        self.daemon.facts.rows.clone()
    }

    fn labels(&self) -> Vec<String> {
        [&self.label].into_iter().chain(&self.daemon.labels).cloned().collect()
    }

    fn cpu_time(&self) -> Option<Duration> {
        // Asked for at the first slice: a question to the engine while it starts would be part of the start.
        let folder =
            self.cpu_folder.get_or_init(|| cpu_folder_of_process(self.daemon.client.state(&self.name).ok()?.pid?));
        cpu_time_of(folder.as_ref()?)
    }

    fn park(&mut self) -> Result<(), Failure> {
        self.daemon.client.pause(&self.name).map_err(|failure| self.explain(failure))
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.daemon.client.unpause(&self.name).map_err(|failure| self.explain(failure))
    }

    fn diagnose(&mut self) -> Diagnosis {
        if let Some(words) = self.daemon.ended() {
            return Diagnosis { out_of_memory: false, words };
        }
        if self.pump.has_ended(Duration::ZERO) {
            self.daemon.client.wait_stopped(&self.name, EXIT_BOUND);
        }
        match self.daemon.client.state(&self.name) {
            Ok(state) => Diagnosis { out_of_memory: state.out_of_memory, words: words(&state, &self.log_tail()) },
            Err(failure) => Diagnosis { out_of_memory: false, words: failure.message },
        }
    }

    fn tear_down(&mut self) -> Result<(), Failure> {
        let removed = self.made.undo();
        let closed = self.pump.end();
        let _ = std::fs::remove_file(&self.log);
        removed.and(closed)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.tear_down();
    }
}

/// What was made on the host for one container.
struct Made {
    daemon: Arc<Daemon>,
    journal: Journal,
    container: Option<(String, Entry)>,
    volume: Option<Entry>,
}

impl Made {
    fn disk(&mut self, place: &Place, wishes: Wishes, order: &LaunchOrder) -> Result<Disk, Failure> {
        Ok(match wishes.disk {
            DiskKind::Overlay => Disk::Overlay,
            DiskKind::Tmpfs => Disk::Tmpfs,
            DiskKind::Volume => {
                let path = place.data.join(&order.name);
                self.volume = Some(self.journal.note(Resource::Directory { path: path.clone() })?);
                std::fs::create_dir(&path)
                    .map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))?;
                Disk::Volume(path)
            }
        })
    }

    fn container(&mut self, order: &LaunchOrder) -> Result<(), Failure> {
        let socket = self.daemon.client.socket().to_owned();
        let entry = self.journal.note(Resource::DockerContainer { socket, name: order.name.clone() })?;
        self.container = Some((order.name.clone(), entry));
        Ok(())
    }

    /// Undoes everything after a launch that failed, and adds to the failure what explains it.
    fn give_up(&mut self, failure: Failure) -> Failure {
        let failure = match self.daemon.ended() {
            Some(words) => Failure { message: format!("{failure}; {words}"), ..failure },
            None => failure,
        };
        match self.undo() {
            Ok(()) => failure,
            Err(left) => Failure { message: format!("{failure}; and {left}"), ..failure },
        }
    }

    fn undo(&mut self) -> Result<(), Failure> {
        if let Some((name, entry)) = &self.container {
            self.daemon.remove_container(name)?;
            self.journal.forget(*entry);
            self.container = None;
        }
        if let Some(entry) = self.volume {
            self.journal.undo(entry)?;
            self.volume = None;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.undo();
    }
}

/// Where the host keeps what the container writes: an engine that is not ours may have its folder on another disk.
fn data_on_host(place: &Place, daemon: &Daemon, disk: &Disk) -> PathBuf {
    match disk {
        Disk::Overlay => PathBuf::from(&daemon.facts.root_directory),
        Disk::Volume(directory) => directory.clone(),
        Disk::Tmpfs => place.data.clone(),
    }
}

/// What the agent should see if the engine did as it was asked.
fn asked(daemon: &Daemon, disk: &Disk, layers: u32) -> Result<BTreeMap<String, String>, Failure> {
    let mut asked = BTreeMap::new();
    let kernel = nix::sys::utsname::uname().map_err(std::io::Error::from)?;
    asked.insert("kernel".to_owned(), kernel.release().to_string_lossy().into_owned());
    let root = request::root_filesystem(&daemon.facts.storage_driver).map(str::to_owned);
    let data = match disk {
        Disk::Overlay => root.clone(),
        Disk::Tmpfs => Some("tmpfs".to_owned()),
        Disk::Volume(directory) => filesystem_of(directory)?,
    };
    if root.as_deref() == Some("overlay") {
        // The engine puts one of its own on top of those of the image.
        asked.insert("root_layers".to_owned(), (layers + 1).to_string());
    }
    asked.extend(root.map(|kind| ("root_filesystem".to_owned(), kind)));
    asked.extend(data.map(|kind| ("data_filesystem".to_owned(), kind)));
    Ok(asked)
}

fn words(state: &ContainerState, log_tail: &str) -> String {
    let mut words = match state.running {
        true => format!("the container is {}", state.status),
        false => format!("the container has ended with exit status {}", state.exit_code),
    };
    if state.out_of_memory {
        words.push_str("; the kernel killed a process of it for want of memory");
    }
    if !state.error.is_empty() {
        words = format!("{words}; {}", state.error);
    }
    if !log_tail.is_empty() {
        words = format!("{words}; its log ends: {log_tail}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_says_what_is_known_and_no_more() {
        let ended = ContainerState { status: "exited".to_owned(), exit_code: 137, ..ContainerState::default() };
        let killed = ContainerState { out_of_memory: true, ..ended.clone() };
        let alive = ContainerState { status: "paused".to_owned(), running: true, ..ContainerState::default() };
        let said = [words(&ended, ""), words(&killed, "panicked"), words(&alive, "")];
        insta::assert_snapshot!(said.join("\n"), @r"
        the container has ended with exit status 137
        the container has ended with exit status 137; the kernel killed a process of it for want of memory; its log ends: panicked
        the container is paused
        ");
    }
}
