//! Between weight files and networks on a device.

use burn::module::Module;
use burn::tensor::backend::Backend;

use super::{NamedTensor, WeightError, WeightFile};
use crate::model::Generator;
use crate::model::architecture::Parameter;
use crate::model::parameters;

/// The generator of a weight file, whatever its kind, width and depth.
///
/// # Errors
/// As [`WeightFile::generator`]: nothing is put on the device before every name and shape fits.
pub fn load_generator<B: Backend>(mut file: WeightFile, device: &B::Device) -> Result<Generator<B>, WeightError> {
    let architecture = file.generator()?;
    let Some(generator) = architecture.generator(device) else {
        return Err(WeightError::NotAGenerator { found: architecture.name() });
    };
    load(generator, &architecture.parameters(), &mut file, "")
}

/// The network with the values of the tensors `prefix` + name.
///
/// # Errors
/// [`WeightError::Missing`] or [`WeightError::Shape`] for the first tensor that does not fit.
pub fn load<B: Backend, M: Module<B>>(
    network: M,
    parameters: &[Parameter],
    file: &mut WeightFile,
    prefix: &str,
) -> Result<M, WeightError> {
    let mut values = Vec::with_capacity(parameters.len());
    for (name, shape) in parameters {
        let full = format!("{prefix}{name}");
        values.push(take(file, &full, shape)?);
    }
    Ok(parameters::replace(network, values))
}

/// Takes the values of one tensor out of a file.
///
/// # Errors
/// When it is missing or of another shape.
pub fn take(file: &mut WeightFile, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
    let expected = shape.to_vec();
    let Some(tensor) = file.tensors.iter_mut().find(|tensor| tensor.name == name) else {
        return Err(WeightError::Missing { tensor: name.to_owned(), expected });
    };
    if tensor.shape != expected {
        return Err(WeightError::Shape { tensor: name.to_owned(), expected, found: tensor.shape.clone() });
    }
    Ok(std::mem::take(&mut tensor.values))
}

/// The network's parameters under their official names, each with `prefix` in front.
///
/// # Errors
/// When the device is lost, in its own words.
pub async fn export<B: Backend>(
    network: &impl Module<B>,
    parameters: &[Parameter],
    prefix: &str,
) -> Result<Vec<NamedTensor>, String> {
    let mut tensors = Vec::with_capacity(parameters.len());
    for ((name, shape), tensor) in parameters.iter().zip(parameters::collect(network)) {
        let data = tensor.into_data_async().await.map_err(|error| format!("{error:?}"))?;
        tensors.push(NamedTensor {
            name: format!("{prefix}{name}"),
            shape: shape.clone(),
            values: data.iter::<f32>().collect(),
        });
    }
    Ok(tensors)
}
