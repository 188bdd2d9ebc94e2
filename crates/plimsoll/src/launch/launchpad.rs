//! Starts arms for the rounds: opens every environment's outermost layer once, launches it per block, has the agent
//! inside start the rest of the stack, and compares asked with got before anyone measures.

use std::sync::Arc;

use plimsoll_protocol::NestOrder;

use super::expectation::{self, Asked};
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
        let berths = environments
            .iter()
            .map(|environment| Berth { environment: environment.clone(), layer: open(&place, environment) })
            .collect();
        let executable_sha256 = place.executable_sha256()?;
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
        facts.extend(inner.facts);
        let mut labels = vessel.labels();
        labels.extend(inner.labels);
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
        let mut session = LiveSession::new(vessel, &self.limits.cpus, &self.place.data, self.steal_share_max);
        session.hello()?;
        let inner = nest(&mut session, &environment, &order)?;
        let ready_seconds = requested.elapsed().as_secs_f64();
        let profile = self.profile(&environment, &mut session, inner)?;
        Ok(Launched { session: Box::new(session) as Box<dyn Session>, ready_seconds, profile })
    }
}

fn open(place: &Arc<Place>, environment: &Environment) -> Result<Box<dyn Layer>, Failure> {
    let Some(outermost) = environment.stack().first() else { return engines::native::open(place) };
    let engine = engines::find(outermost.engine.name);
    engine.ok_or_else(|| Failure::launch(format!("no engine `{}`", outermost.engine.name)))?.open(place, outermost)
}

/// What the inner layers of a stack add to a profile. The agent reports it in one map, by prefix.
#[derive(Default)]
struct Inner {
    facts: std::collections::BTreeMap<String, String>,
    asked: std::collections::BTreeMap<String, String>,
    labels: Vec<String>,
}

fn nest(session: &mut LiveSession, environment: &Environment, order: &LaunchOrder) -> Result<Inner, Failure> {
    let Some(stack) = environment.inner() else { return Ok(Inner::default()) };
    let cpus = (0..).take(order.limits.cpus.len()).collect();
    let nest = NestOrder { stack, launch: order.name.clone(), cpus, memory_bytes: order.limits.memory_bytes };
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
