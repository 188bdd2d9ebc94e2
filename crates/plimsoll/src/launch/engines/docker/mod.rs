//! The engine `docker`: containers through the API of a Docker engine.
//!
//! ```text
//! find an engine (find) or start one (daemon, host_state) -> load the agent's image once per run (image, client)
//!   -> per launch: create (request), attach (pump), start, pause and unpause, remove
//! ```
//! bollard and tokio stay in the client and the pump; everything else here is plain blocking code.

mod client;
mod daemon;
mod find;
mod host_state;
mod image;
mod pump;
mod request;
mod shared;
mod vessel;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::environment::{EngineAbout, Layer as LayerChoice, OptionAbout, Values};
use crate::launch::enclosure::LAYERS_MAX;
use crate::launch::{Engine, LaunchOrder, Layer, Place, Usability, Vessel};
use crate::sample::Failure;

use client::Client;
use find::{Found, Surroundings};
use request::Wishes;
use shared::{DAEMON_UNPINNED, Daemon};
use vessel::Container;

pub use daemon::with_private_engine;

/// A probe may take about a second.
const PROBE_BOUND: Duration = Duration::from_secs(2);

static ABOUT: EngineAbout = EngineAbout {
    name: "docker",
    summary: "a container of a Docker engine",
    needs: "a Docker engine, or root and an installed dockerd",
    virtual_machine: false,
    nests_in_guest: false,
    options: &[
        OptionAbout {
            key: "net",
            values: Values::OneOf(&["none", "host"]),
            default: "none",
            meaning: "an empty network namespace, or the host's",
        },
        OptionAbout {
            key: "disk",
            values: Values::OneOf(&["overlay", "volume", "tmpfs"]),
            default: "overlay",
            meaning: "what lies under the data: the writable layer, a directory of the host, or memory",
        },
        OptionAbout {
            key: "layers",
            values: Values::Number(1, LAYERS_MAX as u64),
            default: "1",
            meaning: "layers of the image; the engine's storage driver makes a root of them",
        },
        OptionAbout {
            key: "seccomp",
            values: Values::OneOf(&["default", "off"]),
            default: "default",
            meaning: "the engine's system call filter",
        },
    ],
    rules: &[],
};

/// The engine.
#[derive(Debug)]
pub struct Docker;

impl Engine for Docker {
    fn about(&self) -> &'static EngineAbout {
        &ABOUT
    }

    fn probe(&self, _choice: &LayerChoice) -> Usability {
        probe(&Surroundings::of_this_process())
    }

    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure> {
        let (daemon, wishes) = (Daemon::of_run(place)?, Wishes::of(choice));
        let place = Arc::clone(place);
        match daemon.image(&place, wishes.layers) {
            Ok(image) => Ok(Box::new(Containers { place, wishes, image, daemon: Some(daemon) })),
            Err(failure) => Err(match daemon.release() {
                Ok(()) => failure,
                Err(left) => Failure { message: format!("{failure}; and {left}"), ..failure },
            }),
        }
    }
}

fn probe(surroundings: &Surroundings) -> Usability {
    match find::find(surroundings) {
        Found::Nothing { why, remedy } => Usability::no(why, remedy),
        Found::Startable(_) => {
            let how = "none runs: a private engine will be started".to_owned();
            Usability::Usable { details: BTreeMap::from([("engine".to_owned(), how)]), labels: Vec::new() }
        }
        Found::Listening(socket) => {
            let answer = Client::connect(&socket, PROBE_BOUND, crate::interrupt::requested);
            match answer.and_then(|client| client.facts()) {
                Ok(facts) => Usability::Usable { details: facts.rows, labels: vec![DAEMON_UNPINNED.to_owned()] },
                Err(failure) => {
                    Usability::no(failure.message, "restart the Docker engine (`sudo systemctl restart docker`)")
                }
            }
        }
    }
}

/// `docker` with its options, opened for a run.
struct Containers {
    place: Arc<Place>,
    wishes: Wishes,
    /// Reference of its image.
    image: String,
    daemon: Option<Arc<Daemon>>,
}

impl Layer for Containers {
    fn launch(&mut self, order: &LaunchOrder) -> Result<Box<dyn Vessel>, Failure> {
        let daemon = self.daemon.as_ref().ok_or_else(|| Failure::launch("the Docker engine was closed before"))?;
        Ok(Box::new(Container::launch(&self.place, Arc::clone(daemon), self.wishes, &self.image, order)?))
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.daemon.take().map_or(Ok(()), Daemon::release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn an_engine_that_accepts_and_never_answers_is_unusable_within_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let surroundings =
            Surroundings { docker_host: None, system_socket: socket, root: true, dockerd: Some(PathBuf::from("/x")) };
        let Usability::Unusable { why, remedy } = probe(&surroundings) else { panic!("it was called usable") };
        assert!(why.contains("did not answer within 2 s"), "{why}");
        assert!(remedy.unwrap().contains("restart"));
    }
    #[test]
    fn an_interrupted_question_ends_before_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let failure = Client::connect(&socket, Duration::from_secs(3600), || true).unwrap_err();
        assert_eq!(failure.cause, crate::sample::Cause::Interrupted, "{failure}");
    }
}
