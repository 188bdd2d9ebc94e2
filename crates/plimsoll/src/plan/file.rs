//! A plan file: TOML, every unknown key and wrong kind reported at once, each with its line.
//!
//! ```toml
//! preset = "quick"
//! environments = ["native", "docker:net=host"]
//! workloads = ["cpu", "disk.randread"]
//! blocks = 10
//!
//! [parameters."disk.randread"]
//! file_bytes = 268435456
//!
//! [parameters."mem.copy"]
//! threads = [1, 2, 4]
//! ```

use std::collections::BTreeMap;

use plimsoll_protocol::Parameter;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::PlanError;
use super::wishes::{Said, Wishes};
use crate::environment::suggest;

/// Every key of a plan file.
const KEYS: [&str; 16] = [
    "preset",
    "environments",
    "workloads",
    "blocks",
    "slices",
    "points",
    "slice",
    "precision",
    "time",
    "margin",
    "seed",
    "cpus",
    "memory",
    "data",
    "data_device",
    "parameters",
];

/// Reads the text of a plan file; `name` is how errors call it.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn read(name: &str, text: &str) -> Result<Wishes, Vec<PlanError>> {
    let mut reader = FileReader { name, text, errors: Vec::new() };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            return Err(vec![PlanError { at: reader.at(offset), message: error.message().to_owned() }]);
        }
    };
    let wishes = reader.wishes(table.get_ref());
    if reader.errors.is_empty() { Ok(wishes) } else { Err(reader.errors) }
}

struct FileReader<'a> {
    name: &'a str,
    text: &'a str,
    errors: Vec<PlanError>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl FileReader<'_> {
    fn wishes(&mut self, table: &DeTable<'_>) -> Wishes {
        let mut wishes = Wishes::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "preset" => wishes.preset = self.word(value),
                "environments" => wishes.environments = self.words(value),
                "workloads" => wishes.workloads = self.words(value),
                "blocks" => wishes.blocks = self.number(value),
                "slices" => wishes.slices = self.number(value),
                "points" => wishes.points = self.word(value),
                "slice" => wishes.slice = self.word(value),
                "precision" => wishes.precision = self.word(value),
                "time" => wishes.time = self.word(value),
                "margin" => wishes.margin = self.word(value),
                "seed" => wishes.seed = self.number(value),
                "cpus" => wishes.cpus = self.word(value),
                "memory" => wishes.memory = self.word(value),
                "data" => wishes.data = self.word(value),
                "data_device" => wishes.data_device = self.word(value),
                "parameters" => wishes.parameters = self.parameters(value),
                unknown => self.wrong(key.span().start, format!("unknown key `{unknown}`{}", suggest(unknown, &KEYS))),
            }
        }
        wishes
    }

    fn parameters(&mut self, value: &Value<'_>) -> BTreeMap<String, BTreeMap<String, Said<Vec<Parameter>>>> {
        let mut all = BTreeMap::new();
        for (workload, values) in self.table(value).into_iter().flatten() {
            let mut read = BTreeMap::new();
            for (name, value) in self.table(values).into_iter().flatten() {
                let values = self.values(value);
                read.insert(name.get_ref().to_string(), self.said(value, values));
            }
            all.insert(workload.get_ref().to_string(), read);
        }
        all
    }

    /// One value, or a list of them.
    fn values(&mut self, value: &Value<'_>) -> Vec<Parameter> {
        match value.get_ref() {
            DeValue::Array(values) if values.is_empty() => {
                self.wrong(value.span().start, "expected at least one value".to_owned());
                Vec::new()
            }
            DeValue::Array(values) => values.iter().filter_map(|value| self.parameter(value)).collect(),
            _ => self.parameter(value).into_iter().collect(),
        }
    }

    fn parameter(&mut self, value: &Value<'_>) -> Option<Parameter> {
        match value.get_ref() {
            DeValue::String(text) => Some(Parameter::Text(text.to_string())),
            _ => self.number(value).map(|said| Parameter::Integer(said.value)),
        }
    }

    fn table<'a, 'b>(&mut self, value: &'a Value<'b>) -> Option<&'a DeTable<'b>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value.span().start, "expected a table".to_owned());
        }
        table
    }

    fn words(&mut self, value: &Value<'_>) -> Vec<Said<String>> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(value.span().start, "expected a list of words, such as [\"native\", \"docker\"]".to_owned());
            return Vec::new();
        };
        array.iter().filter_map(|value| self.word(value)).collect()
    }

    fn word(&mut self, value: &Value<'_>) -> Option<Said<String>> {
        let word = value.get_ref().as_str().map(|text| self.said(value, text.to_owned()));
        if word.is_none() {
            self.wrong(value.span().start, "expected a text in quotes".to_owned());
        }
        word
    }

    fn number(&mut self, value: &Value<'_>) -> Option<Said<u64>> {
        let integer = value.get_ref().as_integer();
        let number = integer.and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        if number.is_none() {
            self.wrong(value.span().start, "expected a whole number, 0 or more".to_owned());
        }
        number.map(|number| self.said(value, number))
    }

    fn said<T>(&self, value: &Value<'_>, said: T) -> Said<T> {
        Said::new(said, self.at(value.span().start))
    }

    fn wrong(&mut self, offset: usize, message: String) {
        self.errors.push(PlanError { at: self.at(offset), message });
    }

    fn at(&self, offset: usize) -> String {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        format!("{} line {line}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        read("plan.toml", text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wish_remembers_its_line() {
        let wishes = read("plan.toml", "blocks = 7\nenvironments = [\n  \"native\",\n  \"docker\"]\n").unwrap();
        assert_eq!(wishes.blocks, Some(Said::new(7, "plan.toml line 1")));
        assert_eq!(wishes.environments[1], Said::new("docker".into(), "plan.toml line 4"));
    }

    #[test]
    fn parameters_are_numbers_or_words_or_lists_of_them() {
        let text = "[parameters.\"cpu.lzma\"]\ninput_bytes = 1_000\nmode = \"fast\"\nthreads = [1, 4]\n";
        let parameters = read("p", text).unwrap().parameters;
        assert_eq!(parameters["cpu.lzma"]["input_bytes"].value, [Parameter::Integer(1000)]);
        assert_eq!(parameters["cpu.lzma"]["mode"].value, [Parameter::Text("fast".into())]);
        assert_eq!(parameters["cpu.lzma"]["threads"].value, [Parameter::Integer(1), Parameter::Integer(4)]);
        assert_eq!(errors("[parameters.\"a\"]\nb = []\n"), ["plan.toml line 2: expected at least one value"]);
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_line() {
        assert_eq!(
            errors("block = 3\nseed = -1\nmemory = 5\nworkloads = \"cpu\"\n"),
            [
                "plan.toml line 1: unknown key `block`; did you mean `blocks`?",
                "plan.toml line 3: expected a text in quotes",
                "plan.toml line 2: expected a whole number, 0 or more",
                "plan.toml line 4: expected a list of words, such as [\"native\", \"docker\"]",
            ]
        );
    }

    #[test]
    fn text_that_is_no_toml_is_named_with_its_line() {
        assert!(errors("blocks = 3\nseed = = 4\n")[0].starts_with("plan.toml line 2: "));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,80}") {
            let _ = read("p", &text);
        }
    }
}
