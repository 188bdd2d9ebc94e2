//! Whatever arrives instead of frames: reading it must end in a message or an error, never in a panic, and must not
//! allocate what a header merely claims.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_protocol::{PROTOCOL_VERSION, Reply, Request, read_frame, write_frame};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Also as the payload of a frame with a valid header, so that the fuzzer need not find one.
    let length = u32::try_from(bytes.len()).expect("libFuzzer's inputs are small");
    let header = [b"PLIM".as_slice(), &PROTOCOL_VERSION.to_le_bytes(), &length.to_le_bytes()].concat();
    read(&[&header, bytes].concat());
});

fn read(mut stream: &[u8]) {
    let mut requests = stream;
    while let Ok(request) = read_frame::<Request>(&mut requests) {
        write_frame(&mut Vec::new(), &request).expect("what came in a frame fits one again");
    }
    while let Ok(reply) = read_frame::<Reply>(&mut stream) {
        let _ = reply.check();
        write_frame(&mut Vec::new(), &reply).expect("what came in a frame fits one again");
    }
}
