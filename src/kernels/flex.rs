//! flex with the processor kernels: f32 goes to [`cpu`], any other type to the portable default.

use std::borrow::Cow;

use burn::backend::Flex;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, TensorData, TensorMetadata};
use burn_flex::FlexTensor;

use super::{AdamStep, Geometry, Kernels, Learned, Precision, cpu, portable};

/// The values in row-major order, copied only when the tensor is a strided view.
fn values(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.as_slice::<f32>() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(tensor.to_contiguous().storage::<f32>().to_vec()),
    }
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

fn single(tensor: &FlexTensor) -> bool {
    tensor.dtype() == DType::F32
}

/// The convolution of `size` inputs with the weight `[outputs, inputs, k, k]`.
fn layer(batch: usize, weight: &FlexTensor, size: [usize; 2], geometry: Geometry) -> cpu::Layer {
    let [outputs, inputs, _, _] = weight.shape().dims();
    cpu::Layer { batch, inputs, outputs, size, geometry }
}

impl Kernels for Flex {
    fn multiplies_in(precision: Precision, _device: &Self::Device) -> bool {
        cpu::multiplies_in(precision)
    }

    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        if !single(&input) {
            return portable::conv2d::<Self>(input, weight, bias, geometry);
        }
        let [batch, _, height, width] = input.shape().dims();
        let layer = layer(batch, &weight, [height, width], geometry);
        let (weight, bias) = (values(&weight), bias.as_ref().map(values));
        let filters = cpu::Filters { weight: &weight, bias: bias.as_deref() };
        let [rows, columns] = layer.output_size();
        tensor(cpu::conv2d(&values(&input), filters, layer), [batch, layer.outputs, rows, columns])
    }

    fn convolve_input_grad(
        output_grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        input_size: [usize; 2],
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        if !single(&output_grad) {
            return portable::conv2d_input_grad::<Self>(output_grad, weight, bias, input_size, geometry);
        }
        let [batch, ..] = output_grad.shape().dims::<4>();
        let layer = layer(batch, &weight, input_size, geometry);
        let (weight, bias) = (values(&weight), bias.as_ref().map(values));
        let filters = cpu::Filters { weight: &weight, bias: bias.as_deref() };
        let grad = cpu::conv2d_input_grad(&values(&output_grad), filters, layer);
        tensor(grad, [batch, layer.inputs, input_size[0], input_size[1]])
    }

    fn convolve_weight_grad(
        input: FloatTensor<Self>,
        output_grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        if !single(&input) {
            return portable::conv2d_weight_grad::<Self>(input, output_grad, weight, geometry);
        }
        let [batch, _, height, width] = input.shape().dims();
        let layer = layer(batch, &weight, [height, width], geometry);
        tensor(cpu::conv2d_weight_grad(&values(&input), &values(&output_grad), layer), weight.shape().dims())
    }

    fn instance_norm(
        input: FloatTensor<Self>,
        skipped: Option<FloatTensor<Self>>,
        slope: f32,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        if !single(&input) {
            return (portable::instance_norm::<Self>(input, skipped, slope), None);
        }
        let dims: [usize; 4] = input.shape().dims();
        let pixels = dims[2] * dims[3];
        let output = if input.is_unique() {
            let mut planes = whole(input);
            cpu::instance_norm(planes.storage_mut(), None, pixels, slope);
            planes
        } else {
            let mut planes = vec![0.0; input.shape().num_elements()];
            cpu::instance_norm(&mut planes, Some(&values(&input)), pixels, slope);
            tensor(planes, dims)
        };
        let sum = match skipped {
            Some(skipped) => Self::float_add(skipped, output),
            None => output,
        };
        (sum, None)
    }

    fn instance_norm_grad(
        input: FloatTensor<Self>,
        _moments: Option<FloatTensor<Self>>,
        output_grad: FloatTensor<Self>,
        slope: f32,
    ) -> FloatTensor<Self> {
        if !single(&input) {
            return portable::instance_norm_grad::<Self>(input, output_grad, slope);
        }
        let dims: [usize; 4] = input.shape().dims();
        tensor(cpu::instance_norm_grad(&values(&input), &values(&output_grad), dims[2] * dims[3], slope), dims)
    }

    fn adam(
        all: Vec<(Learned<FloatTensor<Self>>, FloatTensor<Self>)>,
        step: AdamStep,
    ) -> Vec<Learned<FloatTensor<Self>>> {
        if !all.iter().all(|(_, grad)| single(grad)) {
            return portable::adam::<Self>(all, step);
        }
        let stepped = all.into_iter().map(|(Learned { parameter, moments }, grad)| {
            // In place where nobody else holds the tensor, which is so with the moments.
            let [mut first, mut second] = moments.map(whole);
            let mut parameter = whole(parameter);
            cpu::adam(parameter.storage_mut(), &values(&grad), first.storage_mut(), second.storage_mut(), step);
            Learned { parameter, moments: [first, second] }
        });
        stepped.collect()
    }
}

/// The tensor itself when its storage is exactly its values, else a copy that is.
fn whole(tensor: FlexTensor) -> FlexTensor {
    let exact = tensor.as_slice::<f32>().is_some_and(|values| values.len() == tensor.storage::<f32>().len());
    if exact { tensor } else { tensor.to_contiguous() }
}
