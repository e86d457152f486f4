//! Which token is which character: from a file that says so to the blob's section.
//!
//! A text file has a token a line, its number counted from 0; a `.json` file is a list of them, or an
//! object from token to number. A token is one character (in a text file `\n`, `\t` and `\\` stand for
//! a line break, a tab and a backslash) or a longer name that stands for something:
//!
//! | token | meaning |
//! |---|---|
//! | `<unk>`, `[UNK]` | any other character; token 0 if there is none |
//! | `<s>`, `[CLS]` | goes before every text |
//! | `</s>`, `[SEP]` | goes behind every text |
//!
//! Other names, as `<pad>`, stand for nothing in a text.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gatelet::blob::format::vocabulary as field;

/// Largest file read, in bytes.
const MAX_FILE: u64 = 4 << 20;

const UNKNOWN: [&str; 2] = ["<unk>", "[UNK]"];
const START: [&str; 2] = ["<s>", "[CLS]"];
const END: [&str; 2] = ["</s>", "[SEP]"];

/// Tokens by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    tokens: Vec<String>,
}

impl Vocabulary {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is missing or not as this module says; the message names the token.
    pub fn read(path: &Path) -> Result<Self> {
        let in_context = || format!("cannot use the vocabulary in {}", path.display());
        let size = path.metadata().with_context(in_context)?.len();
        ensure!(size <= MAX_FILE, "{} has {size} bytes: too many for a vocabulary", path.display());
        let text = std::fs::read_to_string(path).with_context(in_context)?;
        let is_json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let tokens = if is_json { from_json(&text) } else { text.lines().map(unescaped).collect() };
        Self::new(tokens.with_context(in_context)?).with_context(in_context)
    }

    /// The tokens in the order of their numbers.
    ///
    /// # Errors
    /// If there is none, or one comes twice.
    pub fn new(tokens: Vec<String>) -> Result<Self> {
        ensure!(!tokens.is_empty(), "it has no tokens");
        let mut known = BTreeMap::new();
        for (number, token) in tokens.iter().enumerate() {
            if let Some(first) = known.insert(token, number) {
                bail!("tokens {first} and {number} are both {token:?}; each needs its own");
            }
        }
        Ok(Self { tokens })
    }

    /// The blob's section, for a model that knows `tokens` tokens and gives `outputs` outputs, with
    /// these labels. Without labels, as many outputs as tokens are tokens.
    ///
    /// # Errors
    /// If the model knows another number of tokens.
    pub fn section(&self, tokens: usize, outputs: usize, labels: &[String]) -> Result<Vec<u8>> {
        ensure!(tokens > 0, "the model takes features, not tokens: remove --vocabulary");
        ensure!(
            self.tokens.len() == tokens,
            "the vocabulary has {} tokens but the model knows {tokens}: give one line for each",
            self.tokens.len()
        );
        let outputs = if labels.is_empty() && outputs == tokens { &self.tokens } else { labels };
        let mut section = vec![0; field::BYTES];
        let mut put = |at: usize, id: Option<u16>| {
            section[at..][..2].copy_from_slice(&id.unwrap_or(u16::MAX).to_le_bytes());
        };
        put(field::UNKNOWN, Some(number(&self.tokens, UNKNOWN).unwrap_or(0)));
        put(field::START, number(&self.tokens, START));
        put(field::END, number(&self.tokens, END));
        put(field::OUTPUT_START, number(outputs, START));
        put(field::OUTPUT_END, number(outputs, END));
        let characters: BTreeMap<char, u16> = (0..)
            .zip(&self.tokens)
            .filter_map(|(number, token)| Some((only_character(token)?, number)))
            .collect();
        section.extend(characters.keys().flat_map(|c| u32::from(*c).to_le_bytes()));
        section.extend(characters.values().flat_map(|id| id.to_le_bytes()));
        Ok(section)
    }
}

/// The number of the first token with one of these names.
fn number(tokens: &[String], names: [&str; 2]) -> Option<u16> {
    tokens.iter().position(|token| names.contains(&token.as_str())).map(|number| number as u16)
}

fn only_character(token: &str) -> Option<char> {
    let mut characters = token.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn unescaped(line: &str) -> Result<String> {
    Ok(match line {
        "\\n" => "\n".to_owned(),
        "\\t" => "\t".to_owned(),
        "\\\\" => "\\".to_owned(),
        "" => bail!("a line is empty; write a line break as \\n"),
        _ => line.to_owned(),
    })
}

fn from_json(text: &str) -> Result<Vec<String>> {
    use serde_json::Value;
    match serde_json::from_str(text).context("it is no JSON")? {
        Value::Array(list) => list
            .into_iter()
            .map(|token| match token {
                Value::String(token) => Ok(token),
                other => bail!("it lists {other}, which is no text"),
            })
            .collect(),
        Value::Object(numbers) => {
            let mut tokens = vec![None; numbers.len()];
            for (token, number) in numbers {
                let slot = number.as_u64().and_then(|n| tokens.get_mut(usize::try_from(n).ok()?));
                match slot {
                    Some(slot @ None) => *slot = Some(token),
                    Some(Some(other)) => bail!("{token:?} and {other:?} have the same number"),
                    None => bail!("{token:?} is number {number}; expected 0, 1, 2 and so on"),
                }
            }
            tokens.into_iter().collect::<Option<_>>().context("a number is missing")
        }
        _ => bail!("it is neither a list of tokens nor an object from token to number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vocabulary> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Vocabulary::read(&path)
    }

    #[test]
    fn text_and_json_say_the_same() {
        let expected =
            Vocabulary::new(["<unk>", "\n", "\\", "好"].map(str::to_owned).to_vec()).unwrap();
        assert_eq!(read("v.txt", "<unk>\n\\n\n\\\\\n好\n").unwrap(), expected);
        assert_eq!(read("v.json", r#"["<unk>", "\n", "\\", "好"]"#).unwrap(), expected);
        let object = r#"{"好": 3, "<unk>": 0, "\\": 2, "\n": 1}"#;
        assert_eq!(read("v.json", object).unwrap(), expected);
    }

    #[test]
    fn what_is_no_vocabulary_is_refused() {
        for (name, text, part) in [
            ("v.txt", "", "no tokens"),
            ("v.txt", "a\n\nb\n", "empty"),
            ("v.txt", "a\nb\na\n", "tokens 0 and 2 are both \"a\""),
            ("v.json", "[1]", "no text"),
            ("v.json", "7", "neither"),
            ("v.json", "[", "no JSON"),
            ("v.json", r#"{"a": 0, "b": 2}"#, "\"b\" is number 2"),
            ("v.json", r#"{"a": 0, "b": 0}"#, "same number"),
            ("v.json", r#"{"a": 0, "b": -1}"#, "number -1"),
        ] {
            let error = format!("{:#}", read(name, text).expect_err(text));
            assert!(error.contains(part), "{error}");
        }
    }
}
