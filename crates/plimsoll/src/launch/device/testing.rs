//! A loop device for unit tests.

use std::path::PathBuf;
use std::time::Duration;

use super::examine;
use crate::launch::process::{run_tool, run_tool_for_its_output};
use crate::launch::testing::skip;

const TOOL_BOUND: Duration = Duration::from_secs(60);

/// Enough for a filesystem, and too much to be looked at as a whole.
pub(in crate::launch) const SMALL_BYTES: u64 = 64 << 20;

/// One over an empty file; both go with it.
pub(in crate::launch) struct Loop {
    pub(in crate::launch) device: PathBuf,
    _folder: tempfile::TempDir,
}

impl Loop {
    /// `None`, with a word why, where loop devices cannot be made.
    pub(in crate::launch) fn make(bytes: u64) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("root", "a loop device needs root");
            return None;
        }
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let file = folder.path().join("disk");
        std::fs::File::create(&file).unwrap().set_len(bytes).unwrap();
        let argv = ["losetup", "--find", "--show", "--direct-io=on", &file.display().to_string()];
        let made = run_tool_for_its_output(&argv, TOOL_BOUND, || false);
        let device = made.map_err(|failure| skip("loop", &failure.message)).ok()?;
        Some(Self { device: PathBuf::from(device.trim()), _folder: folder })
    }

    /// Runs a tool on it.
    pub(in crate::launch) fn run(&self, argv: &[&str]) {
        let path = self.device.display().to_string();
        let argv: Vec<&str> = argv.iter().copied().chain([path.as_str()]).collect();
        run_tool_for_its_output(&argv, TOOL_BOUND, || false).unwrap();
    }

    /// Why it may not be taken.
    pub(in crate::launch) fn refusal(&self) -> String {
        examine(&self.device, || false).unwrap_err().message
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run_tool(&["losetup", "-d", &self.device.display().to_string()], TOOL_BOUND, || false);
    }
}
