//! The executable: dispatches the hidden subcommands.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let status = match args.get(1).map(String::as_str) {
        Some("sandbox-child") => plimsoll::launch::enclosure::sandbox_child(&args[2..]),
        _ => 2,
    };
    ExitCode::from(u8::try_from(status).unwrap_or(70))
}
