//! The dispatch that tests of engines need.

use std::io::Write as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("agent") => agent(),
        Some("sandbox-child") => {
            let code = plimsoll::launch::enclosure::sandbox_child(&arguments[1..]);
            ExitCode::from(u8::try_from(code).unwrap_or(70))
        }
        Some("private-docker") => private_docker(&arguments[1..]),
        _ => ExitCode::from(2),
    }
}

fn agent() -> ExitCode {
    let code = plimsoll_agent::run_under_init(|| {
        let served = plimsoll_agent::Wire::from_stdio(|| false).map_err(Into::into);
        match served.and_then(|mut wire| plimsoll_agent::serve(&mut wire, &mut plimsoll_agent::NoNest)) {
            Ok(_) => 0,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "plimsoll: {error}");
                70
            }
        }
    });
    ExitCode::from(u8::try_from(code).unwrap_or(70))
}

#[expect(clippy::print_stderr, reason = "this is the program's edge")]
fn private_docker(arguments: &[String]) -> ExitCode {
    let command: Vec<&String> = arguments.iter().filter(|word| *word != "--").collect();
    let result = plimsoll::launch::engines::docker::with_private_engine(|socket| {
        let host = format!("unix://{}", socket.display());
        let status = Command::new(command[0]).args(&command[1..]).env("DOCKER_HOST", host).status();
        status.ok().and_then(|status| status.code()).unwrap_or(70)
    });
    match result {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(70)),
        Err(failure) => {
            eprintln!("plimsoll: {failure}");
            ExitCode::from(3)
        }
    }
}
