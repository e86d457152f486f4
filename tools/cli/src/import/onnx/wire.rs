//! What decoding a file would cost, counted on its bytes: two bytes can ask
//! for a message of two hundred.

use anyhow::{Context, Result, bail, ensure};

/// Most memory the messages of a model may take, without its weights: 128 MiB.
const MAX_MEMORY: usize = 128 << 20;
/// Most messages inside each other: the body of a loop in a model is some ten deep.
const MAX_DEPTH: usize = 32;
/// More than any field takes in memory, apart from what it holds.
const FIELD: usize = 256;
/// What a byte of a list of floats turns into, and of one of integers, which
/// can be one byte each.
const FLOATS: usize = 1;
const INTEGERS: usize = 8;

/// Which fields of a message hold messages, and which lists of numbers.
struct Message {
    nested: &'static [(usize, &'static Message)],
    lists: &'static [(usize, usize)],
}

const fn message(
    nested: &'static [(usize, &'static Message)],
    lists: &'static [(usize, usize)],
) -> Message {
    Message { nested, lists }
}

// Field numbers as in `onnx.proto`.
static LEAF: Message = message(&[], &[]);
static TENSOR: Message = message(
    &[(13, &LEAF)],
    &[(1, INTEGERS), (4, FLOATS), (5, INTEGERS), (7, INTEGERS), (10, FLOATS)],
);
static ATTRIBUTE: Message = message(&[(5, &TENSOR), (6, &GRAPH)], &[(7, FLOATS), (8, INTEGERS)]);
static NODE: Message = message(&[(5, &ATTRIBUTE)], &[]);
static SHAPE: Message = message(&[(1, &LEAF)], &[]);
static TENSOR_TYPE: Message = message(&[(2, &SHAPE)], &[]);
static TYPE: Message = message(&[(1, &TENSOR_TYPE)], &[]);
static VALUE_INFO: Message = message(&[(2, &TYPE)], &[]);
static GRAPH: Message =
    message(&[(1, &NODE), (5, &TENSOR), (11, &VALUE_INFO), (12, &VALUE_INFO)], &[]);
static MODEL: Message = message(&[(7, &GRAPH), (8, &LEAF)], &[]);

/// Refuses a model whose messages would take more than [`MAX_MEMORY`].
pub(super) fn check(model: &[u8]) -> Result<()> {
    walk(model, &MODEL, 0, &mut 0)
}

fn walk(mut bytes: &[u8], message: &Message, depth: usize, memory: &mut usize) -> Result<()> {
    ensure!(depth < MAX_DEPTH, "its messages are nested more than {MAX_DEPTH} deep");
    while !bytes.is_empty() {
        let key = prost::decode_length_delimiter(&mut bytes)?;
        let field = key >> 3;
        let length = match key & 7 {
            0 => {
                prost::decode_length_delimiter(&mut bytes)?;
                0
            }
            1 => 8,
            2 => prost::decode_length_delimiter(&mut bytes)?,
            5 => 4,
            _ => bail!("it has a field of no known kind"),
        };
        let (value, rest) = bytes.split_at_checked(length).context("it ends too early")?;
        bytes = rest;
        *memory += FIELD;
        if let Some((_, factor)) = message.lists.iter().find(|(number, _)| *number == field) {
            *memory += factor * value.len();
        }
        ensure!(
            *memory <= MAX_MEMORY,
            "it describes more nodes and values than the {} MiB gatelet reads",
            MAX_MEMORY >> 20
        );
        if let Some((_, nested)) = message.nested.iter().find(|(number, _)| *number == field) {
            walk(value, nested, depth + 1, memory)?;
        }
    }
    Ok(())
}
