//! Parameters of a workload: plan values, fixed once for the run and identical in every environment.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One value. Sizes are bytes, times are nanoseconds: the unit stands at the end of the parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parameter {
    /// A count, a size, a time.
    Integer(u64),
    /// A choice by name.
    Text(String),
}

impl From<u64> for Parameter {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(formatter),
            Self::Text(value) => value.fmt(formatter),
        }
    }
}

/// A parameter that is absent, of the wrong kind, or out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The workload needs it and the plan does not give it.
    #[error("parameter `{0}` is missing")]
    Missing(String),
    /// A number where a word is needed, or the reverse.
    #[error("parameter `{0}` is of the wrong kind")]
    Kind(String),
    /// Outside what the workload can do.
    #[error("parameter `{name}` is {value}, outside {low} to {high}")]
    Range {
        /// The parameter.
        name: String,
        /// What was given.
        value: u64,
        /// Smallest accepted value.
        low: u64,
        /// Largest accepted value.
        high: u64,
    },
}

/// Parameters by name, in a stable order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters(pub BTreeMap<String, Parameter>);

impl Parameters {
    /// The same parameters with one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Parameter>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A whole number within `low..=high`.
    ///
    /// # Errors
    /// [`ParameterError`] when it is absent, a word, or out of range.
    pub fn integer(&self, name: &str, low: u64, high: u64) -> Result<u64, ParameterError> {
        match self.0.get(name) {
            None => Err(ParameterError::Missing(name.to_owned())),
            Some(Parameter::Text(_)) => Err(ParameterError::Kind(name.to_owned())),
            Some(Parameter::Integer(value)) if (low..=high).contains(value) => Ok(*value),
            Some(Parameter::Integer(value)) => {
                Err(ParameterError::Range { name: name.to_owned(), value: *value, low, high })
            }
        }
    }

    /// A word.
    ///
    /// # Errors
    /// [`ParameterError`] when it is absent or a number.
    pub fn text(&self, name: &str) -> Result<&str, ParameterError> {
        match self.0.get(name) {
            None => Err(ParameterError::Missing(name.to_owned())),
            Some(Parameter::Integer(_)) => Err(ParameterError::Kind(name.to_owned())),
            Some(Parameter::Text(value)) => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_named_with_its_range() {
        let parameters = Parameters::default().with("threads", 9);
        let error = parameters.integer("threads", 1, 8).unwrap_err();
        assert_eq!(error.to_string(), "parameter `threads` is 9, outside 1 to 8");
    }

    #[test]
    fn a_word_is_not_a_number() {
        let parameters = Parameters::default().with("threads", "all");
        assert_eq!(parameters.integer("threads", 1, 8), Err(ParameterError::Kind("threads".into())));
        assert_eq!(parameters.text("threads"), Ok("all"));
    }
}
