//! The one Docker engine of a run and the image in it, shared by every `docker` environment of the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::client::{Client, EngineFacts};
use super::daemon::PrivateEngine;
use super::find::{self, Found, Surroundings};
use super::request;
use crate::launch::Place;
use crate::launch::journal::{Entry, Journal, Resource};
use crate::sample::Failure;

/// For an engine that accepted a connection to say which API it speaks.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// From an engine's last answer until its end.
const DYING_BOUND: Duration = Duration::from_secs(2);

/// The host's own engine and its containerd run wherever the kernel puts them: on the CPUs under test, too.
pub(super) const DAEMON_UNPINNED: &str = "engine daemon unpinned";

/// An engine, opened for a run.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) client: Client,
    pub(super) facts: EngineFacts,
    /// Reference of the run's image.
    pub(super) image: String,
    journal: Journal,
    image_entry: Option<Entry>,
    private: Mutex<Option<PrivateEngine>>,
    /// What qualifies every number of its containers.
    pub(super) labels: Vec<String>,
}

/// The engines that are open, by name of the run: one for each, however many environments use it.
static OPEN: Mutex<BTreeMap<String, Weak<Daemon>>> = Mutex::new(BTreeMap::new());

/// Ours keeps to the harness's CPUs.
fn labels(private: bool) -> Vec<String> {
    if private { Vec::new() } else { vec![DAEMON_UNPINNED.to_owned()] }
}

fn open_daemons() -> MutexGuard<'static, BTreeMap<String, Weak<Daemon>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    /// The run's engine; the first to ask opens it.
    ///
    /// # Errors
    /// When there is none and none can be started.
    pub(super) fn of_run(place: &Place) -> Result<Arc<Self>, Failure> {
        let mut open = open_daemons();
        if let Some(daemon) = open.get(&place.run).and_then(Weak::upgrade) {
            return Ok(daemon);
        }
        let daemon = Arc::new(Self::open(place)?);
        open.insert(place.run.clone(), Arc::downgrade(&daemon));
        Ok(daemon)
    }

    /// Gives it back; the last to do so closes it.
    ///
    /// # Errors
    /// When something of it stays behind.
    pub(super) fn release(self: Arc<Self>) -> Result<(), Failure> {
        let mut open = open_daemons();
        let closed = Arc::into_inner(self).map_or(Ok(()), |mut daemon| daemon.close());
        open.retain(|_, daemon| daemon.strong_count() > 0);
        closed
    }

    fn open(place: &Place) -> Result<Self, Failure> {
        let (private, socket) = match find::find(&Surroundings::of_this_process()) {
            Found::Nothing { why, remedy } => return Err(Failure::launch(format!("{why}; {remedy}"))),
            Found::Listening(socket) => (None, socket),
            Found::Startable(program) => {
                let private = PrivateEngine::start(place, &program)?;
                let socket = private.socket();
                (Some(private), socket)
            }
        };
        let client = Client::connect(&socket, ANSWER_BOUND, place.interrupted)?;
        let mut facts = client.facts()?;
        let whose = if private.is_some() { "private" } else { "the host's" };
        facts.rows.insert("docker_engine".to_owned(), whose.to_owned());
        let image = request::image_reference(&place.run);
        let journal = place.journal.clone();
        let labels = labels(private.is_some());
        let private = Mutex::new(private);
        let mut daemon = Self { client, facts, image, journal, image_entry: None, private, labels };
        daemon.import(place)?;
        Ok(daemon)
    }

    fn import(&mut self, place: &Place) -> Result<(), Failure> {
        let (socket, reference) = (self.client.socket().to_owned(), self.image.clone());
        self.image_entry = Some(self.journal.note(Resource::DockerImage { socket, reference })?);
        self.client.import(&self.image, &|mut writer| place.bundle.write_tar(&mut writer))
    }

    fn private(&self) -> MutexGuard<'_, Option<PrivateEngine>> {
        self.private.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the private engine ended, if it has. One that dies closes its streams one by one, and a moment before the
    /// kernel tells of its end; but it answers nothing any more.
    pub(super) fn ended(&self) -> Option<String> {
        let time = if self.client.answers() { Duration::ZERO } else { DYING_BOUND };
        let words = self.private().as_mut()?.ended(time)?;
        Some(format!("the private Docker engine has ended: {words}"))
    }

    /// Removes a container, or what is left of it when the private engine is dead: then every container of it is as
    /// good as gone, since nobody can reach it any more.
    ///
    /// # Errors
    /// When something stays behind.
    pub(super) fn remove_container(&self, name: &str) -> Result<(), Failure> {
        let Err(failure) = self.client.remove_container(name) else { return Ok(()) };
        match (self.ended(), self.private().as_mut()) {
            (Some(_), Some(private)) => private.kill_containers(),
            _ => Err(failure),
        }
    }

    /// Removes the image and stops the private engine. Safe to call twice.
    fn close(&mut self) -> Result<(), Failure> {
        let mut private = self.private.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(entry) = self.image_entry.take() {
            match &private {
                // Its whole data folder goes.
                Some(_) => self.journal.forget(entry),
                None => {
                    self.client.remove_image(&self.image)?;
                    self.journal.forget(entry);
                }
            }
        }
        private.as_mut().map_or(Ok(()), PrivateEngine::stop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_that_is_not_ours_is_called_unpinned() {
        assert_eq!(labels(false), ["engine daemon unpinned"]);
        assert_eq!(labels(true), [""; 0]);
    }
}
