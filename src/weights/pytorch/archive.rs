//! The parts of PyTorch's zip archives, as slices of the file's bytes.

use super::super::WeightError;
use super::pickle::damaged;
use crate::platform::zip::{self, ZipError};

/// Name and contents of one part.
pub type Part<'a> = (String, &'a [u8]);

/// All parts of an archive.
///
/// # Errors
/// When the archive is damaged, compressed or encrypted.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part<'_>>, WeightError> {
    let failed = |error: ZipError| damaged(&error.to_string());
    let mut parts = Vec::new();
    for entry in zip::entries(bytes).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.is_stored() {
            parts.push((entry.name.clone(), &bytes[entry.range().map_err(failed)?]));
        } else if !entry.name.contains("/code/") {
            // Only the source code of a TorchScript program is; the caller knows such a file by its other parts.
            return Err(WeightError::Packed);
        }
    }
    Ok(parts)
}
