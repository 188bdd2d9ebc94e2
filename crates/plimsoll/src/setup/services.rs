//! Keeps packages from starting daemons while we install them, and takes that back.
//!
//! Debian's package scripts ask `/usr/sbin/policy-rc.d` before they start a service; status 101 says no. A host that has
//! such a file has its own policy and keeps it. Ours carries a mark, so that a killed setup's file is recognised and
//! removed by the next one or by `plimsoll clean`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const POLICY: &str = "/usr/sbin/policy-rc.d";
const MARK: &str = "# plimsoll setup: start no service while its package is installed";

/// While this lives, package scripts start no service.
#[derive(Debug)]
pub(super) struct ServicesHeld {
    ours: Option<PathBuf>,
}

impl ServicesHeld {
    /// Writes the policy, unless the host has one.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing may be installed, since it might start a daemon.
    pub(super) fn hold() -> std::io::Result<Self> {
        Self::hold_by(Path::new(POLICY))
    }

    fn hold_by(path: &Path) -> std::io::Result<Self> {
        remove_if_ours(path)?;
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let held = Self { ours: Some(path.to_owned()) };
                write!(file, "#!/bin/sh\n{MARK}\nexit 101\n")?;
                Ok(held)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ServicesHeld {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            // What stays behind carries our mark and is removed the next time.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes what a killed setup left behind; returns its path if there was something.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_leftovers() -> std::io::Result<Option<PathBuf>> {
    let path = Path::new(POLICY);
    Ok(remove_if_ours(path)?.then(|| path.to_owned()))
}

fn remove_if_ours(path: &Path) -> std::io::Result<bool> {
    let ours = std::fs::read_to_string(path).is_ok_and(|text| text.contains(MARK));
    if ours {
        std::fs::remove_file(path)?;
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_says_no_and_is_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let held = ServicesHeld::hold_by(&path).unwrap();
        let status = std::process::Command::new("sh").arg(&path).arg("docker").status().unwrap();
        assert_eq!(status.code(), Some(101));
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_hosts_own_policy_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        std::fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        drop(ServicesHeld::hold_by(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
    }

    #[test]
    fn a_killed_setups_policy_is_recognised_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        std::mem::forget(ServicesHeld::hold_by(&path).unwrap());
        drop(ServicesHeld::hold_by(&path).unwrap());
        assert!(!path.exists());
    }
}
