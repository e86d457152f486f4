//! Keys, and signed blobs.
//!
//! A private key is a PKCS #8 PEM file that only its owner can read, as OpenSSL writes it too; a
//! public key is a file of 32 bytes, which firmware takes in with `include_bytes!`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
use ed25519_dalek::{Signer, SigningKey};
use gatelet::Model;
use gatelet::blob::format::{ALIGNMENT, CRC_BYTES, MINOR, extra, header};

use crate::atomic;
use crate::host::Blob;

const PUBLIC_KEY_BYTES: usize = ed25519_dalek::PUBLIC_KEY_LENGTH;

/// Makes a pair of keys: `private`, which only its owner can read, and `public`.
///
/// # Errors
/// If either file exists: a key is never overwritten. Those of the file system.
pub fn keygen(private: &Path, public: &Path) -> Result<()> {
    for path in [private, public] {
        ensure!(!path.exists(), "{} exists: a key is never overwritten", path.display());
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow!("no randomness: {error}"))?;
    let key = SigningKey::from_bytes(&secret);
    let pem = key.to_pkcs8_pem(LineEnding::LF).context("cannot encode the key")?;
    atomic::write_new(private, pem.as_bytes(), 0o600)?;
    atomic::write_new(public, key.verifying_key().as_bytes(), 0o644)
}

/// Reads a private key.
///
/// # Errors
/// If the file is missing or no key, or if others than its owner can read it.
pub fn private_key(path: &Path) -> Result<SigningKey> {
    let in_context = || format!("cannot read {}", path.display());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).with_context(in_context)?.permissions().mode();
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others: run `chmod 600` on it, and make a new key if it was shared",
            path.display()
        );
    }
    let pem = std::fs::read_to_string(path).with_context(in_context)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        anyhow!(
            "{} is no Ed25519 private key in PEM: make one with `gatelet keygen`",
            path.display()
        )
    })
}

/// Reads a public key.
///
/// # Errors
/// If the file is missing or not as long as a key.
pub fn public_key(path: &Path) -> Result<[u8; PUBLIC_KEY_BYTES]> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        anyhow!(
            "{} has {} bytes; a public key has {PUBLIC_KEY_BYTES}: give the .pub file of `gatelet keygen`",
            path.display(),
            bytes.len()
        )
    })
}

/// `blob` with a signature, in place of the one it has if it has one.
///
/// # Errors
/// If the blob is refused, or was signed as a later version.
pub fn sign(blob: &Blob, key: &SigningKey, version: u32) -> Result<Vec<u8>> {
    if let Some(signed) = blob.model()?.version()
        && signed > version
    {
        bail!("the blob is signed as version {signed} already: give a --version from there on");
    }
    let mut bytes = blob.bytes().to_vec();
    bytes.truncate(bytes.len() - CRC_BYTES);
    let mut entries = directory(&bytes);
    match entries.pop_if(|(kind, _)| *kind == extra::SIGNATURE) {
        // It is the last section, behind its directory.
        Some((_, at)) => bytes.truncate(at as usize + 4),
        None => bytes = with_signature_section(bytes, entries),
    }
    bytes.extend(version.to_le_bytes());
    let length = bytes.len() + extra::SIGNATURE_BYTES - 4 + CRC_BYTES;
    put(&mut bytes, header::LENGTH, length as u32);
    let signature = key.sign(&bytes);
    bytes.extend(signature.to_bytes());
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
    bytes.extend(crc.to_le_bytes());
    Ok(bytes)
}

/// Verifies `blob`'s signature as a device does.
///
/// # Errors
/// Why the device would refuse it.
pub fn verify<'a>(
    blob: &'a Blob,
    public_key: &[u8; PUBLIC_KEY_BYTES],
    least_version: u32,
) -> Result<Model<'a>, gatelet::Error> {
    Model::from_signed_bytes(blob.bytes(), public_key, least_version)
}

/// Kinds and offsets of the further sections of a blob that was validated.
fn directory(bytes: &[u8]) -> Vec<(u32, u32)> {
    let at = get(bytes, header::EXTRAS) as usize;
    if at == 0 {
        return Vec::new();
    }
    let entry = |k: usize| at + 4 + extra::BYTES * k;
    let count = get(bytes, at) as usize;
    (0..count).map(|k| (get(bytes, entry(k)), get(bytes, entry(k) + 4))).collect()
}

/// Appends a directory with one more entry, and the section's length; the old directory stays, unused.
fn with_signature_section(mut bytes: Vec<u8>, mut entries: Vec<(u32, u32)>) -> Vec<u8> {
    let directory = bytes.len().next_multiple_of(ALIGNMENT);
    let end = directory + 4 + extra::BYTES * (entries.len() + 1);
    let section = end.next_multiple_of(ALIGNMENT);
    entries.push((extra::SIGNATURE, section as u32));
    bytes.resize(section, 0);
    put(&mut bytes, directory, entries.len() as u32);
    for (k, (kind, at)) in entries.into_iter().enumerate() {
        let entry = directory + 4 + extra::BYTES * k;
        put(&mut bytes, entry, kind);
        put(&mut bytes, entry + 4, at);
    }
    put(&mut bytes, header::EXTRAS, directory as u32);
    bytes[header::MINOR..][..2].copy_from_slice(&MINOR.to_le_bytes());
    bytes.extend((extra::SIGNATURE_BYTES as u32).to_le_bytes());
    bytes
}

fn get(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|k| bytes[at + k]))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..][..4].copy_from_slice(&value.to_le_bytes());
}
