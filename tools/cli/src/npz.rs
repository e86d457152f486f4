//! NumPy's `.npz` archives, read and written.
//!
//! The `.npy` header is parsed here rather than by a library because its
//! shape comes from an untrusted file: products are checked, and no size is
//! believed before the bytes are there.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::atomic;

/// Largest array read, in bytes as stored: 512 MiB.
const MAX_ARRAY: usize = 512 << 20;
/// Largest `.npy` header read, in bytes. NumPy's own are under 200.
const MAX_HEADER: usize = 1 << 16;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The numbers of an [`Array`], in C order.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// `float32`; `float16` is widened to it.
    F32(Vec<f32>),
    /// `float64`.
    F64(Vec<f64>),
    /// `int16`.
    I16(Vec<i16>),
    /// Every other integer, and `bool`.
    I64(Vec<i64>),
}

/// An n-dimensional array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// As many numbers as the shape says.
    pub values: Values,
}

impl Array {
    /// The numbers as `float32`, rounded to nearest.
    pub fn into_f32(self) -> Vec<f32> {
        match self.values {
            Values::F32(v) => v,
            Values::F64(v) => v.into_iter().map(|v| v as f32).collect(),
            Values::I16(v) => v.into_iter().map(f32::from).collect(),
            Values::I64(v) => v.into_iter().map(|v| v as f32).collect(),
        }
    }

    /// The numbers as `float64`, exactly but for integers beyond 2^53.
    pub fn into_f64(self) -> Vec<f64> {
        match self.values {
            Values::F32(v) => v.into_iter().map(f64::from).collect(),
            Values::F64(v) => v,
            Values::I16(v) => v.into_iter().map(f64::from).collect(),
            Values::I64(v) => v.into_iter().map(|v| v as f64).collect(),
        }
    }

    /// The numbers as integers, or `None` if they are floats.
    pub fn into_i64(self) -> Option<Vec<i64>> {
        match self.values {
            Values::I64(v) => Some(v),
            Values::I16(v) => Some(v.into_iter().map(i64::from).collect()),
            Values::F32(_) | Values::F64(_) => None,
        }
    }
}

/// An open archive.
pub struct Npz<R = BufReader<File>> {
    path: PathBuf,
    archive: ZipArchive<R>,
}

impl Npz {
    /// Opens `path`.
    ///
    /// # Errors
    /// If it is missing or no zip archive.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Self::new(path, BufReader::new(file))
    }
}

impl<R: Read + Seek> Npz<R> {
    /// The archive that `reader` holds, called `path` in messages.
    ///
    /// # Errors
    /// If it is no zip archive.
    pub fn new(path: &Path, reader: R) -> Result<Self> {
        let archive = ZipArchive::new(reader).with_context(|| {
            format!("{} is not an .npz file; write it with numpy.savez", path.display())
        })?;
        Ok(Self { path: path.to_owned(), archive })
    }

    /// What messages call it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the arrays inside, sorted.
    pub fn names(&self) -> Vec<String> {
        let files = self.archive.file_names().flatten();
        let mut names: Vec<_> =
            files.filter_map(|name| Some(name.strip_suffix(".npy")?.to_owned())).collect();
        names.sort_unstable();
        names
    }

    /// The array called `name`, or `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged, too large or of a type other than numbers.
    pub fn array(&mut self, name: &str) -> Result<Option<Array>> {
        let in_context = || format!("cannot read array `{name}` of {}", self.path.display());
        let Some(index) = self.archive.index_for_name(&format!("{name}.npy")) else {
            return Ok(None);
        };
        let member = self.archive.by_index(index).with_context(in_context)?;
        read_npy(member).with_context(in_context).map(Some)
    }
}

/// Writes arrays to `path`, whole or not at all, the same bytes for the same
/// arrays.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, arrays: &[(&str, &Array)]) -> Result<()> {
    atomic::write(path, |file| {
        let mut archive = ZipWriter::new(file);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        for (name, array) in arrays {
            let in_context = || format!("cannot write array `{name}` to {}", path.display());
            archive.start_file(format!("{name}.npy"), options).with_context(in_context)?;
            write_npy(&mut archive, array).with_context(in_context)?;
        }
        archive.finish().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    })
}

fn write_npy(out: &mut impl Write, array: &Array) -> std::io::Result<()> {
    let (descr, bytes): (_, Vec<u8>) = match &array.values {
        Values::F32(v) => ("<f4", v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Values::F64(v) => ("<f8", v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Values::I16(v) => ("<i2", v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Values::I64(v) => ("<i8", v.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    // A one-tuple needs its comma, and more dimensions may have it too.
    let shape: String = array.shape.iter().map(|d| format!("{d},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version, length and header end on a multiple of 64, by the format.
    let padding = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', padding - (MAGIC.len() + 4 + header.len() + 1)));
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    out.write_all(&bytes)
}

fn read_npy(mut reader: impl Read) -> Result<Array> {
    let Header { descr, fortran, shape } = read_header(&mut reader)?;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let (order, kind) = descr.split_at_checked(1).context("the array has no type")?;
    let size: usize = match kind {
        "b1" | "i1" | "u1" => 1,
        "f2" | "i2" | "u2" => 2,
        "f4" | "i4" | "u4" => 4,
        "f8" | "i8" | "u8" => 8,
        _ => bail!(
            "its type is `{descr}`; expected floats or integers, as from .astype(\"float32\")"
        ),
    };
    let bytes = count.and_then(|n| n.checked_mul(size)).filter(|&n| n <= MAX_ARRAY);
    let (Some(count), Some(bytes)) = (count, bytes) else {
        bail!(
            "shape {shape:?} is more than the {} MiB gatelet reads; give fewer samples",
            MAX_ARRAY >> 20
        );
    };
    let mut raw = Vec::new();
    reader.take(bytes as u64).read_to_end(&mut raw)?;
    ensure!(raw.len() == bytes, "the file ends after {} of {bytes} bytes", raw.len());
    if order == ">" {
        raw.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }

    macro_rules! decode {
        ($from:ty) => {
            raw.chunks_exact(size).map(|b| <$from>::from_le_bytes(b.try_into().unwrap()))
        };
    }
    let values = match kind {
        "f2" => Values::F32(decode!(half::f16).map(f32::from).collect()),
        "f4" => Values::F32(decode!(f32).collect()),
        "f8" => Values::F64(decode!(f64).collect()),
        "i1" => Values::I64(decode!(i8).map(i64::from).collect()),
        "i2" => Values::I16(decode!(i16).collect()),
        "i4" => Values::I64(decode!(i32).map(i64::from).collect()),
        "i8" => Values::I64(decode!(i64).collect()),
        "u2" => Values::I64(decode!(u16).map(i64::from).collect()),
        "u4" => Values::I64(decode!(u32).map(i64::from).collect()),
        "u8" => Values::I64(
            decode!(u64)
                .map(|v| i64::try_from(v).with_context(|| format!("{v} is beyond int64")))
                .collect::<Result<_>>()?,
        ),
        _ => Values::I64(raw.iter().copied().map(i64::from).collect()),
    };
    debug_assert_eq!(raw.len(), count * size);
    let values = match values {
        values if !fortran => values,
        Values::F32(v) => Values::F32(to_c_order(&v, &shape)),
        Values::F64(v) => Values::F64(to_c_order(&v, &shape)),
        Values::I16(v) => Values::I16(to_c_order(&v, &shape)),
        Values::I64(v) => Values::I64(to_c_order(&v, &shape)),
    };
    Ok(Array { shape, values })
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads the header, a Python dictionary such as
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn read_header(reader: &mut impl Read) -> Result<Header> {
    let mut start = [0; 8];
    reader.read_exact(&mut start).context("the array is cut short")?;
    ensure!(&start[..6] == MAGIC, "it is not a NumPy array");
    let length = if start[6] == 1 {
        let mut length = [0; 2];
        reader.read_exact(&mut length)?;
        usize::from(u16::from_le_bytes(length))
    } else {
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        u32::from_le_bytes(length) as usize
    };
    ensure!(length <= MAX_HEADER, "its header claims {length} bytes");
    let mut text = vec![0; length];
    reader.read_exact(&mut text).context("the array's header is cut short")?;
    let text = String::from_utf8(text).context("the array's header is not text")?;

    let field = |name: &str| {
        let rest = text.split_once(&format!("'{name}':"))?.1;
        Some(rest.trim_start())
    };
    let parse = || {
        let descr = field("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_owned();
        let fortran = field("fortran_order")?.starts_with("True");
        let shape = field("shape")?.strip_prefix('(')?.split_once(')')?.0;
        let dimensions = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
        let shape = dimensions.map(|d| d.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some(Header { descr, fortran, shape })
    };
    parse().with_context(|| format!("cannot understand the array's header {}", text.trim_end()))
}

/// Reorders values stored with the first index fastest.
fn to_c_order<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut index = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at = index.iter().zip(shape).rev().fold(0, |at, (i, d)| at * d + i);
        ordered.push(values[at]);
        for (i, d) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *d {
                break;
            }
            *i = 0;
        }
    }
    ordered
}
