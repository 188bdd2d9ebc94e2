//! The program: reads its arguments, does what they say, exits.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let code = match arguments.first().map(String::as_str) {
        Some("guest-init") => plimsoll::guest::guest_init(&arguments[1..]),
        _ => 2,
    };
    std::process::exit(code);
}
