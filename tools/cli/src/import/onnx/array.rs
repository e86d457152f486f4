//! Tensors whose numbers are known: weights, shapes, indices.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use prost::bytes::Bytes;

use super::proto::TensorProto;
use crate::import::{Budget, MAX_PARAMETERS};

/// Most axes of a tensor.
pub(super) const MAX_RANK: usize = 16;

/// ONNX's number for a tensor whose numbers are in another file.
const EXTERNAL: i32 = 1;

/// ONNX's number for the type of a tensor's elements.
pub(super) mod data_type {
    pub(in super::super) const FLOAT: i64 = 1;
    pub(in super::super) const INT32: i64 = 6;
    pub(in super::super) const INT64: i64 = 7;
    pub(in super::super) const BOOL: i64 = 9;
    pub(in super::super) const FLOAT16: i64 = 10;
    pub(in super::super) const DOUBLE: i64 = 11;
    pub(in super::super) const BFLOAT16: i64 = 16;
}

/// What the numbers of an array come from, in the order in which one origin
/// taints the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The file alone.
    File,
    /// Sizes of computed tensors, which can be stand-ins.
    Sizes,
    /// An input of the graph that only a state can take.
    State,
}

#[derive(Clone, Debug)]
enum Numbers {
    /// The same one everywhere: what fills a tensor of any size.
    All(f64),
    /// Row-major.
    Each(Rc<[f64]>),
}

/// A tensor whose numbers are known. Integers are kept as floats: those that
/// are not exact (2^63 - 1, "to the end") are only compared with sizes.
#[derive(Clone, Debug)]
pub(super) struct Array {
    shape: Vec<usize>,
    numbers: Numbers,
    /// Whether division truncates.
    integer: bool,
    origin: Origin,
}

impl Array {
    /// An array of the same number everywhere.
    pub(super) fn filled(shape: Vec<usize>, number: f64, origin: Origin) -> Self {
        Self { shape, numbers: Numbers::All(number), integer: false, origin }
    }

    /// A list of integers.
    pub(super) fn integers(numbers: impl IntoIterator<Item = i64>, origin: Origin) -> Self {
        let numbers: Rc<[f64]> = numbers.into_iter().map(|n| n as f64).collect();
        Self { shape: vec![numbers.len()], numbers: Numbers::Each(numbers), integer: true, origin }
    }

    /// A list of floats.
    pub(super) fn floats(numbers: &[f32]) -> Self {
        let numbers: Rc<[f64]> = numbers.iter().map(|&n| f64::from(n)).collect();
        let shape = vec![numbers.len()];
        Self { shape, numbers: Numbers::Each(numbers), integer: false, origin: Origin::File }
    }

    /// Reads a tensor of the file, or of a file beside it in `folder`.
    pub(super) fn read(
        tensor: &TensorProto,
        folder: Option<&Path>,
        budget: &mut Budget,
    ) -> Result<Self> {
        let name = &tensor.name;
        let shape = tensor.dims.iter().map(|&d| usize::try_from(d));
        let shape: Vec<_> = shape
            .collect::<Result<_, _>>()
            .with_context(|| format!("weights `{name}` have a negative dimension"))?;
        ensure!(shape.len() <= MAX_RANK, "weights `{name}` have more than {MAX_RANK} dimensions");
        let elements = budget.take(name, &shape)?;
        let data_type = i64::from(tensor.data_type);
        let Some((listed, size)) = listed(tensor, data_type) else {
            bail!(
                "weights `{name}` are of ONNX's data type {data_type}; gatelet takes float, double, float16, bfloat16, int32, int64 and bool"
            );
        };
        let raw = if tensor.data_location == EXTERNAL {
            beside(tensor, folder, elements * size)?
        } else {
            tensor.raw_data.clone()
        };
        let complete =
            if raw.is_empty() { listed == elements } else { raw.len() == elements * size };
        ensure!(
            complete,
            "weights `{name}` have shape {shape:?}, but not as many numbers; the file is damaged"
        );
        let numbers = numbers(tensor, &raw, data_type);
        let numbers = Numbers::Each(numbers);
        Ok(Self { shape, numbers, integer: is_integer(data_type), origin: Origin::File })
    }

    /// This array where a choice among its numbers came from `origin`.
    pub(super) fn tainted(mut self, origin: Origin) -> Self {
        self.origin = self.origin.max(origin);
        self
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, row-major; at most [`MAX_PARAMETERS`].
    pub(super) fn numbers(&self) -> Result<Rc<[f64]>> {
        let elements = elements(&self.shape)?;
        Ok(match &self.numbers {
            Numbers::All(number) => std::iter::repeat_n(*number, elements).collect(),
            Numbers::Each(numbers) => Rc::clone(numbers),
        })
    }

    /// The number that is everywhere in it, if there is one.
    pub(super) fn only(&self) -> Option<f64> {
        match &self.numbers {
            Numbers::All(number) => Some(*number),
            Numbers::Each(numbers) => {
                let first = *numbers.first()?;
                numbers.iter().all(|&n| n == first).then_some(first)
            }
        }
    }

    /// The number that is everywhere in it, if that is known without looking at many.
    pub(super) fn uniform(&self) -> Option<f64> {
        if self.stored() == 1 { self.only() } else { None }
    }

    /// This array as one that fills any size, if it is of one number.
    pub(super) fn single(&self) -> Option<Self> {
        match &self.numbers {
            Numbers::Each(numbers) if numbers.len() == 1 => {
                Some(Self { numbers: Numbers::All(numbers[0]), ..self.clone() })
            }
            _ => None,
        }
    }

    /// How many numbers this array alone holds in memory.
    pub(super) fn fresh(&self) -> usize {
        match &self.numbers {
            Numbers::Each(numbers) if Rc::strong_count(numbers) == 1 => numbers.len(),
            _ => 0,
        }
    }

    /// How many numbers looking at all of them looks at.
    pub(super) fn stored(&self) -> usize {
        match &self.numbers {
            Numbers::All(_) => 1,
            Numbers::Each(numbers) => numbers.len(),
        }
    }

    /// The same numbers as another type of element.
    pub(super) fn cast(&self, to: i64) -> Self {
        let convert = |n: f64| match to {
            data_type::BOOL => f64::from(n != 0.0),
            _ if is_integer(to) => n.trunc(),
            _ => n,
        };
        let numbers = match &self.numbers {
            Numbers::All(number) => Numbers::All(convert(*number)),
            Numbers::Each(numbers) if is_integer(to) && !self.integer => {
                Numbers::Each(numbers.iter().map(|&n| convert(n)).collect())
            }
            same => same.clone(),
        };
        Self { numbers, integer: is_integer(to), ..self.clone() }
    }

    /// The same numbers in another shape of as many.
    pub(super) fn reshape(&self, shape: &[usize]) -> Result<Self> {
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// Axis `k` becomes what was axis `order[k]`.
    pub(super) fn transpose(&self, order: &[usize]) -> Result<Self> {
        let strides = strides(&self.shape);
        let shape = order.iter().map(|&axis| self.shape[axis]).collect();
        let steps: Vec<_> = order.iter().map(|&axis| strides[axis]).collect();
        self.view(shape, 0, &steps)
    }

    /// Every `step`th of an axis, `count` from `start` on.
    pub(super) fn slice(
        &self,
        axis: usize,
        start: usize,
        step: isize,
        count: usize,
    ) -> Result<Self> {
        let mut steps = strides(&self.shape);
        let first = steps[axis].wrapping_mul(start as isize);
        steps[axis] = steps[axis].wrapping_mul(step);
        let mut shape = self.shape.clone();
        shape[axis] = count;
        self.view(shape, first, &steps)
    }

    /// The given positions of an axis.
    pub(super) fn gather(&self, axis: usize, positions: &[usize]) -> Result<Self> {
        let mut shape = self.shape.clone();
        shape[axis] = positions.len();
        let numbers = match &self.numbers {
            Numbers::All(number) => Numbers::All(*number),
            Numbers::Each(numbers) => {
                let mut picked = Vec::with_capacity(elements(&shape)?);
                let inner: usize = self.shape[axis + 1..].iter().product();
                if picked.capacity() > 0 {
                    for slab in numbers.chunks_exact(inner * self.shape[axis]) {
                        for position in positions {
                            picked.extend_from_slice(&slab[position * inner..][..inner]);
                        }
                    }
                }
                Numbers::Each(picked.into())
            }
        };
        Ok(Self { shape, numbers, ..self.clone() })
    }

    /// Arrays one after the other along an axis; at least one.
    pub(super) fn concat(arrays: &[&Self], axis: usize) -> Result<Self> {
        let mut shape = arrays[0].shape.clone();
        shape[axis] = 0;
        for array in arrays {
            let fits = array.shape.len() == shape.len()
                && (0..shape.len()).all(|k| k == axis || array.shape[k] == shape[k]);
            ensure!(fits, "it joins arrays of shapes {:?} and {:?}", arrays[0].shape, array.shape);
            shape[axis] = shape[axis].saturating_add(array.shape[axis]);
        }
        let origin = arrays.iter().map(|a| a.origin).max().unwrap_or(Origin::File);
        let integer = arrays[0].integer;
        if let Numbers::All(number) = arrays[0].numbers
            && arrays.iter().all(|a| matches!(a.numbers, Numbers::All(n) if n == number))
        {
            return Ok(Self { shape, numbers: Numbers::All(number), integer, origin });
        }
        let total = elements(&shape)?;
        let all: Vec<_> = arrays.iter().map(|a| a.numbers()).collect::<Result<_>>()?;
        let mut joined = Vec::with_capacity(total);
        let outer = if total == 0 { 0 } else { shape[..axis].iter().product() };
        for k in 0..outer {
            for numbers in &all {
                let run = numbers.len() / outer;
                joined.extend_from_slice(&numbers[k * run..][..run]);
            }
        }
        Ok(Self { shape, numbers: Numbers::Each(joined.into()), integer, origin })
    }

    /// Repeated along axes of length 1, as ONNX broadcasts.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Result<Self> {
        let shape = broadcast_shape(&self.shape, shape)?;
        let new = shape.len() - self.shape.len();
        let own = strides(&self.shape);
        let steps: Vec<_> = (0..shape.len())
            .map(|k| match k.checked_sub(new) {
                Some(k) if self.shape[k] != 1 => own[k],
                _ => 0,
            })
            .collect();
        self.view(shape, 0, &steps)
    }

    /// `f` of the numbers of two arrays that broadcast to one shape.
    pub(super) fn combine(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Result<Self> {
        let shape = broadcast_shape(&self.shape, &other.shape)?;
        let integer = self.integer && other.integer;
        let of = |a, b| if integer { f(a, b).trunc() } else { f(a, b) };
        let numbers = if let (Some(a), Some(b)) = (self.uniform(), other.uniform()) {
            Numbers::All(of(a, b))
        } else {
            let (a, b) = (self.broadcast(&shape)?.numbers()?, other.broadcast(&shape)?.numbers()?);
            Numbers::Each(a.iter().zip(&b[..]).map(|(&a, &b)| of(a, b)).collect())
        };
        Ok(Self { shape, numbers, integer, origin: self.origin.max(other.origin) })
    }

    /// `yes` where this is not zero, else `no`.
    pub(super) fn choose(&self, yes: &Self, no: &Self) -> Result<Self> {
        // Exact: one of the two that are added is zero.
        let (on, off) =
            (self.cast(data_type::BOOL), self.combine(self, |n, _| f64::from(n == 0.0))?);
        let yes = on.combine(yes, |on, y| if on != 0.0 { y } else { 0.0 })?;
        let no = off.combine(no, |off, n| if off != 0.0 { n } else { 0.0 })?;
        yes.combine(&no, |y, n| y + n)
    }

    /// The array of `shape` whose element `[i, j, ...]` is number
    /// `first + i * steps[0] + j * steps[1] + ...` of this one.
    fn view(&self, shape: Vec<usize>, first: isize, steps: &[isize]) -> Result<Self> {
        let numbers = match &self.numbers {
            Numbers::All(number) => Numbers::All(*number),
            Numbers::Each(numbers) => {
                let mut picked = Vec::with_capacity(elements(&shape)?);
                if picked.capacity() > 0 {
                    pick(numbers, &shape, first, steps, &mut picked);
                }
                Numbers::Each(picked.into())
            }
        };
        Ok(Self { shape, numbers, ..self.clone() })
    }
}

fn pick(from: &[f64], shape: &[usize], first: isize, steps: &[isize], to: &mut Vec<f64>) {
    let ([count, shape @ ..], [step, steps @ ..]) = (shape, steps) else {
        return to.extend(from.get(first as usize));
    };
    for k in 0..*count {
        pick(from, shape, first + k as isize * step, steps, to);
    }
}

fn is_integer(data_type: i64) -> bool {
    matches!(data_type, data_type::INT32 | data_type::INT64 | data_type::BOOL)
}

/// The product of sizes, unless it overflows.
pub(super) fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1, |product: usize, &size| product.checked_mul(size))
}

/// Numbers in an array of `shape`, if there can be so many.
fn elements(shape: &[usize]) -> Result<usize> {
    match product(shape) {
        Some(elements) if elements <= MAX_PARAMETERS => Ok(elements),
        _ => bail!(
            "it makes a constant of shape {shape:?}, more than the {MAX_PARAMETERS} numbers gatelet takes"
        ),
    }
}

/// How far apart neighbours along each axis are.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for k in (1..shape.len()).rev() {
        // Only an array without numbers, or of the same one, has more than fit.
        strides[k - 1] = strides[k].wrapping_mul(shape[k] as isize);
    }
    strides
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |shape: &[usize], k: usize| match (k + shape.len()).checked_sub(rank) {
        Some(k) => shape[k],
        None => 1,
    };
    let one = |k| match (dim(a, k), dim(b, k)) {
        (d, 1) | (1, d) => Ok(d),
        (d, e) if d == e => Ok(d),
        _ => bail!("shapes {a:?} and {b:?} do not fit each other"),
    };
    (0..rank).map(one).collect()
}

/// `bytes` bytes of the file that holds a tensor's numbers.
fn beside(tensor: &TensorProto, folder: Option<&Path>, bytes: usize) -> Result<Bytes> {
    let entry = |key| tensor.external_data.iter().find(|e| e.key == key).map(|e| &e.value[..]);
    let location = entry("location").unwrap_or_default();
    let read = || {
        let folder = folder?;
        // A bare name: a model must not choose what else is read.
        let name = Path::new(location).file_name().filter(|name| *name == location)?;
        let offset = entry("offset").map_or(Some(0), |offset| offset.parse().ok())?;
        let mut file = File::open(folder.join(name)).ok()?;
        file.seek(SeekFrom::Start(offset)).ok()?;
        let mut raw = Vec::new();
        file.take(bytes as u64).read_to_end(&mut raw).ok()?;
        Some(Bytes::from(raw)).filter(|raw| raw.len() == bytes)
    };
    read().with_context(|| {
        format!(
            "weights `{}` are not in the file `{location}`; keep that file beside the model, or save both as one with onnx.save(onnx.load(\"model.onnx\"), \"one.onnx\")",
            tensor.name
        )
    })
}

/// How many numbers a tensor lists, and in how many bytes raw data has each;
/// nothing if `data_type` is not one gatelet reads.
fn listed(tensor: &TensorProto, data_type: i64) -> Option<(usize, usize)> {
    Some(match data_type {
        data_type::FLOAT => (tensor.float_data.len(), 4),
        data_type::DOUBLE => (tensor.double_data.len(), 8),
        data_type::INT64 => (tensor.int64_data.len(), 8),
        data_type::INT32 => (tensor.int32_data.len(), 4),
        data_type::BOOL => (tensor.int32_data.len(), 1),
        data_type::FLOAT16 | data_type::BFLOAT16 => (tensor.int32_data.len(), 2),
        _ => return None,
    })
}

/// The numbers of a tensor of a known type: raw, or as it lists them.
fn numbers(tensor: &TensorProto, raw: &[u8], data_type: i64) -> Rc<[f64]> {
    fn each<const N: usize>(raw: &[u8], number: impl Fn([u8; N]) -> f64) -> Rc<[f64]> {
        raw.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
    }
    let bits = tensor.int32_data.iter().map(|&n| n as u16);
    match (data_type, raw.is_empty()) {
        (data_type::FLOAT, true) => tensor.float_data.iter().map(|&n| f64::from(n)).collect(),
        (data_type::DOUBLE, true) => tensor.double_data.iter().copied().collect(),
        (data_type::INT64, true) => tensor.int64_data.iter().map(|&n| n as f64).collect(),
        (data_type::FLOAT16, true) => bits.map(|n| f16::from_bits(n).to_f64()).collect(),
        (data_type::BFLOAT16, true) => bits.map(|n| bf16::from_bits(n).to_f64()).collect(),
        (_, true) => tensor.int32_data.iter().map(|&n| f64::from(n)).collect(),
        (data_type::FLOAT, _) => each(raw, |b| f64::from(f32::from_le_bytes(b))),
        (data_type::DOUBLE, _) => each(raw, f64::from_le_bytes),
        (data_type::INT64, _) => each(raw, |b| i64::from_le_bytes(b) as f64),
        (data_type::INT32, _) => each(raw, |b| f64::from(i32::from_le_bytes(b))),
        (data_type::FLOAT16, _) => each(raw, |b| f16::from_le_bytes(b).to_f64()),
        (data_type::BFLOAT16, _) => each(raw, |b| bf16::from_le_bytes(b).to_f64()),
        (_, _) => each(raw, |[b]| f64::from(b)),
    }
}
