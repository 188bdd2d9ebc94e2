//! The executable: dispatches the hidden subcommands.

use std::io::Write;

use plimsoll_agent::init::run_under_init;
use plimsoll_agent::serve::serve;
use plimsoll_agent::wire::Wire;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let code = match arguments.first().map(String::as_str) {
        Some("agent") => agent(),
        Some("sandbox-child") => plimsoll::launch::enclosure::sandbox_child(&arguments[1..]),
        Some("guest-init") => plimsoll::guest::guest_init(&arguments[1..]),
        _ => 2,
    };
    std::process::exit(code);
}

/// The side that runs inside: it answers what comes over standard input and output.
fn agent() -> i32 {
    run_under_init(|| {
        let served = Wire::from_stdio(|| false).map_err(|error| error.to_string()).and_then(|mut wire| {
            serve(&mut wire, &mut plimsoll::guest::nest::GuestNest).map_err(|error| error.to_string())
        });
        match served {
            Ok(_) => 0,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "plimsoll agent: {error}");
                1
            }
        }
    })
}
