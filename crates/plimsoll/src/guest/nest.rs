//! The rest of a stack, started by the agent of a guest: there the guest is the place, and the same engines serve.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plimsoll_agent::serve::{Inner, Nest};
use plimsoll_agent::wire::Wire;
use plimsoll_protocol::NestOrder;

use crate::environment::{Environment, Layer as LayerChoice};
use crate::interrupt;
use crate::launch::bundle::{AGENT_PATH, DATA_PATH};
use crate::launch::journal::Journal;
use crate::launch::place::Folders;
use crate::launch::{LaunchOrder, Layer, Limits, Place, Vessel, engines};
use crate::sample::Failure;

/// In the guest's memory; an inner place keeps its sockets, logs and bundles there.
const RUN: &str = "/run";

/// Starts layers around the agent that owns it. What they are is only known when the host asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct GuestNest;

impl Nest for GuestNest {
    fn nest(&mut self, order: &NestOrder) -> Result<Box<dyn Inner>, String> {
        let started = NestedLayer::start(order).map_err(|failure| failure.message)?;
        Ok(Box::new(started))
    }
}

/// A layer that runs inside the guest.
struct NestedLayer {
    place: Arc<Place>,
    layer: Box<dyn Layer>,
    vessel: Box<dyn Vessel>,
}

impl NestedLayer {
    fn start(order: &NestOrder) -> Result<Self, Failure> {
        let choice = only_layer(&order.stack)?;
        let engine = engines::find(choice.engine.name)
            .ok_or_else(|| Failure::launch(format!("there is no engine `{}`", choice.engine.name)))?;
        let place = Arc::new(place_of(&order.launch)?.with_tree(order.tree.as_ref())?);
        let started = engine.open(&place, &choice).and_then(|mut layer| {
            let vessel = layer.launch(&launch_order(order))?;
            Ok((layer, vessel))
        });
        match started {
            Ok((layer, vessel)) => Ok(Self { place, layer, vessel }),
            Err(failure) => {
                // The failure to start is the news; the machine is discarded anyway.
                let _ = place.close();
                Err(failure)
            }
        }
    }
}

fn launch_order(order: &NestOrder) -> LaunchOrder {
    LaunchOrder {
        name: order.launch.clone(),
        limits: Limits { cpus: order.cpus.clone(), memory_bytes: order.memory_bytes },
        holds_layers: false,
    }
}

/// The layer that is to start here. Inside a container there is no further one.
fn only_layer(stack: &str) -> Result<LayerChoice, Failure> {
    let environment = Environment::parse(stack, &engines::abouts()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::launch(errors.join("; "))
    })?;
    match environment.stack() {
        [layer] if layer.engine.nests_in_guest => Ok(layer.clone()),
        _ => Err(Failure::launch(format!("`{stack}` cannot be started inside a guest"))),
    }
}

/// The guest as a place, under the launch's name: it is launched into once.
fn place_of(launch: &str) -> Result<Place, Failure> {
    let folders = Folders { journals: Journal::directory(), scratch_in: RUN.into(), data_in: DATA_PATH.into() };
    Place::open(launch, &folders, Path::new(AGENT_PATH), interrupt::requested)
}

impl Inner for NestedLayer {
    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = self.vessel.facts();
        facts.extend(self.vessel.asked().into_iter().map(|(key, value)| (format!("asked.{key}"), value)));
        facts.insert("labels".to_owned(), self.vessel.labels().join("|"));
        facts
    }

    fn data_dir(&self) -> String {
        self.vessel.data_dir()
    }

    fn wire(&mut self) -> &mut Wire {
        self.vessel.wire()
    }

    fn tear_down(&mut self) -> Result<(), String> {
        // Only the guest's console can still tell the host why the agent further in is gone, if it is.
        super::say(&format!("ending the agent further in: {}", self.vessel.diagnose().words));
        let steps = [self.vessel.tear_down(), self.layer.close(), self.place.close()];
        let failed: Vec<String> =
            steps.into_iter().filter_map(|step| step.err().map(|failure| failure.message)).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_layer_that_nests_is_started_in_a_guest() {
        for stack in ["native", "qemu", "nothing"] {
            assert!(only_layer(stack).is_err(), "{stack}");
        }
    }
}
