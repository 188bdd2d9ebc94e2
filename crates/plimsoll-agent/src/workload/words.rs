//! Parameters that are words: which ones are allowed, and the points that they make.

use plimsoll_protocol::Parameters;

use super::WorkloadError;

/// Allowed words, each with what it means to the workload; the first is the default.
pub(super) type Words<T> = [(&'static str, T)];

/// What the word means that `parameters` hold under `name`.
pub(super) fn chosen<T: Copy>(parameters: &Parameters, name: &str, words: &Words<T>) -> Result<T, WorkloadError> {
    let word = parameters.text(name)?;
    let known = words.iter().find(|(known, _)| *known == word);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(known, _)| format!("`{known}`")).collect();
        WorkloadError::Wrong(format!("parameter `{name}` is `{word}`; it can be {}", allowed.join(" or ")))
    })
}

/// One point for each word.
pub(super) fn points<T>(name: &str, words: &Words<T>) -> Vec<Parameters> {
    words.iter().map(|(word, _)| Parameters::default().with(name, *word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_word_is_refused_with_the_list_of_those_allowed() {
        let words: &Words<u8> = &[("few", 1), ("many", 2)];
        let choose = |word: &str| chosen(&Parameters::default().with("how", word), "how", words);
        assert_eq!(choose("many").unwrap(), 2);
        assert_eq!(choose("none").unwrap_err().to_string(), "parameter `how` is `none`; it can be `few` or `many`");
        assert!(matches!(chosen(&Parameters::default(), "how", words), Err(WorkloadError::Parameter(_))));
        assert_eq!(points("how", words)[0], Parameters::default().with("how", "few"));
    }
}
