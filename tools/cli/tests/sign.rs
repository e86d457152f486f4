//! Signed blobs: what a device takes, what it refuses and why, and files of keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatelet::{Error, Model, Stream};
use gatelet_cli::host::Blob;
use gatelet_cli::sign::{keygen, private_key, public_key, sign, verify};
use tempfile::TempDir;

fn golden(name: &str) -> Blob {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/blobs");
    Blob::read(&folder.join(name)).unwrap()
}

fn keys(folder: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let file = |extension: &str| folder.path().join(format!("{name}.{extension}"));
    let pair = (file("key"), file("pub"));
    keygen(&pair.0, &pair.1).unwrap();
    pair
}

/// Seals an altered blob again, so that only the signature is left to refuse it.
fn sealed(mut bytes: Vec<u8>) -> Blob {
    let end = bytes.len() - 4;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    Blob::new(&bytes)
}

fn refusal(blob: &Blob, key: &[u8; 32], least_version: u32) -> Option<Error> {
    verify(blob, key, least_version).err()
}

#[test]
fn a_signed_blob_is_the_model_it_was() {
    let folder = TempDir::new().unwrap();
    let (private, public) = keys(&folder, "release");
    let (private, public) = (private_key(&private).unwrap(), public_key(&public).unwrap());
    let blob = golden("vowels_gru_int8_plain.gate");
    assert_eq!(refusal(&blob, &public, 0), Some(Error::Unsigned));

    let signed = Blob::new(&sign(&blob, &private, 3).unwrap());
    let model = verify(&signed, &public, 3).unwrap();
    assert_eq!(model.version(), Some(3));
    assert_eq!(blob.model().unwrap().version(), None);
    let step = |model: Model<'_>| {
        let mut memory = vec![0; model.memory_words()];
        let mut stream = Stream::new(model, &mut memory).unwrap();
        stream.step(&vec![12_345; model.inputs()]).unwrap().to_vec()
    };
    assert_eq!(step(model), step(blob.model().unwrap()));

    // Signed anew, it is as long as before.
    let again = Blob::new(&sign(&signed, &private, 4).unwrap());
    assert_eq!(verify(&again, &public, 4).unwrap().version(), Some(4));
    assert_eq!(again.bytes().len(), signed.bytes().len());
    let error = sign(&again, &private, 3).unwrap_err().to_string();
    assert!(error.contains("version 4"), "{error}");
}

#[test]
fn every_altered_byte_a_wrong_key_and_an_older_version_are_refused() {
    let folder = TempDir::new().unwrap();
    let (private, public) = keys(&folder, "release");
    let (_, other) = keys(&folder, "other");
    let (private, public) = (private_key(&private).unwrap(), public_key(&public).unwrap());
    let signed = Blob::new(&sign(&golden("hapt_rnn_int16.gate"), &private, 7).unwrap());

    assert_eq!(refusal(&signed, &public, 7), None);
    assert_eq!(refusal(&signed, &public_key(&other).unwrap(), 0), Some(Error::Signature));
    assert_eq!(refusal(&signed, &public, 8), Some(Error::Downgrade { least: 8, found: 7 }));
    // Half of all numbers are no points of the curve.
    assert!((0..32).any(|k| refusal(&signed, &[k; 32], 0) == Some(Error::Key)));
    // Of small order: it would verify anything.
    assert_eq!(
        refusal(&signed, &std::array::from_fn(|k| u8::from(k == 0)), 0),
        Some(Error::Signature)
    );

    let (mut by_signature, bytes) = (0, signed.bytes());
    for at in 0..bytes.len() - 4 {
        let mut altered = bytes.to_vec();
        altered[at] ^= 1;
        let error = refusal(&sealed(altered), &public, 0).unwrap_or_else(|| panic!("byte {at}"));
        by_signature += u32::from(error == Error::Signature);
    }
    assert!(by_signature > 1000, "the reader alone refused all but {by_signature}");

    // Taking the signature out leaves a blob without one, not a signed one.
    let mut stripped = bytes.to_vec();
    stripped[gatelet::blob::format::header::EXTRAS..][..4].fill(0);
    assert_eq!(refusal(&sealed(stripped), &public, 0), Some(Error::Unsigned));
}

#[test]
fn nothing_follows_a_signature() {
    let folder = TempDir::new().unwrap();
    let private = private_key(&keys(&folder, "release").0).unwrap();
    let signed = sign(&golden("hapt_rnn_int16.gate"), &private, 1).unwrap();
    let mut longer = signed.clone();
    longer.extend([0; 16]);
    let length = longer.len() as u32;
    longer[gatelet::blob::format::header::LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
    let field = Some(Error::Header { field: "signature" });
    assert_eq!(sealed(longer).model().err(), field);
    let mut shorter = signed;
    let at = shorter.len() - 4 - 68 - 4;
    shorter[at] = 67;
    assert_eq!(sealed(shorter).model().err(), field);
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let folder = TempDir::new().unwrap();
    let (private, public) = keys(&folder, "release");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&private), mode(&public)), (0o600, 0o644));
    let before = fs::read(&private).unwrap();
    for missing in [&private, &public] {
        fs::rename(missing, folder.path().join("away")).unwrap();
        let error = keygen(&private, &public).unwrap_err().to_string();
        assert!(error.contains("never overwritten"), "{error}");
        fs::rename(folder.path().join("away"), missing).unwrap();
    }
    assert_eq!(fs::read(&private).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

    fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).unwrap();
    let error = private_key(&private).unwrap_err().to_string();
    assert!(error.contains("can be read by others"), "{error}");
}

#[test]
fn files_that_are_no_keys_are_refused() {
    let folder = TempDir::new().unwrap();
    let (private, public) = keys(&folder, "release");
    let error = private_key(&public).unwrap_err().to_string();
    assert!(error.contains("can be read by others"), "{error}");
    fs::write(&private, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let error = private_key(&private).unwrap_err().to_string();
    assert!(error.contains("no Ed25519 private key"), "{error}");
    let error = public_key(&private).unwrap_err().to_string();
    assert!(error.contains("a public key has 32"), "{error}");
}

#[test]
fn the_commands_work_together() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let blob =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/blobs/hapt_rnn_int16.gate");
    let gatelet = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatelet")).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (key, public, out) = (path("k.key"), path("k.pub"), path("signed.gate"));
    let blob = blob.to_str().unwrap();
    assert!(gatelet(&["keygen", &path("k")]).0);
    assert!(gatelet(&["sign", blob, "--key", &key, "--version", "5", "-o", &out]).0);
    assert!(gatelet(&["verify", &out, "--key", &public, "--least-version", "5"]).0);
    let (taken, message) = gatelet(&["verify", &out, "--key", &public, "--least-version", "6"]);
    assert!(!taken && message.contains("version 5, older than 6"), "{message}");
    let (taken, message) = gatelet(&["verify", blob, "--key", &public]);
    assert!(!taken && message.contains("not signed"), "{message}");
}
