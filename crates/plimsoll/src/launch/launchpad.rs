//! Starts arms for the rounds: opens every environment's outermost layer once, launches it per block, has the agent
//! inside start the rest of the stack, and compares asked with got before anyone measures.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use plimsoll_agent::workload::layer_tree::Tree;
use plimsoll_protocol::{NestOrder, TreeOrder};

use super::expectation::{self, Asked};
use super::ground::{Ground, is_memory};
use super::session::LiveSession;
use super::{LaunchOrder, Layer, Limits, Place, engines};
use crate::clock;
use crate::environment::Environment;
use crate::rounds::{Launched, Launcher, Session};
use crate::sample::{Arm, Failure, Profile};

/// The environments of a run, opened.
pub struct Launchpad {
    place: Arc<Place>,
    berths: Vec<Berth>,
    limits: Limits,
    steal_share_max: f64,
    executable_sha256: String,
}

/// An environment and its outermost layer, or why that could not be opened.
struct Berth {
    environment: Environment,
    layer: Result<Box<dyn Layer>, Failure>,
}

impl Launchpad {
    /// Opens every environment; one that cannot be opened fails at each launch with the same words.
    ///
    /// # Errors
    /// When the executable that is to travel cannot be read.
    pub fn open(
        place: Arc<Place>,
        environments: &[Environment],
        limits: Limits,
        steal_share_max: f64,
    ) -> Result<Self, Failure> {
        let executable_sha256 = place.executable_sha256()?;
        let berths = environments
            .iter()
            .map(|environment| Berth { environment: environment.clone(), layer: open(&place, environment) })
            .collect();
        Ok(Self { place, berths, limits, steal_share_max, executable_sha256 })
    }

    /// Closes every layer.
    ///
    /// # Errors
    /// Everything that could not be closed, joined.
    pub fn close(&mut self) -> Result<(), Failure> {
        let mut failed = Vec::new();
        for berth in &mut self.berths {
            if let Ok(layer) = &mut berth.layer
                && let Err(failure) = layer.close()
            {
                failed.push(format!("{}: {failure}", berth.environment.name()));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(Failure::new(crate::sample::Cause::TearDown, failed.join("; "))) }
    }

    fn order(&self, berth: &Berth, launch: u64) -> LaunchOrder {
        LaunchOrder {
            name: format!("{}-{launch}", self.place.run),
            limits: self.limits.clone(),
            holds_layers: berth.environment.stack().len() > 1,
        }
    }

    /// What the agent saw against what was asked.
    fn profile(&self, environment: &Environment, session: &mut LiveSession, inner: Inner) -> Result<Profile, Failure> {
        let seen = session.observe()?;
        let vessel = session.vessel();
        let mut facts = vessel.facts();
        // What the host knows itself nobody inside can say otherwise.
        for (name, value) in inner.facts {
            facts.entry(name).or_insert(value);
        }
        let mut labels = vessel.labels();
        labels.extend(inner.labels);
        labels.extend(vessel.data_on_host().and_then(|data| other_disk(&self.place.data, data)));
        // Data in memory lie on no disk of the host's.
        if !is_memory(&seen.data_filesystem) {
            labels.extend(Ground::under(vessel.data_on_host().unwrap_or(&self.place.data)).labels());
        }
        let mut layer = vessel.asked();
        layer.extend(inner.asked);
        let virtual_machine = environment.stack().len() == 1 && environment.stack()[0].engine.virtual_machine;
        let asked = Asked { limits: &self.limits, executable_sha256: &self.executable_sha256, layer, virtual_machine };
        Ok(expectation::compare(&asked, &seen, facts, labels))
    }
}

impl Launcher for Launchpad {
    fn launch(&mut self, arm: &Arm, launch: u64) -> Result<Launched, Failure> {
        let berth = self.berths.get(arm.environment as usize);
        let berth = berth.ok_or_else(|| Failure::launch(format!("no environment {}", arm.environment)))?;
        let order = self.order(berth, launch);
        let environment = berth.environment.clone();
        let berth = &mut self.berths[arm.environment as usize];
        let layer = berth.layer.as_mut().map_err(|failure| failure.clone())?;
        let requested = clock::now();
        let vessel = layer.launch(&order)?;
        let tree = self.place.tree.as_ref().map(Tree::order);
        let mut session = LiveSession::new(vessel, &self.limits.cpus, &self.place.data, self.steal_share_max);
        let mut greet = || -> Result<(f64, Profile), Failure> {
            session.hello()?;
            let inner = nest(&mut session, &environment, &order, tree.clone())?;
            let ready_seconds = requested.elapsed().as_secs_f64();
            Ok((ready_seconds, self.profile(&environment, &mut session, inner)?))
        };
        match greet() {
            Ok((ready_seconds, profile)) => Ok(Launched { session: Box::new(session), ready_seconds, profile }),
            Err(failure) => Err(with_the_end(failure, session.shut_down())),
        }
    }
}

/// A launch that failed, with what went wrong when it was ended.
fn with_the_end(failure: Failure, ended: Result<(), Failure>) -> Failure {
    match ended {
        Ok(()) => failure,
        Err(end) => Failure { message: format!("{failure}; and it could not be ended: {end}"), ..failure },
    }
}

fn open(place: &Arc<Place>, environment: &Environment) -> Result<Box<dyn Layer>, Failure> {
    let Some(outermost) = environment.stack().first() else { return engines::native::open(place) };
    let engine = engines::find(outermost.engine.name);
    engine.ok_or_else(|| Failure::launch(format!("no engine `{}`", outermost.engine.name)))?.open(place, outermost)
}

/// Label of an environment whose data do not lie on the disk under test, and so on another one than native's.
const OTHER_DISK: &str = "data on another disk";

fn other_disk(under_test: &Path, data: &Path) -> Option<String> {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    (device(under_test)? != device(data)?).then(|| OTHER_DISK.to_owned())
}

/// What the inner layers of a stack add to a profile. The agent reports it in one map, by prefix.
#[derive(Default)]
struct Inner {
    facts: std::collections::BTreeMap<String, String>,
    asked: std::collections::BTreeMap<String, String>,
    labels: Vec<String>,
}

fn nest(
    session: &mut LiveSession,
    environment: &Environment,
    order: &LaunchOrder,
    tree: Option<TreeOrder>,
) -> Result<Inner, Failure> {
    let Some(stack) = environment.inner() else { return Ok(Inner::default()) };
    let cpus = (0..).take(order.limits.cpus.len()).collect();
    let nest = NestOrder { stack, launch: order.name.clone(), cpus, memory_bytes: order.limits.memory_bytes, tree };
    let mut inner = Inner::default();
    for (name, value) in session.nest(nest)? {
        if let Some(name) = name.strip_prefix("asked.") {
            inner.asked.insert(name.to_owned(), value);
        } else if name == "labels" {
            inner.labels.extend(value.split('|').filter(|label| !label.is_empty()).map(str::to_owned));
        } else {
            inner.facts.insert(name, value);
        }
    }
    session.hello()?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use plimsoll_agent::wire::Wire;

    use super::*;
    use crate::launch::bundle::Bundle;
    use crate::launch::journal::Journal;
    use crate::launch::{Diagnosis, Vessel};

    /// An environment whose agent is gone before it said a word, and that cannot be removed.
    struct Wreck;

    struct WreckedVessel {
        wire: Wire,
    }

    impl Layer for Wreck {
        fn launch(&mut self, _order: &LaunchOrder) -> Result<Box<dyn Vessel>, Failure> {
            let (ours, _) = UnixStream::pair()?;
            let wire = Wire::new(OwnedFd::from(ours.try_clone()?), OwnedFd::from(ours), || false)?;
            Ok(Box::new(WreckedVessel { wire }))
        }

        fn close(&mut self) -> Result<(), Failure> {
            Ok(())
        }
    }

    impl Vessel for WreckedVessel {
        fn wire(&mut self) -> &mut Wire {
            &mut self.wire
        }

        fn data_dir(&self) -> String {
            String::new()
        }

        fn asked(&self) -> BTreeMap<String, String> {
            BTreeMap::new()
        }

        fn facts(&self) -> BTreeMap<String, String> {
            BTreeMap::new()
        }

        fn labels(&self) -> Vec<String> {
            Vec::new()
        }

        fn cpu_time(&self) -> Option<std::time::Duration> {
            None
        }

        fn park(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn resume(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn diagnose(&mut self) -> Diagnosis {
            Diagnosis { out_of_memory: false, words: "struck a reef".to_owned() }
        }

        fn tear_down(&mut self) -> Result<(), Failure> {
            Err(Failure::new(crate::sample::Cause::TearDown, "its mast is still mounted"))
        }
    }

    #[test]
    fn data_on_another_disk_are_said_to_be() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        assert_eq!(other_disk(folder.path(), Path::new("/var/tmp")), None);
        assert_eq!(other_disk(folder.path(), Path::new("/proc")).as_deref(), Some(OTHER_DISK));
        assert_eq!(other_disk(folder.path(), Path::new("/nonexistent")), None, "what is not known is not said");
    }

    #[test]
    fn a_launch_that_fails_says_what_it_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let run = "plimsoll-test-wreck".to_owned();
        let journal = Journal::start(folder.path(), &run).unwrap();
        let (scratch, data) = (folder.path().to_owned(), folder.path().to_owned());
        let bundle = Bundle::default();
        let place = Place {
            run,
            scratch,
            data,
            journal,
            bundle,
            tree: None,
            root: false,
            data_disk_bytes: 0,
            interrupted: || false,
        };
        let place = Arc::new(place);
        let berth = Berth { environment: Environment::native(), layer: Ok(Box::new(Wreck)) };
        let limits = Limits { cpus: vec![0], memory_bytes: 1 << 30 };
        let berths = vec![berth];
        let mut launchpad = Launchpad { place, berths, limits, steal_share_max: 1.0, executable_sha256: String::new() };
        let Err(failure) = launchpad.launch(&Arm { environment: 0, replica: 1 }, 1) else { panic!("it was launched") };
        assert!(failure.message.contains("struck a reef"), "{failure}");
        assert!(failure.message.contains("its mast is still mounted"), "{failure}");
    }
}
