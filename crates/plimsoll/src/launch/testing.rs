//! What the unit tests of this module share.

/// Says why a test skips what it would check; one that `PLIMSOLL_REQUIRE` demands (by `what`) fails instead.
pub(crate) fn skip(what: &str, reason: &str) {
    let demanded = std::env::var("PLIMSOLL_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == what));
    assert!(!demanded, "{what} is demanded: {reason}");
    eprintln!("skipped: {reason}");
}
