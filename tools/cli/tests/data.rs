//! Data files: what is read, what is refused, and how.

use std::fs;
use std::path::{Path, PathBuf};

use gatelet_cli::data::{Dataset, Targets};
use gatelet_cli::npz::{self, Array, Npz, Values};
use tempfile::TempDir;

fn floats(shape: &[usize], value: f32) -> Array {
    Array { shape: shape.to_vec(), values: Values::F32(vec![value; shape.iter().product()]) }
}

fn integers(shape: &[usize], value: i64) -> Array {
    Array { shape: shape.to_vec(), values: Values::I64(vec![value; shape.iter().product()]) }
}

fn file(folder: &TempDir, arrays: &[(&str, &Array)]) -> PathBuf {
    let path = folder.path().join("data.npz");
    npz::write(&path, arrays).unwrap();
    path
}

#[track_caller]
fn assert_refused(path: &Path, parts: &[&str]) {
    let sentence = format!("{:#}", Dataset::read(path).expect_err("a file to be refused"));
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not in: {sentence}");
    }
}

#[test]
fn arrays_survive_a_round_trip_and_repeat_their_bytes() {
    let folder = TempDir::new().unwrap();
    let arrays = [
        ("y", Array { shape: vec![2, 2], values: Values::F32(vec![0.5, -1.0, f32::MIN, 3.0]) }),
        ("d", Array { shape: vec![1], values: Values::F64(vec![std::f64::consts::PI]) }),
        ("raw", Array { shape: vec![3], values: Values::I16(vec![-32768, 0, 32767]) }),
        ("n", Array { shape: vec![], values: Values::I64(vec![-7]) }),
        ("none", Array { shape: vec![0, 3], values: Values::F32(vec![]) }),
    ];
    let arrays = arrays.each_ref().map(|(name, array)| (*name, array));
    let path = file(&folder, &arrays);
    let bytes = fs::read(&path).unwrap();
    let mut npz = Npz::open(&path).unwrap();
    for (name, array) in arrays {
        assert_eq!(npz.array(name).unwrap().as_ref(), Some(array), "{name}");
    }
    assert_eq!(npz.array("missing").unwrap(), None);
    assert_eq!(npz.names(), ["d", "n", "none", "raw", "y"]);
    assert_eq!(fs::read(file(&folder, &arrays)).unwrap(), bytes);
}

/// An archive with one array as NumPy could have written it.
fn raw(folder: &TempDir, header: &str, data: &[u8]) -> PathBuf {
    use std::io::Write;
    let path = folder.path().join("raw.npz");
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    archive.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
    archive.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    archive.write_all(header.as_bytes()).unwrap();
    archive.write_all(data).unwrap();
    archive.finish().unwrap();
    path
}

#[test]
fn every_type_and_order_of_numpy_is_read() {
    let folder = TempDir::new().unwrap();
    let x = |header: &str, data: &[u8]| Dataset::read(&raw(&folder, header, data)).unwrap().x;
    let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2, 3), }";
    // Stored with the first index fastest: steps 0 and 1 of feature 0, then of 1, ...
    let stored: Vec<u8> =
        [1f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(x(fortran, &stored).sample(0), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let big_endian = "{'descr': '>f8', 'fortran_order': False, 'shape': (1, 1, 2)}";
    let stored: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    assert_eq!(x(big_endian, &stored).sample(0), [1.5, -2.0]);
    let bytes = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 1), }";
    assert_eq!(x(bytes, &[7, 255]).sample(0), [7.0, 255.0]);
    let half = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1, 1), }";
    assert_eq!(x(half, &[0x00, 0x3c]).sample(0), [1.0]);
    let signed = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 1, 1), }";
    assert_eq!(x(signed, &[0xfe, 0xff]).sample(0), [-2.0]);
}

#[test]
fn hostile_arrays_are_refused() {
    let folder = TempDir::new().unwrap();
    let refused = |header: &str, data: &[u8], parts: &[&str]| {
        assert_refused(&raw(&folder, header, data), parts);
    };
    let huge = u64::MAX;
    refused(
        &format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({huge}, {huge}, 2), }}"),
        &[],
        &["MiB"],
    );
    refused(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 99999, 1), }",
        &[],
        &["MiB"],
    );
    refused(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1), }",
        &[0; 7],
        &["after 7 of 8 bytes"],
    );
    refused(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 1), }",
        &[0; 8],
        &["`|O`", "float32"],
    );
    refused(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        &[0; 4],
        &["header"],
    );
    refused("{'descr': '<f4', 'shape': (-1, 1, 1), }", &[0; 4], &["header"]);
    refused("", &[], &["header"]);
}

#[test]
fn the_three_kinds_of_targets() {
    let folder = TempDir::new().unwrap();
    let x = floats(&[3, 4, 2], 0.5);
    let y = |y: &Array| Dataset::read(&file(&folder, &[("x", &x), ("y", y)])).unwrap().y.unwrap();
    assert_eq!(y(&integers(&[3], 1)), Targets::Classes(vec![1; 3]));
    assert_eq!(y(&integers(&[3, 4], 1)), Targets::StepClasses(vec![1; 12]));
    let values = Targets::Values { shape: vec![3, 2], values: vec![0.25; 6] };
    assert_eq!(y(&floats(&[3, 2], 0.25)), values);
    assert_eq!(Dataset::read(&file(&folder, &[("x", &x)])).unwrap().y, None);
}

#[test]
fn wrong_shapes_are_refused_with_what_was_expected() {
    let folder = TempDir::new().unwrap();
    let x = floats(&[3, 4, 2], 0.5);
    let refused =
        |arrays: &[(&str, &Array)], parts: &[&str]| assert_refused(&file(&folder, arrays), parts);
    refused(&[("data", &x)], &["no array `x`", "data"]);
    refused(&[("x", &floats(&[3, 4], 0.5))], &["[3, 4]", "[samples, steps, features]"]);
    refused(&[("x", &floats(&[0, 4, 2], 0.5))], &["[0, 4, 2]"]);
    refused(&[("x", &floats(&[3, 0, 2], 0.5))], &["[3, 0, 2]"]);
    refused(&[("x", &x), ("y", &integers(&[2], 0))], &["[2]", "3 samples"]);
    refused(&[("x", &x), ("y", &integers(&[3, 5], 0))], &["[3, 5]", "[3, 4]"]);
    refused(&[("x", &x), ("lengths", &integers(&[2], 1))], &["lengths", "[2]", "[3]"]);
    refused(&[("x", &x), ("lengths", &floats(&[3], 1.0))], &["lengths", "floats"]);
    refused(&[("x", &x), ("lengths", &integers(&[3], 5))], &["lengths[0] is 5", "1 to 4"]);
    refused(&[("x", &x), ("lengths", &integers(&[3], -1))], &["lengths[0]", "1 to 4"]);
    let dataset = Dataset::read(&file(&folder, &[("x", &x)])).unwrap();
    let sentence = dataset.x.expect_features(12).unwrap_err().to_string();
    assert!(sentence.contains("2 features") && sentence.contains("12"), "{sentence}");
}

#[test]
fn nan_is_refused_where_it_counts() {
    let folder = TempDir::new().unwrap();
    let mut values = vec![0.5; 24];
    // Sample 1, step 3, feature 1.
    values[15] = f32::NAN;
    let x = Array { shape: vec![3, 4, 2], values: Values::F32(values) };
    assert_refused(&file(&folder, &[("x", &x)]), &["x[1, 3, 1] is NaN"]);
    let lengths = Array { shape: vec![3], values: Values::I64(vec![4, 3, 4]) };
    let dataset = Dataset::read(&file(&folder, &[("x", &x), ("lengths", &lengths)])).unwrap();
    assert_eq!(dataset.x.sample(1).len(), 6);
    // Too large for float32.
    let x = Array { shape: vec![1, 1, 1], values: Values::F64(vec![1e300]) };
    assert_refused(&file(&folder, &[("x", &x)]), &["x[0, 0, 0] is inf"]);
    let (x, y) = (floats(&[3, 4, 2], 0.5), floats(&[3, 1], f32::INFINITY));
    assert_refused(&file(&folder, &[("x", &x), ("y", &y)]), &["y[0]"]);
}

#[test]
fn a_missing_file_and_one_that_is_no_archive() {
    let folder = TempDir::new().unwrap();
    assert_refused(&folder.path().join("missing.npz"), &["cannot open", "missing.npz"]);
    let path = folder.path().join("text.npz");
    fs::write(&path, "x").unwrap();
    assert_refused(&path, &["text.npz", "numpy.savez"]);
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gate");
    fs::write(&path, "before").unwrap();
    let failed = gatelet_cli::atomic::write(&path, |file| {
        std::io::Write::write_all(file, b"half")?;
        anyhow::bail!("no more")
    });
    assert_eq!(failed.unwrap_err().to_string(), "no more");
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    gatelet_cli::atomic::write_bytes(&path, b"after").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "after");
}
