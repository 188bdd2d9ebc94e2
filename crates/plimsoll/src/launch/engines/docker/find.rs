//! Which Docker engine a run uses: the one that `DOCKER_HOST` names, else the system's, else a private one. Starts none.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::launch::process::find_program;

/// Where an engine listens unless it was told otherwise.
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";

/// What a search for an engine looks at.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The variable `DOCKER_HOST`.
    pub(super) docker_host: Option<String>,
    /// The system's socket.
    pub(super) system_socket: PathBuf,
    /// Whether we are root.
    pub(super) root: bool,
    /// The program `dockerd`, where it is installed.
    pub(super) dockerd: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        Self {
            docker_host: std::env::var("DOCKER_HOST").ok().filter(|value| !value.is_empty()),
            system_socket: PathBuf::from(SYSTEM_SOCKET),
            root: nix::unistd::geteuid().is_root(),
            dockerd: find_program("dockerd"),
        }
    }
}

/// Which engine to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Something accepts connections at this socket.
    Listening(PathBuf),
    /// This `dockerd` can be started.
    Startable(PathBuf),
    /// None.
    Nothing {
        /// Why, one line.
        why: String,
        /// What helps.
        remedy: String,
    },
}

/// Looks for an engine.
pub(super) fn find(surroundings: &Surroundings) -> Found {
    match &surroundings.docker_host {
        Some(host) => named(host),
        None => systems(surroundings),
    }
}

/// `DOCKER_HOST` was set on purpose, so nothing else is used in its place.
fn named(host: &str) -> Found {
    let Some(path) = host.strip_prefix("unix://") else {
        return Found::Nothing {
            why: format!("DOCKER_HOST={host} is not a socket of this machine"),
            remedy: "unset DOCKER_HOST: only containers on the machine that runs plimsoll can be compared with it"
                .to_owned(),
        };
    };
    match reach(Path::new(path)) {
        Ok(()) => Found::Listening(PathBuf::from(path)),
        Err(error) => Found::Nothing {
            why: format!("no Docker engine answers at DOCKER_HOST={host}: {error}"),
            remedy: remedy_for(&error, "start that engine, or unset DOCKER_HOST"),
        },
    }
}

fn systems(surroundings: &Surroundings) -> Found {
    let socket = &surroundings.system_socket;
    let error = match reach(socket) {
        Ok(()) => return Found::Listening(socket.clone()),
        Err(error) => error,
    };
    match &surroundings.dockerd {
        Some(dockerd) if surroundings.root => Found::Startable(dockerd.clone()),
        Some(_) => Found::Nothing {
            why: format!("no Docker engine answers at {}: {error}", socket.display()),
            remedy: remedy_for(&error, "start it (`sudo systemctl start docker`), or run plimsoll as root"),
        },
        None => Found::Nothing {
            why: "there is no Docker engine here".to_owned(),
            remedy: "install one with `plimsoll setup docker`".to_owned(),
        },
    }
}

fn remedy_for(error: &io::Error, otherwise: &str) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "join the group `docker` (`sudo usermod -aG docker $USER`, then log in again), or run plimsoll as root"
            .to_owned()
    } else {
        otherwise.to_owned()
    }
}

/// Whether something accepts connections there.
pub(super) fn reach(socket: &Path) -> io::Result<()> {
    UnixStream::connect(socket).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn words(found: Found) -> String {
        match found {
            Found::Nothing { why, remedy } => format!("{why}; {remedy}"),
            other => format!("{other:?}"),
        }
    }

    fn check(docker_host: Option<&str>, root: bool, dockerd: bool, system_socket: &Path) -> Found {
        find(&Surroundings {
            docker_host: docker_host.map(str::to_owned),
            system_socket: system_socket.to_owned(),
            root,
            dockerd: dockerd.then(|| PathBuf::from("/usr/sbin/dockerd")),
        })
    }

    #[test]
    fn an_engine_that_listens_is_preferred_to_a_private_one() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(check(None, true, true, &socket), Found::Listening(socket.clone()));
        let host = format!("unix://{}", socket.display());
        assert_eq!(check(Some(&host), false, false, Path::new("/nonexistent")), Found::Listening(socket));
    }

    #[test]
    fn a_private_engine_needs_root_and_dockerd() {
        let nowhere = Path::new("/nonexistent/docker.sock");
        assert_eq!(check(None, true, true, nowhere), Found::Startable(PathBuf::from("/usr/sbin/dockerd")));
        insta::assert_snapshot!(words(check(None, false, true, nowhere)), @"no Docker engine answers at /nonexistent/docker.sock: No such file or directory (os error 2); start it (`sudo systemctl start docker`), or run plimsoll as root");
        insta::assert_snapshot!(words(check(None, true, false, nowhere)), @"there is no Docker engine here; install one with `plimsoll setup docker`");
    }

    #[test]
    fn a_docker_host_that_points_to_nothing_is_never_replaced_by_another_engine() {
        let nowhere = Path::new("/nonexistent/docker.sock");
        let missing = check(Some("unix:///nonexistent/d.sock"), true, true, nowhere);
        insta::assert_snapshot!(words(missing), @"no Docker engine answers at DOCKER_HOST=unix:///nonexistent/d.sock: No such file or directory (os error 2); start that engine, or unset DOCKER_HOST");
        insta::assert_snapshot!(words(check(Some("tcp://10.0.0.1:2375"), true, true, nowhere)), @"DOCKER_HOST=tcp://10.0.0.1:2375 is not a socket of this machine; unset DOCKER_HOST: only containers on the machine that runs plimsoll can be compared with it");
    }

    #[test]
    fn a_socket_that_nobody_listens_to_is_no_engine() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        drop(UnixListener::bind(&socket).unwrap());
        assert!(matches!(check(None, true, true, &socket), Found::Startable(_)));
    }

    #[test]
    fn a_user_without_permission_is_told_of_the_group() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(remedy_for(&denied, "else").contains("group `docker`"));
    }
}
