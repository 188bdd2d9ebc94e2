//! The executable: dispatches the hidden subcommands.

use std::io::Write as _;
use std::process::{Command, ExitCode};

use plimsoll_agent::{NoNest, Wire, run_under_init, serve};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let status = match args.get(1).map(String::as_str) {
        Some("agent") => run_under_init(|| {
            let served = Wire::from_stdio(|| false).map_err(Into::into);
            match served.and_then(|mut wire| serve(&mut wire, &mut NoNest)) {
                Ok(_) => 0,
                Err(error) => say(1, &error),
            }
        }),
        Some("sandbox-child") => plimsoll::launch::enclosure::sandbox_child(&args[2..]),
        Some("private-docker") => private_docker(&args[2..]),
        _ => 2,
    };
    ExitCode::from(u8::try_from(status).unwrap_or(70))
}

/// `private-docker -- COMMAND...`: runs it with `DOCKER_HOST` pointing to an engine that answers.
fn private_docker(args: &[String]) -> i32 {
    let Some((program, args)) = args.strip_prefix(&["--".to_owned()]).unwrap_or(args).split_first() else { return 2 };
    let result = plimsoll::launch::engines::docker::with_private_engine(|socket| {
        let host = format!("unix://{}", socket.display());
        match Command::new(program).args(args).env("DOCKER_HOST", host).status() {
            Ok(status) => status.code().unwrap_or(70),
            Err(error) => say(127, &format!("{program}: {error}")),
        }
    });
    result.unwrap_or_else(|failure| say(3, &failure))
}

fn say(status: i32, words: &dyn std::fmt::Display) -> i32 {
    let _ = writeln!(std::io::stderr(), "plimsoll: {words}");
    status
}
