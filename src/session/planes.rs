//! Between pictures and their planes on a device.

use burn::tensor::{Tensor, TensorData};

use crate::image::Picture;
use crate::kernels::Kernels;

/// The planes of a picture, `[1, 3, H, W]` in [-1, 1].
pub fn to_tensor<B: Kernels>(picture: &Picture, device: &B::Device) -> Tensor<B, 4> {
    let shape = [1, 3, picture.height as usize, picture.width as usize];
    Tensor::from_data(TensorData::new(picture.to_planes(), shape), device)
}

/// The picture that planes `[1, 3, H, W]` in [-1, 1] show; `None` when the device is lost; the next step says so.
pub async fn to_picture<B: Kernels>(image: Tensor<B, 4>) -> Option<Picture> {
    let [_, _, height, width] = image.dims();
    let data = image.into_data_async().await.ok()?;
    let values: Vec<f32> = data.iter::<f32>().collect();
    Some(Picture::from_planes(&values, width as u32, height as u32))
}
