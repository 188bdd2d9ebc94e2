//! Names of environments: `layer[:option[=value],...][/layer...]`, outermost first.
//!
//! A value that holds `/`, `,` or `:` is double-quoted. Every error of a name is reported at once, with a suggestion.

use super::{EngineAbout, Environment, Layer, OptionAbout, Options, Values};

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment `{environment}`: {message}")]
pub struct NameError {
    /// The whole name as written.
    pub environment: String,
    /// What is wrong, and what was perhaps meant.
    pub message: String,
}

impl Environment {
    /// Reads a name against the engines that exist.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, engines: &[&'static EngineAbout]) -> Result<Self, Vec<NameError>> {
        let mut reader = NameReader { text, engines, errors: Vec::new() };
        let stack = reader.stack();
        if reader.errors.is_empty() { Ok(Self { text: text.to_owned(), stack }) } else { Err(reader.errors) }
    }
}

struct NameReader<'a> {
    text: &'a str,
    engines: &'a [&'static EngineAbout],
    errors: Vec<NameError>,
}

impl NameReader<'_> {
    fn wrong(&mut self, message: String) {
        self.errors.push(NameError { environment: self.text.to_owned(), message });
    }

    fn stack(&mut self) -> Vec<Layer> {
        let parts = split_outside_quotes(self.text, '/');
        if parts == ["native"] {
            return Vec::new();
        }
        let stack: Vec<Layer> = parts.iter().filter_map(|part| self.layer(part)).collect();
        for pair in stack.windows(2) {
            self.nesting(&pair[0], &pair[1]);
        }
        stack
    }

    fn nesting(&mut self, outer: &Layer, inner: &Layer) {
        if !outer.engine.virtual_machine {
            self.wrong(format!(
                "nothing can be nested in `{}`; only a virtual machine holds further layers",
                outer.engine.name
            ));
        } else if !inner.engine.nests_in_guest {
            self.wrong(format!("`{}` cannot run inside a guest", inner.engine.name));
        }
    }

    fn layer(&mut self, part: &str) -> Option<Layer> {
        let (name, options) = part.split_once(':').unwrap_or((part, ""));
        let Some(engine) = self.engines.iter().copied().find(|engine| engine.name == name) else {
            self.unknown_engine(name);
            return None;
        };
        let mut read = Options::default();
        for option in split_outside_quotes(options, ',').into_iter().filter(|_| part.contains(':')) {
            self.option(engine, option, &mut read);
        }
        let broken: Vec<String> = engine.rules.iter().filter_map(|rule| rule.broken_by(engine, &read)).collect();
        broken.into_iter().for_each(|message| self.wrong(message));
        Some(Layer { engine, options: read, text: part.to_owned() })
    }

    fn unknown_engine(&mut self, name: &str) {
        if name == "native" {
            return self.wrong("`native` takes no options and no layers here".to_owned());
        }
        let known: Vec<&str> = std::iter::once("native").chain(self.engines.iter().map(|engine| engine.name)).collect();
        self.wrong(format!("unknown layer `{name}`{}", suggest(name, &known)));
    }

    fn option(&mut self, engine: &'static EngineAbout, option: &str, read: &mut Options) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let Some(about) = engine.options.iter().find(|about| about.key == key) else {
            let known: Vec<&str> = engine.options.iter().map(|about| about.key).collect();
            return self.wrong(format!("`{}` has no option `{key}`{}", engine.name, suggest(key, &known)));
        };
        if let Some(message) = refusal(about, value, option.contains('=')) {
            return self.wrong(message);
        }
        if read.0.insert(key.to_owned(), value.to_owned()).is_some() {
            self.wrong(format!("option `{key}` is given twice"));
        }
    }
}

fn refusal(about: &OptionAbout, value: &str, has_value: bool) -> Option<String> {
    match about.values {
        Values::Flag | Values::Set(_) if has_value => {
            Some(format!("`{}` is a bare word and takes no value", about.key))
        }
        Values::OneOf(words) if !words.contains(&value) => {
            Some(format!("`{}={value}`{}", about.key, suggest(value, words)))
        }
        Values::Number(low, high) if !value.parse().is_ok_and(|number| (low..=high).contains(&number)) => {
            Some(format!("`{}={value}` must be a number from {low} to {high}", about.key))
        }
        Values::Path if value.is_empty() => Some(format!("`{}` needs a path", about.key)),
        _ => None,
    }
}

/// What was perhaps meant, else what there is.
pub(crate) fn suggest(written: &str, known: &[&str]) -> String {
    let near = known.iter().map(|word| (strsim::damerau_levenshtein(written, word), word)).min();
    match near {
        Some((distance, word)) if distance <= 2 => format!("; did you mean `{word}`?"),
        _ => format!("; there is {}", known.join(", ")),
    }
}

pub(super) fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|character| {
        quoted ^= character == '"';
        character == separator && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::RuleAbout;
    use super::*;

    static BOX: EngineAbout = EngineAbout {
        name: "sandbox",
        summary: "",
        needs: "",
        virtual_machine: false,
        nests_in_guest: true,
        options: &[
            OptionAbout { key: "net", values: Values::OneOf(&["none", "host"]), default: "none", meaning: "" },
            OptionAbout { key: "fast", values: Values::Flag, default: "", meaning: "" },
            OptionAbout { key: "layers", values: Values::Number(1, 120), default: "1", meaning: "" },
        ],
        rules: &[],
    };
    static VM: EngineAbout = EngineAbout {
        name: "qemu",
        summary: "",
        needs: "",
        virtual_machine: true,
        nests_in_guest: false,
        options: &[
            OptionAbout { key: "kernel", values: Values::Path, default: "", meaning: "" },
            OptionAbout { key: "cache", values: Values::OneOf(&["back", "none"]), default: "back", meaning: "" },
            OptionAbout { key: "aio", values: Values::OneOf(&["threads", "native"]), default: "threads", meaning: "" },
            OptionAbout { key: "alone", values: Values::Flag, default: "", meaning: "" },
            OptionAbout {
                key: "tuned",
                values: Values::Set(&[("cache", "none"), ("aio", "native"), ("alone", "")]),
                default: "",
                meaning: "",
            },
        ],
        rules: &[RuleAbout { option: "aio", values: &["native"], needs: "cache", one_of: &["none"] }],
    };

    fn parse(text: &str) -> Result<Environment, Vec<String>> {
        Environment::parse(text, &[&BOX, &VM]).map_err(|errors| errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn a_name_prints_as_it_was_written() {
        for name in ["native", "sandbox", "sandbox:net=none", "qemu:kernel=\"/boot/a,b\"/sandbox:net=host,fast"] {
            assert_eq!(parse(name).unwrap().name(), name);
        }
    }

    #[test]
    fn an_option_not_written_has_its_default() {
        let environment = parse("sandbox").unwrap();
        assert_eq!(environment.stack()[0].option("net"), "none");
        assert_eq!(environment.stack()[0].options.written("net"), None);
    }

    #[test]
    fn a_quoted_value_keeps_its_separators() {
        let environment = parse("qemu:kernel=\"/boot/a,b:c\"/sandbox").unwrap();
        assert_eq!(environment.stack()[0].option("kernel"), "/boot/a,b:c");
        assert_eq!(environment.inner().as_deref(), Some("sandbox"));
    }

    #[test]
    fn a_set_stands_for_its_options_and_what_is_written_beside_it_wins() {
        let layer = |name: &str| parse(name).unwrap().stack()[0].clone();
        let tuned = layer("qemu:tuned");
        assert_eq!([tuned.option("cache"), tuned.option("aio")], ["none", "native"]);
        assert_eq!((tuned.chosen("alone"), tuned.chosen("kernel")), (Some(""), None));
        for name in ["qemu:tuned,aio=threads", "qemu:aio=threads,tuned"] {
            assert_eq!([layer(name).option("cache"), layer(name).option("aio")], ["none", "threads"], "{name}");
        }
        assert_eq!(layer("qemu").chosen("alone"), None);
        assert_eq!(parse("qemu:tuned=yes").unwrap_err(), ["`tuned` is a bare word and takes no value"]);
        assert_eq!(parse("qemu:tunned").unwrap_err(), ["`qemu` has no option `tunned`; did you mean `tuned`?"]);
    }

    #[test]
    fn an_option_that_needs_another_is_refused_without_it() {
        assert_eq!(parse("qemu:aio=native").unwrap_err(), ["`aio=native` needs `cache=none`"]);
        assert_eq!(parse("qemu:tuned,cache=back").unwrap_err(), ["`aio=native` of `tuned` needs `cache=none`"]);
        assert!(parse("qemu:aio=native,cache=none").is_ok() && parse("qemu:aio=threads").is_ok());
    }

    #[test]
    fn every_error_is_reported_at_once_with_a_suggestion() {
        let errors = parse("qmeu/sandbox:nett=none,net=hots").unwrap_err();
        assert_eq!(
            errors,
            [
                "unknown layer `qmeu`; did you mean `qemu`?",
                "`sandbox` has no option `nett`; did you mean `net`?",
                "`net=hots`; did you mean `host`?",
            ]
        );
    }

    #[test]
    fn environments_that_differ_in_one_number_have_the_same_rest() {
        let numbers = |name: &str| parse(name).unwrap().numbers();
        assert_eq!(numbers("sandbox"), [("layers", 1, "sandbox".to_owned())]);
        assert_eq!(numbers("sandbox:layers=8"), [("layers", 8, "sandbox".to_owned())]);
        let among_others = "qemu:kernel=\"/a,layers=3\"/sandbox:net=host,layers=100,fast";
        assert_eq!(
            numbers(among_others),
            [("layers", 100, "qemu:kernel=\"/a,layers=3\"/sandbox:fast,net=host".to_owned())]
        );
        assert_eq!(numbers("qemu"), []);
    }

    #[test]
    fn a_number_is_one_and_within_its_bounds() {
        for name in ["sandbox:layers=0", "sandbox:layers=121", "sandbox:layers=many", "sandbox:layers"] {
            let errors = parse(name).unwrap_err();
            assert!(errors[0].contains("must be a number from 1 to 120"), "{errors:?}");
        }
    }

    #[test]
    fn only_a_virtual_machine_holds_further_layers() {
        assert_eq!(parse("sandbox/qemu").unwrap_err().len(), 1);
        assert_eq!(parse("qemu/qemu").unwrap_err(), ["`qemu` cannot run inside a guest"]);
        assert!(parse("native/sandbox").is_err());
        assert!(parse("").is_err());
        assert!(parse("sandbox:").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,60}") {
            let _ = parse(&text);
        }
    }
}
