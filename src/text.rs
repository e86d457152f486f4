//! Text in and out of a model over tokens: the vocabulary in the blob, read in place.
//!
//! A token is a character, or one that stands for something: an unknown character, the start or the
//! end of a text. UTF-8 comes in as bytes from anywhere; what is no UTF-8 is unknown, a token for
//! each sequence that a decoder would replace by U+FFFD.

use crate::blob::format::vocabulary as field;

/// No such token.
const NONE: u16 = u16::MAX;

/// Which character is which token: a section of the blob.
///
/// ```
/// # fn demo(model: gatelet::Model<'_>) -> Option<()> {
/// let vocabulary = model.vocabulary()?;
/// for token in vocabulary.tokens("好看".as_bytes()) {
///     assert!(usize::from(token as u16) < model.tokens());
/// }
/// # Some(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    special: &'a [u8; field::BYTES],
    /// By code point.
    characters: &'a [[u8; 4]],
    /// Of each of the characters.
    ids: &'a [[u8; 2]],
}

impl<'a> Vocabulary<'a> {
    /// The section of a model that knows `tokens` of text and gives `outputs`.
    /// `None` if it contradicts itself or the model.
    pub(crate) const fn new(section: &'a [u8], tokens: usize, outputs: usize) -> Option<Self> {
        let Some((special, table)) = section.split_first_chunk() else { return None };
        let count = table.len() / 6;
        let Some((characters, ids)) = table.split_at_checked(4 * count) else { return None };
        let (characters, []) = characters.as_chunks() else { return None };
        let (ids, []) = ids.as_chunks() else { return None };
        let vocabulary = Self { special, characters, ids };
        if vocabulary.check(tokens, outputs) { Some(vocabulary) } else { None }
    }

    const fn check(&self, tokens: usize, outputs: usize) -> bool {
        const fn fits(id: u16, tokens: usize, optional: bool) -> bool {
            (id as usize) < tokens || optional && id == NONE
        }
        let (mut at, mut next) = (0, 0);
        while at < self.characters.len() && at < self.ids.len() {
            let code = u32::from_le_bytes(self.characters[at]);
            // Ascending, so that none comes twice and a search finds each.
            if code < next || char::from_u32(code).is_none() {
                return false;
            }
            if !fits(u16::from_le_bytes(self.ids[at]), tokens, false) {
                return false;
            }
            next = code + 1;
            at += 1;
        }
        self.special(field::RESERVED) == 0
            && self.characters.len() == self.ids.len()
            && fits(self.special(field::UNKNOWN), tokens, false)
            && fits(self.special(field::START), tokens, true)
            && fits(self.special(field::END), tokens, true)
            && fits(self.special(field::OUTPUT_START), outputs, true)
            && fits(self.special(field::OUTPUT_END), outputs, true)
    }

    const fn special(&self, at: usize) -> u16 {
        match self.special.split_at_checked(at) {
            Some((_, rest)) => match rest.first_chunk() {
                Some(id) => u16::from_le_bytes(*id),
                None => NONE,
            },
            None => NONE,
        }
    }

    fn optional(&self, at: usize) -> Option<i16> {
        i16::try_from(self.special(at)).ok()
    }

    /// Characters that have a token.
    pub const fn characters(&self) -> usize {
        self.characters.len()
    }

    /// The token of every other character, and of what is no UTF-8.
    pub fn unknown(&self) -> i16 {
        self.special(field::UNKNOWN) as i16
    }

    /// The token before every text, if the model wants one.
    pub fn start(&self) -> Option<i16> {
        self.optional(field::START)
    }

    /// The token behind every text, if the model wants one.
    pub fn end(&self) -> Option<i16> {
        self.optional(field::END)
    }

    /// The token that generated output starts from, if there is one.
    pub fn output_start(&self) -> Option<i16> {
        self.optional(field::OUTPUT_START)
    }

    /// The token that ends generated output, if there is one.
    pub fn output_end(&self) -> Option<i16> {
        self.optional(field::OUTPUT_END)
    }

    /// The token of a character.
    pub fn token(&self, character: char) -> i16 {
        let code = |entry: &[u8; 4]| u32::from_le_bytes(*entry);
        let found = self.characters.binary_search_by_key(&u32::from(character), code);
        let id = found.ok().and_then(|at| self.ids.get(at));
        id.map_or(self.unknown(), |id| i16::from_le_bytes(*id))
    }

    /// The character of a token; none of those that stand for something else.
    pub fn character(&self, token: i16) -> Option<char> {
        let at = self.ids.iter().position(|id| i16::from_le_bytes(*id) == token)?;
        char::from_u32(u32::from_le_bytes(*self.characters.get(at)?))
    }

    /// The tokens of a text, without those before and behind it.
    pub fn encode<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = i16> + use<'a, 't> {
        let vocabulary = *self;
        text.utf8_chunks().flat_map(move |chunk| {
            let invalid = (!chunk.invalid().is_empty()).then(|| vocabulary.unknown());
            chunk.valid().chars().map(move |c| vocabulary.token(c)).chain(invalid)
        })
    }

    /// The tokens of a text, with those that the model wants before and behind it.
    pub fn tokens<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = i16> + use<'a, 't> {
        self.start().into_iter().chain(self.encode(text)).chain(self.end())
    }
}
