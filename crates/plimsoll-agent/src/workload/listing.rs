//! Whether a directory holds what it should, by its names alone: no file in it is touched.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::WorkloadError;

/// Compares the names in a directory with those expected; names for which `ignored` holds may be there or not.
///
/// # Errors
/// [`WorkloadError::Wrong`] with a name that is there or not and should not; [`WorkloadError::System`] when the directory
/// cannot be read.
pub(super) fn check(
    folder: &Path,
    expected: impl Iterator<Item = String>,
    ignored: fn(&str) -> bool,
) -> Result<(), WorkloadError> {
    let mut found =
        names(folder).map_err(|error| WorkloadError::system(format!("reading {}", folder.display()), error))?;
    let wrong = |what: String| Err(WorkloadError::Wrong(format!("{}: {what}", folder.display())));
    for name in expected {
        if !found.remove(&name) {
            return wrong(format!("`{name}` is not there"));
        }
    }
    match found.iter().find(|name| !ignored(name)) {
        Some(name) => wrong(format!("`{name}` is there and should not be")),
        None => Ok(()),
    }
}

fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_too_few_and_a_name_too_many_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "x-1"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let checked = |expected: &[&str], ignored| {
            let checked = check(folder.path(), expected.iter().map(ToString::to_string), ignored);
            checked.map_err(|error| error.to_string())
        };
        let is_x = |name: &str| name.starts_with("x-");
        assert_eq!(checked(&["b", "a"], is_x), Ok(()));
        assert!(checked(&["b", "a"], |_| false).unwrap_err().ends_with("`x-1` is there and should not be"));
        assert!(checked(&["a"], is_x).unwrap_err().ends_with("`b` is there and should not be"));
        assert!(checked(&["a", "b", "c"], is_x).unwrap_err().ends_with("`c` is not there"));
        let path = folder.path().join("nowhere");
        assert!(check(&path, std::iter::empty(), is_x).unwrap_err().to_string().contains("No such file"));
    }
}
