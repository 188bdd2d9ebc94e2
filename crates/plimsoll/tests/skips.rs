//! What `support::require` promises to the other tests.

mod support;

#[test]
fn native_is_never_lacking() {
    assert!(support::require("native"));
}

#[test]
fn what_an_unknown_engine_lacks_is_said() {
    assert!(support::lack("no-such-engine").is_some_and(|reason| reason.contains("unknown layer")));
}
