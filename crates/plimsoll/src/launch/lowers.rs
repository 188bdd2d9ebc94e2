//! The lower layers of containers' roots, shared by all containers of a run: as an image has them, without an image.
//!
//! The lowest holds the agent's bundle, and the files of a workload that looks for them there. Each one above changes
//! something of its own, as layers of images do.

use std::path::{Path, PathBuf};

use plimsoll_agent::workload::layer_tree::{Entry, Tree};

use super::Place;
use super::bundle::{Bundle, Content, DATA_PATH, Item};
use crate::sample::{Cause, Failure};

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

/// Writes as many layers, but for those that are there, and looks at every file in each of them. A layer that is there is
/// whole.
///
/// # Errors
/// When a file cannot be read or written, or the user wants to stop.
pub(super) fn write(place: &Place, layers: u32) -> Result<(), Failure> {
    let folder = folder(place);
    for number in 0..layers {
        let path = folder.join(number.to_string());
        if path.exists() {
            continue;
        }
        if (place.interrupted)() {
            return Err(Failure::new(Cause::Interrupted, "interrupted while layers were written"));
        }
        let unfinished = folder.join(format!("{number}.unfinished"));
        bundle(place, number).write_folder(&unfinished)?;
        std::fs::rename(&unfinished, &path)
            .map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))?;
        look_through(place, &path.join(DATA_PATH.trim_start_matches('/')));
    }
    Ok(())
}

/// Looks up, in the data directory of one layer, every file of the run's tree, also those that the layer does not have. The
/// kernel keeps what it found, names that are nowhere among it: else the first container of a run would look, and all
/// others be told.
pub(super) fn look_through(place: &Place, data: &Path) {
    for path in place.tree.iter().flat_map(Tree::paths) {
        // That it is not there is what is learnt.
        let _ = std::fs::symlink_metadata(data.join(path));
    }
}

#[cfg(test)]
mod tests {
    use super::super::bundle::Bundle;
    use super::super::journal::Journal;
    use super::*;

    fn place(folder: &Path, interrupted: fn() -> bool) -> Place {
        let run = "plimsoll-test-lowers".to_owned();
        let journal = Journal::start(&folder.join("journals"), &run).unwrap();
        let (scratch, data) = (folder.to_owned(), folder.to_owned());
        Place {
            run,
            scratch,
            data,
            journal,
            bundle: Bundle::default(),
            tree: None,
            root: false,
            data_disk_bytes: 0,
            interrupted,
        }
    }

    #[test]
    fn a_layer_is_there_when_it_is_whole_and_a_stack_grows() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path(), || false);
        // What an attempt that failed left behind.
        std::fs::create_dir_all(folder(&place).join("1.unfinished")).unwrap();
        write(&place, 1).unwrap();
        assert!(folder(&place).join("0").exists() && !folder(&place).join("1").exists());
        write(&place, 3).unwrap();
        for number in [1, 2] {
            let own = format!("{number}/etc/plimsoll-layer-{number}");
            assert!(folder(&place).join(&own).exists(), "{own}");
        }
    }

    #[test]
    fn layers_are_not_written_for_somebody_who_wants_to_stop() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path(), || true);
        assert_eq!(write(&place, 100).unwrap_err().cause, Cause::Interrupted);
        assert!(!folder(&place).join("0").exists());
    }
}
