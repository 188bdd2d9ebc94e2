//! The lower layers of containers' roots, shared by all containers of a run: as an image has them, without an image.
//!
//! The lowest holds the agent's bundle, and the files of a workload that looks for them there. Each one above changes
//! something of its own, as layers of images do.

use std::path::{Path, PathBuf};

use plimsoll_agent::workload::layer_tree::Entry;

use super::Place;
use super::bundle::{Bundle, Content, DATA_PATH, Item};
use crate::sample::Failure;

/// What lies in a layer, 0 being the lowest.
pub(super) fn bundle(place: &Place, number: u32) -> Bundle {
    let mut bundle = if number == 0 { place.bundle.clone() } else { Bundle::default() };
    if number > 0 {
        bundle.add(bytes(format!("/etc/plimsoll-layer-{number}"), Vec::new()));
    }
    // What lies in a layer is the same however many there are.
    let entries = place.tree.iter().flat_map(|tree| tree.entries(number, number + 1));
    for entry in entries {
        let inside = |path: &Path| format!("{DATA_PATH}/{}", path.display());
        bundle.add(match entry {
            Entry::Directory(path) => Item { path: inside(&path), mode: 0o755, content: Content::Directory },
            Entry::File { path, bytes: content } => bytes(inside(&path), content),
        });
    }
    bundle
}

fn bytes(path: String, bytes: Vec<u8>) -> Item {
    Item { path, mode: 0o644, content: Content::Bytes(bytes) }
}

/// The folder of the layers in a place: directories `0` and so on.
pub(super) fn folder(place: &Place) -> PathBuf {
    place.data.join(format!("{}-root", place.run))
}

/// Writes as many layers, but for those that are there.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn write(place: &Place, layers: u32) -> Result<(), Failure> {
    let folder = folder(place);
    for number in 0..layers {
        let path = folder.join(number.to_string());
        if !path.exists() {
            bundle(place, number).write_folder(&path)?;
        }
    }
    Ok(())
}
