//! The executable: dispatches the hidden subcommands.

use std::process::ExitCode;

use plimsoll_agent::{NoNest, Wire, run_under_init, serve};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let status = match args.get(1).map(String::as_str) {
        Some("agent") => run_under_init(|| {
            let served = Wire::from_stdio(|| false).map(|mut wire| serve(&mut wire, &mut NoNest).is_ok());
            i32::from(!served.unwrap_or(false))
        }),
        Some("sandbox-child") => plimsoll::launch::enclosure::sandbox_child(&args[2..]),
        _ => 2,
    };
    ExitCode::from(u8::try_from(status).unwrap_or(70))
}
