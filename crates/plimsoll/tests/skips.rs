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

/// Root needs nothing more for a container of our own, so that a test which skips for want of it shows a defect.
#[test]
fn the_sandbox_is_never_lacking_where_the_program_has_it() {
    if support::lack("root").is_none() {
        assert_eq!(support::lack("sandbox"), None);
    }
}
