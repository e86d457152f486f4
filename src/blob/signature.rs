//! The signature section: what vouches for every byte before it.

use super::{Blob, format::CRC_BYTES, format::extra};
use crate::error::Error;

/// A signature and what it is of.
pub(crate) struct Signature<'a> {
    /// Counts up from release to release.
    pub(crate) version: u32,
    /// All bytes of the blob before the signature's own: the version is among them.
    #[cfg_attr(not(feature = "sign"), expect(dead_code))]
    pub(crate) message: &'a [u8],
    #[cfg_attr(not(feature = "sign"), expect(dead_code))]
    pub(crate) signature: &'a [u8; 64],
}

impl<'a> Blob<'a> {
    /// The signature, not yet verified; `None` if the blob has none.
    pub(crate) const fn signature(&self) -> Option<Signature<'a>> {
        let Some(section) = self.extra(extra::SIGNATURE) else { return None };
        let Some((version, _)) = section.split_first_chunk() else { return None };
        let bytes = Self::covered(self.bytes);
        let Some((message, signature)) = bytes.split_last_chunk() else { return None };
        Some(Signature { version: u32::from_le_bytes(*version), message, signature })
    }

    /// A signature is as long as it should be and the last thing before the CRC, so that no byte
    /// that matters escapes it.
    pub(super) const fn check_signature(&self) -> Result<(), Error> {
        match self.extra_at(extra::SIGNATURE) {
            Some(at) if at + 4 + extra::SIGNATURE_BYTES != self.bytes.len() - CRC_BYTES => {
                Err(Error::Header { field: "signature" })
            }
            Some(at) if self.u32(at) as usize != extra::SIGNATURE_BYTES => {
                Err(Error::Header { field: "signature" })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "sign")]
impl Signature<'_> {
    /// Verifies it, by RFC 8032 in the strict reading that refuses keys and points of small order.
    pub(crate) fn verify(&self, public_key: &[u8; 32], least_version: u32) -> Result<(), Error> {
        use ed25519_dalek::{Signature, VerifyingKey};

        let key = VerifyingKey::from_bytes(public_key).map_err(|_| Error::Key)?;
        let signature = Signature::from_bytes(self.signature);
        key.verify_strict(self.message, &signature).map_err(|_| Error::Signature)?;
        if self.version < least_version {
            return Err(Error::Downgrade { least: least_version, found: self.version });
        }
        Ok(())
    }
}
