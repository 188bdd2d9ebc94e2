//! The one request that undoing needs of a Docker engine: DELETE, as HTTP/1.0 over its Unix socket. Nothing else of the
//! engine's API lives here.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::sample::{Cause, Failure};

/// How long the engine may take to remove a container.
const ANSWER_BOUND: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Deletes what `target` names (a path with its query). What is not there is deleted already, and so is what belonged to
/// a private engine of this run that is gone: its processes, cgroups and data folder are entries of their own. The host's
/// engine keeps its containers and images while it is stopped.
pub(super) fn delete(socket: &Path, target: &str, run: &str) -> Result<(), Failure> {
    let private = socket.to_string_lossy().contains(run);
    let named = |error: std::io::Error| {
        let what =
            format!("cannot delete {target} through {} (is that Docker engine still running?)", socket.display());
        Failure::new(Cause::TearDown, format!("{what}: {error}"))
    };
    let answer = match ask(socket, target) {
        Err(error) if is_dead(&error) && private => return Ok(()),
        Err(error) if is_dead(&error) => {
            let what = format!("cannot delete {target}: nobody answers at {}", socket.display());
            let remedy = "start Docker and run `plimsoll clean` again";
            return Err(Failure::new(Cause::TearDown, format!("{what} ({error}); {remedy}")));
        }
        answer => answer.map_err(named)?,
    };
    match status(&answer) {
        Some(200..=299 | 304 | 404) => Ok(()),
        _ => Err(named(std::io::Error::other(answer.lines().next().unwrap_or("no answer").to_owned()))),
    }
}

/// Whether there is no socket, nobody listens, or whoever did is just dying.
fn is_dead(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotFound)
}

fn ask(socket: &Path, target: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_BOUND))?;
    stream.set_write_timeout(Some(ANSWER_BOUND))?;
    write!(stream, "DELETE {target} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.")?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn check(answer: &'static str) -> Result<(), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let result = delete(&socket, "/containers/plimsoll-x?force=1", "plimsoll-x");
        assert!(engine.join().unwrap().starts_with("DELETE /containers/plimsoll-x?force=1 HTTP/1.0\r\n"));
        result
    }

    #[test]
    fn what_is_not_there_is_deleted_already() {
        assert_eq!(check("HTTP/1.0 404 Not Found\r\n\r\n"), Ok(()));
        assert_eq!(check("HTTP/1.1 204 No Content\r\n\r\n"), Ok(()));
    }

    #[test]
    fn a_refusal_is_an_error_that_names_the_engine() {
        let failure = check("HTTP/1.0 409 Conflict\r\n\r\n").unwrap_err();
        assert!(failure.message.contains("409 Conflict") && failure.message.contains("docker.sock"), "{failure}");
    }

    #[test]
    fn only_an_engine_of_this_run_may_be_dead() {
        let folder = tempfile::Builder::new().prefix("plimsoll-x").tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(delete(&socket, "/containers/plimsoll-x-1", "plimsoll-x"), Ok(()));
        let failure = delete(&socket, "/containers/plimsoll-y-1", "plimsoll-y").unwrap_err();
        assert!(failure.message.contains("start Docker and run `plimsoll clean` again"), "{failure}");
    }

    #[test]
    fn only_an_engine_of_this_run_has_nothing_left_without_its_socket() {
        let ours = Path::new("/nonexistent/plimsoll-x/docker.sock");
        assert_eq!(delete(ours, "/containers/plimsoll-x-1", "plimsoll-x"), Ok(()));
        let hosts = Path::new("/nonexistent/docker.sock");
        let failure = delete(hosts, "/containers/plimsoll-x-1", "plimsoll-x").unwrap_err();
        assert!(failure.message.contains("start Docker and run `plimsoll clean` again"), "{failure}");
    }
}
