//! Writing the zip archive of `torch.save(state_dict)`.

use super::super::{NamedTensor, Storage, WeightError, WeightFile};
use super::METADATA;
use crate::platform::zip::{ZipError, ZipWriter};

/// The folder that holds every part.
const ROOT: &str = "archive";
/// PyTorch aligns its runs of values, so that they can be mapped into memory.
const ALIGNMENT: usize = 64;

/// The bytes of a file that `torch.load(weights_only=True)` reads as an `OrderedDict` of tensors. The
/// same contents always give the same bytes.
pub fn write(file: &WeightFile, storage: Storage) -> Result<Vec<u8>, WeightError> {
    let mut archive = ZipWriter::default();
    let mut part = |name: &str, contents: &[u8]| archive.put(&format!("{ROOT}/{name}"), contents, ALIGNMENT);
    let failed = |error: ZipError| WeightError::Unwritable { reason: error.to_string() };
    part("data.pkl", &program(&file.tensors, storage)).map_err(failed)?;
    part("byteorder", b"little").map_err(failed)?;
    for (index, tensor) in file.tensors.iter().enumerate() {
        part(&format!("data/{index}"), &tensor.bytes(storage)?).map_err(failed)?;
    }
    if !file.metadata.is_empty() {
        let metadata = serde_json::to_vec(&file.metadata);
        let metadata = metadata.map_err(|error| WeightError::Unwritable { reason: error.to_string() })?;
        part(METADATA, &metadata).map_err(failed)?;
    }
    part("version", b"3\n").map_err(failed)?;
    archive.finish().map_err(failed)
}

/// The pickle of an `OrderedDict` from name to tensor, in version 2 as PyTorch writes it.
fn program(tensors: &[NamedTensor], storage: Storage) -> Vec<u8> {
    let kind = match storage {
        Storage::F32 => "FloatStorage",
        Storage::F16 => "HalfStorage",
    };
    let mut pickle = Writer(vec![0x80, 2]);
    pickle.global("collections", "OrderedDict").op(b")R(");
    for (index, tensor) in tensors.iter().enumerate() {
        pickle.text(&tensor.name).global("torch._utils", "_rebuild_tensor_v2").op(b"(");
        // The storage: its type, its name in the archive, its device, its number of values.
        pickle.op(b"(").text("storage").global("torch", kind).text(&index.to_string()).text("cpu");
        pickle.number(tensor.values.len()).op(b"tQ");
        pickle.number(0).tuple(&tensor.shape);
        let mut strides = vec![1; tensor.shape.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.shape[axis];
        }
        // No gradient is wanted, and there are no hooks.
        pickle.tuple(&strides).op(b"\x89").global("collections", "OrderedDict").op(b")RtR");
    }
    pickle.op(b"u.");
    pickle.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    fn number(&mut self, number: usize) -> &mut Self {
        match i32::try_from(number) {
            Ok(number) => self.op(b"J").op(&number.to_le_bytes()),
            Err(_) => self.op(b"\x8a\x08").op(&(number as u64).to_le_bytes()),
        }
    }

    fn tuple(&mut self, numbers: &[usize]) -> &mut Self {
        self.op(b"(");
        for number in numbers {
            self.number(*number);
        }
        self.op(b"t")
    }
}
