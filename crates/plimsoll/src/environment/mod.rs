//! The nouns: what an environment is, how its name is read and printed, and what may sit in what. No I/O.

mod name;

pub(crate) use name::suggest;

pub use name::NameError;

use std::collections::{BTreeMap, BTreeSet};

/// What an engine of isolation is, as data; each engine's file declares its own.
#[derive(Debug)]
pub struct EngineAbout {
    /// The word in an environment's name.
    pub name: &'static str,
    /// One line for `list environments`.
    pub summary: &'static str,
    /// What it needs on the host, one line.
    pub needs: &'static str,
    /// Whether it brings a kernel of its own.
    pub virtual_machine: bool,
    /// Whether it can be started inside a guest.
    pub nests_in_guest: bool,
    /// Options that its name takes.
    pub options: &'static [OptionAbout],
    /// Which of them go with which only.
    pub rules: &'static [RuleAbout],
}

/// One option of an engine.
#[derive(Debug)]
pub struct OptionAbout {
    /// `key` in `key=value`.
    pub key: &'static str,
    /// What it may be.
    pub values: Values,
    /// What it is when it is not written.
    pub default: &'static str,
    /// Its meaning, one line.
    pub meaning: &'static str,
}

/// What the value of an option may be.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A path on the host.
    Path,
    /// A bare word without a value.
    Flag,
    /// A bare word that stands for these options, each with its value (empty for a bare word). What is written beside it
    /// wins over them.
    Set(&'static [(&'static str, &'static str)]),
}

/// An option that needs another one to be as it says. It holds for what is written and for what a set stands for.
#[derive(Debug)]
pub struct RuleAbout {
    /// The option.
    pub option: &'static str,
    /// Its values that need something; empty: whatever it is.
    pub values: &'static [&'static str],
    /// The other option.
    pub needs: &'static str,
    /// What that must be, by its default too.
    pub one_of: &'static [&'static str],
}

impl RuleAbout {
    /// What a layer's options break of it, as a line; `None` where nothing.
    fn broken_by(&self, engine: &EngineAbout, options: &Options) -> Option<String> {
        let value = options.chosen(engine, self.option)?;
        let applies = self.values.is_empty() || self.values.contains(&value);
        if !applies || self.one_of.contains(&options.get(engine, self.needs)) {
            return None;
        }
        let written = if value.is_empty() { self.option.to_owned() } else { format!("{}={value}", self.option) };
        let set = options.set_of(engine, self.option).filter(|_| options.written(self.option).is_none());
        let of_set = set.map(|set| format!(" of `{}`", set.key)).unwrap_or_default();
        let needed: Vec<String> = self.one_of.iter().map(|word| format!("`{}={word}`", self.needs)).collect();
        Some(format!("`{written}`{of_set} needs {}", needed.join(" or ")))
    }
}

/// Options as written, by key; a bare flag has an empty value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// The value as written, or that of a set that was written, or the engine's default.
    #[must_use]
    pub fn get<'a>(&'a self, about: &'a EngineAbout, key: &str) -> &'a str {
        let default = about.options.iter().find(|option| option.key == key).map_or("", |option| option.default);
        self.chosen(about, key).unwrap_or(default)
    }

    /// The value as written, or that of a set that was written; a bare word has an empty one.
    #[must_use]
    pub fn chosen<'a>(&'a self, about: &EngineAbout, key: &str) -> Option<&'a str> {
        let of_set = || match self.set_of(about, key)?.values {
            Values::Set(options) => options.iter().find(|(option, _)| *option == key).map(|(_, value)| *value),
            _ => None,
        };
        self.written(key).or_else(of_set)
    }

    /// The set that was written and holds this option.
    fn set_of<'a>(&self, about: &'a EngineAbout, key: &str) -> Option<&'a OptionAbout> {
        let holds = |option: &&OptionAbout| match option.values {
            Values::Set(options) => options.iter().any(|(option, _)| *option == key),
            _ => false,
        };
        about.options.iter().filter(holds).find(|option| self.0.contains_key(option.key))
    }

    /// The value, if it was written.
    #[must_use]
    pub fn written(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// One layer of a stack: an engine and its options.
#[derive(Clone)]
pub struct Layer {
    /// The engine.
    pub engine: &'static EngineAbout,
    /// Its options as written.
    pub options: Options,
    /// The layer as written, such as `docker:net=host`.
    pub text: String,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Layer {
    /// The layer's name without one of its options.
    fn without(&self, key: &str) -> String {
        let Some((engine, options)) = self.text.split_once(':') else { return self.text.clone() };
        let is_other = |option: &&str| option.split('=').next() != Some(key);
        // In whichever order they are written.
        let others: BTreeSet<&str> = name::split_outside_quotes(options, ',').into_iter().filter(is_other).collect();
        let others: Vec<&str> = others.into_iter().collect();
        if others.is_empty() { engine.to_owned() } else { format!("{engine}:{}", others.join(",")) }
    }

    /// An option's value, from a set too, or its default.
    #[must_use]
    pub fn option(&self, key: &str) -> &str {
        self.options.get(self.engine, key)
    }

    /// An option's value where the name says something of it, by a set too; `Some("")` for a bare word.
    #[must_use]
    pub fn chosen(&self, key: &str) -> Option<&str> {
        self.options.chosen(self.engine, key)
    }
}

/// A named stack of layers; `native` is the empty stack. It prints as it was written.
#[derive(Debug, Clone)]
pub struct Environment {
    text: String,
    stack: Vec<Layer>,
}

impl Environment {
    /// The empty stack.
    #[must_use]
    pub fn native() -> Self {
        Self { text: "native".to_owned(), stack: Vec::new() }
    }

    /// Its name as written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text
    }

    /// Its layers, outermost first.
    #[must_use]
    pub fn stack(&self) -> &[Layer] {
        &self.stack
    }

    /// Whether it is the empty stack.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.stack.is_empty()
    }

    /// The options that are numbers: key, value (written or by default), and the name without it. Environments that
    /// differ in such a number alone have the same rest.
    #[must_use]
    pub fn numbers(&self) -> Vec<(&'static str, u64, String)> {
        let mut numbers = Vec::new();
        for (place, layer) in self.stack.iter().enumerate() {
            for option in layer.engine.options.iter().filter(|option| matches!(option.values, Values::Number(..))) {
                let Ok(value) = layer.option(option.key).parse() else { continue };
                let mut parts: Vec<String> = self.stack.iter().map(|layer| layer.text.clone()).collect();
                parts[place] = layer.without(option.key);
                numbers.push((option.key, value, parts.join("/")));
            }
        }
        numbers
    }

    /// The part inside the outermost layer, as written: `sandbox` of `qemu/sandbox`; `None` where there is none.
    #[must_use]
    pub fn inner(&self) -> Option<String> {
        let inner: Vec<&str> = self.stack.iter().skip(1).map(|layer| layer.text.as_str()).collect();
        (!inner.is_empty()).then(|| inner.join("/"))
    }
}
