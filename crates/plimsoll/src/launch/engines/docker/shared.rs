//! The one Docker engine of a run and the images in it, shared by every `docker` environment of the run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::client::{Client, EngineFacts};
use super::daemon::PrivateEngine;
use super::find::{self, Found, Surroundings};
use super::image::{self, LayerFile};
use super::request;
use crate::launch::bundle::DATA_PATH;
use crate::launch::journal::{Entry, Journal, Resource};
use crate::launch::{Place, lowers};
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
    journal: Journal,
    /// What was loaded, by its number of layers.
    images: Mutex<BTreeMap<u32, Image>>,
    private: Mutex<Option<PrivateEngine>>,
    /// What qualifies every number of its containers.
    pub(super) labels: Vec<String>,
}

/// An image in the engine.
#[derive(Debug)]
struct Image {
    reference: String,
    entry: Entry,
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
        let journal = place.journal.clone();
        let labels = labels(private.is_some());
        let private = Mutex::new(private);
        Ok(Self { client, facts, journal, images: Mutex::default(), private, labels })
    }

    /// The reference of the run's image of so many layers; the first to ask has it loaded.
    ///
    /// # Errors
    /// When it cannot be written, or the engine refuses it.
    pub(super) fn image(&self, place: &Place, layers: u32) -> Result<String, Failure> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = images.get(&layers) {
            return Ok(image.reference.clone());
        }
        let (socket, reference) = (self.client.socket().to_owned(), request::image_reference(&place.run, layers));
        let entry = self.journal.note(Resource::DockerImage { socket, reference: reference.clone() })?;
        match self.load(place, &reference, layers) {
            Ok(()) => {
                images.insert(layers, Image { reference: reference.clone(), entry });
                Ok(reference)
            }
            Err(failure) => {
                // Part of it may be there; the journal still knows what cannot be removed.
                if self.client.remove_image(&reference).is_ok() {
                    self.journal.forget(entry);
                }
                Err(failure)
            }
        }
    }

    fn load(&self, place: &Place, reference: &str, layers: u32) -> Result<(), Failure> {
        let folder = place.scratch.join(format!("{}-image-{layers}", place.run));
        let entry = self.journal.make_directory(&folder, 0o700)?;
        let file = |number| LayerFile::write(&lowers::bundle(place, number), folder.join(number.to_string()));
        let files = (0..layers).map(file).collect::<Result<Vec<_>, _>>();
        let loaded = files.and_then(|files| self.client.load(&|writer| image::write(reference, &files, writer)));
        self.look_through_layers(place);
        loaded.and(self.journal.undo(entry))
    }

    /// As for containers of our own; where the engine keeps its layers otherwise, or out of our reach, it is left out.
    fn look_through_layers(&self, place: &Place) {
        let store = Path::new(&self.facts.root_directory).join(&self.facts.storage_driver);
        for layer in std::fs::read_dir(store).into_iter().flatten().flatten() {
            let data = layer.path().join("diff").join(DATA_PATH.trim_start_matches('/'));
            if place.tree.is_some() && data.exists() {
                lowers::look_through(place, &data);
            }
        }
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
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(image) = images.first_entry() {
            // With a private engine its whole data folder goes.
            if private.is_none() {
                self.client.remove_image(&image.get().reference)?;
            }
            self.journal.forget(image.remove().entry);
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
