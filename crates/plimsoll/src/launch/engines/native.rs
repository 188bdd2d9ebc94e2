//! `native`: the empty stack. The agent as a plain process in a pen of the same CPUs and memory as everybody else's.
//!
//! It is no engine, so it does not stand in the table: a name cannot hold it beside other layers.

use std::sync::Arc;

use crate::launch::cage::{Plan, Shell, asked_of_this_kernel, filesystem_of};
use crate::launch::{LaunchOrder, Layer, Place, Vessel};
use crate::sample::Failure;

/// Opens the empty stack in a place.
///
/// # Errors
/// When the place has no executable for an agent.
pub fn open(place: &Arc<Place>) -> Result<Box<dyn Layer>, Failure> {
    place.executable()?;
    Ok(Box::new(Native { place: Arc::clone(place) }))
}

struct Native {
    place: Arc<Place>,
}

impl Layer for Native {
    fn launch(&mut self, order: &LaunchOrder) -> Result<Box<dyn Vessel>, Failure> {
        let place = &self.place;
        let mut shell = Shell::make(place, order, 0)?;
        let folder = place.data.join(&order.name);
        let data = folder.join("data");
        shell.folder(&folder)?;
        shell.folder(&data)?;
        let mut asked = asked_of_this_kernel();
        asked.extend(filesystem_of(&data).map(|kind| ("data_filesystem".to_owned(), kind)));
        let plan = Plan {
            program: place.executable()?.to_owned(),
            argv0: Some("plimsoll".to_owned()),
            args: vec!["agent".to_owned()],
            data_dir: data.display().to_string(),
            asked,
            facts: std::collections::BTreeMap::default(),
            labels: Vec::new(),
            container: None,
        };
        Ok(Box::new(shell.start(place, plan)?))
    }

    fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
