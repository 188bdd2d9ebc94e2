//! What this host is, what it can run, and what about it spoils a measurement.
//!
//! An engine may start its own bounded trial here; no environment of a plan is ever started.

pub mod cpus;
mod files;
mod folder;
pub mod host;
pub mod readiness;

use std::collections::BTreeMap;

use crate::environment::{Environment, Layer};
use crate::launch::{Usability, engines};

pub use cpus::{CpuSplit, cpus_online, split_cpus};
pub use folder::takes_direct_io;
pub use host::{cache_bytes_last_level, describe_host, disk_free_bytes, memory_available_bytes};

/// Whether an environment can run on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentReport {
    /// The environment's name as written.
    pub name: String,
    /// Whether, why not, and what would help.
    pub usability: Usability,
}

/// Asks each outermost layer's engine, once per distinct choice, whether it can run here.
///
/// Layers inside a guest need nothing of the host: the guest brings what they need.
#[must_use]
pub fn examine(environments: &[Environment]) -> Vec<EnvironmentReport> {
    examine_by(environments, &mut ask_engine)
}

fn ask_engine(layer: &Layer) -> Usability {
    match engines::find(layer.engine.name) {
        Some(engine) => engine.probe(layer),
        None => Usability::Unusable { why: format!("this build has no engine `{}`", layer.engine.name), remedy: None },
    }
}

fn examine_by(environments: &[Environment], ask: &mut dyn FnMut(&Layer) -> Usability) -> Vec<EnvironmentReport> {
    let mut answers: BTreeMap<String, Usability> = BTreeMap::new();
    let mut reports = Vec::with_capacity(environments.len());
    for environment in environments {
        let usability = match environment.stack().first() {
            None => Usability::Usable { details: BTreeMap::new(), labels: Vec::new() },
            Some(layer) => answers.entry(layer.text.clone()).or_insert_with(|| ask(layer)).clone(),
        };
        reports.push(EnvironmentReport { name: environment.name().to_owned(), usability });
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::EngineAbout;

    static VM: EngineAbout = EngineAbout {
        name: "vm",
        summary: "",
        needs: "",
        virtual_machine: true,
        nests_in_guest: false,
        options: &[],
        rules: &[],
    };
    static BOX: EngineAbout = EngineAbout {
        name: "box",
        summary: "",
        needs: "",
        virtual_machine: false,
        nests_in_guest: true,
        options: &[],
        rules: &[],
    };

    fn environments(names: &[&str]) -> Vec<Environment> {
        names.iter().map(|name| Environment::parse(name, &[&VM, &BOX]).unwrap()).collect()
    }

    #[test]
    fn only_the_outermost_layer_is_asked_and_only_once() {
        let mut asked = Vec::new();
        let reports = examine_by(&environments(&["native", "vm", "vm/box", "box", "vm"]), &mut |layer| {
            asked.push(layer.text.clone());
            Usability::no(format!("no {}", layer.text), "install it")
        });
        assert_eq!(asked, ["vm", "box"]);
        assert_eq!(reports.len(), 5);
        assert_eq!(reports[2].name, "vm/box");
        assert_eq!(reports[2].usability, Usability::no("no vm", "install it"));
    }

    #[test]
    fn native_is_always_usable() {
        let reports = examine_by(&[Environment::native()], &mut |_| unreachable!("there is no layer to ask"));
        assert!(matches!(reports[0].usability, Usability::Usable { .. }));
    }

    #[test]
    fn an_engine_that_this_build_lacks_is_unusable() {
        let reports = examine(&environments(&["box"]));
        assert!(
            matches!(&reports[0].usability, Usability::Unusable { why, .. } if why == "this build has no engine `box`")
        );
    }
}
