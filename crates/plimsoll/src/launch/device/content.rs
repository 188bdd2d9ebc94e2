//! What blkid recognises on a block device: nothing, or something with or without a UUID. It asks and decides nothing.

use std::path::Path;
use std::time::Duration;

use crate::launch::process::{ToolOutput, run_tool};
use crate::sample::Failure;

/// How long a look may take.
const LOOK_BOUND: Duration = Duration::from_secs(10);
/// blkid's exit status where it recognised nothing. It is the same where the device cannot be opened or read, so whoever
/// asks must have read it.
const RECOGNISED_NOTHING: i32 = 2;

/// What a device holds, as far as blkid knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::launch) enum Content {
    /// Nothing that it recognises.
    Nothing,
    /// A filesystem, a volume or a partition table.
    Something {
        /// That of a filesystem or volume which has one.
        uuid: Option<String>,
        /// What it is, for a sentence that begins "it holds".
        words: String,
    },
}

impl Content {
    /// Asks blkid, which looks at the device itself and not into its cache.
    ///
    /// # Errors
    /// When it cannot be asked, or its answer is not clear.
    pub(in crate::launch) fn of(device: &Path, interrupted: fn() -> bool) -> Result<Self, Failure> {
        let path = device.display().to_string();
        Self::read(&run_tool(&["blkid", "-p", "-o", "export", &path], LOOK_BOUND, interrupted)?)
    }

    fn read(said: &ToolOutput) -> Result<Self, Failure> {
        let complaint = said.stderr.trim();
        match said.code {
            Some(RECOGNISED_NOTHING) if complaint.is_empty() => Ok(Self::Nothing),
            Some(0) if tells_of_the_partition_alone(&said.stdout) => Ok(Self::Nothing),
            Some(0) => Ok(Self::parse(&said.stdout)),
            code => {
                let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
                Err(Failure::launch(format!("blkid cannot tell what it holds (ended by {code}): {complaint}")))
            }
        }
    }

    fn parse(export: &str) -> Self {
        let value = |key: &str| export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let words = match (value("TYPE"), value("PTTYPE")) {
            (Some(kind), _) => format!("a filesystem or volume of type {kind}"),
            (None, Some(kind)) => format!("a partition table of type {kind}"),
            (None, None) => "something that blkid recognises".to_owned(),
        };
        let label = value("LABEL").map_or_else(String::new, |label| format!(" with the label {label:?}"));
        Self::Something { uuid: value("UUID").map(str::to_owned), words: words + &label }
    }
}

/// Of a partition blkid also says where it stands in the table of its disk; that is nothing that it holds.
fn tells_of_the_partition_alone(export: &str) -> bool {
    let mut lines = export.lines().filter(|line| !line.starts_with("DEVNAME=")).peekable();
    lines.peek().is_some() && lines.all(|line| line.starts_with("PART_ENTRY_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: Option<i32>, stdout: &str, stderr: &str) -> Result<Content, Failure> {
        Content::read(&ToolOutput { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() })
    }

    #[test]
    fn only_a_clear_answer_is_one() {
        assert_eq!(read(Some(2), "", "").unwrap(), Content::Nothing);
        for (code, stdout, stderr) in [
            (Some(2), "", "blkid: error: /dev/sdz: Input/output error"),
            (Some(4), "", "usage"),
            (Some(8), "", "blkid: /dev/sdz: ambivalent result"),
            (None, "UUID=1\nTYPE=ext4\n", ""),
        ] {
            assert!(read(code, stdout, stderr).unwrap_err().message.contains("blkid cannot tell"), "{code:?}");
        }
    }

    #[test]
    fn what_is_recognised_has_words_and_maybe_a_uuid() {
        let said = "DEVNAME=/dev/sdz\nLABEL=a\u{1b}b\nUUID=1-2\nUUID_SUB=3-4\nTYPE=ext4\nPART_ENTRY_UUID=5-6\n";
        let words = "a filesystem or volume of type ext4 with the label \"a\\u{1b}b\"".to_owned();
        assert_eq!(read(Some(0), said, "").unwrap(), Content::Something { uuid: Some("1-2".to_owned()), words });
        let words = "a partition table of type gpt".to_owned();
        assert_eq!(read(Some(0), "PTTYPE=gpt\n", "").unwrap(), Content::Something { uuid: None, words });
        let words = "something that blkid recognises".to_owned();
        assert_eq!(read(Some(0), "", "").unwrap(), Content::Something { uuid: None, words });
    }

    #[test]
    fn an_empty_partition_holds_nothing() {
        let said = "DEVNAME=/dev/sdz1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_UUID=5-6\nPART_ENTRY_NUMBER=1\n";
        assert_eq!(read(Some(0), said, "").unwrap(), Content::Nothing);
    }
}
