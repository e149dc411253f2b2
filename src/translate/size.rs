//! At which size a network computes: it knows things at the scale at which it was shown them.

use super::{Budget, TranslateError, Watcher, translate};
use crate::image::Picture;
use crate::kernels::Kernels;
use crate::model::Generator;
use crate::protocol::SMALLEST_SIDE;

/// The size of a picture whose longer side is at most `side`. A panorama keeps more: its shorter side does not fall
/// below a quarter of `side`, nor below what a generator needs. Nothing is enlarged.
pub fn working_size(width: u32, height: u32, side: u32) -> (u32, u32) {
    let (longer, shorter) = (width.max(height).max(1), width.min(height).max(1));
    let floor = (side / 4).max(SMALLEST_SIDE);
    let scale = (f64::from(side) / f64::from(longer)).max(f64::from(floor) / f64::from(shorter)).min(1.0);
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    (scaled(width), scaled(height))
}

/// Translates a picture at a longer side of `side` pixels, or at its own size, and brings the result back to the
/// picture's own size. Besides the result: the size at which the generator computed.
///
/// # Errors
/// As [`translate`].
pub async fn translate_at<B: Kernels>(
    generator: &Generator<B>,
    ngf: usize,
    picture: &Picture,
    side: Option<u32>,
    device: &B::Device,
    budget: Budget,
    watcher: &impl Watcher,
) -> Result<(Picture, [u32; 2]), TranslateError> {
    let Picture { width, height, .. } = *picture;
    let (columns, rows) = side.map_or((width, height), |side| working_size(width, height, side));
    if (columns, rows) == (width, height) {
        return Ok((translate(generator, ngf, picture, device, budget, watcher).await?, [width, height]));
    }
    // On white, as the network sees it: the alpha of the result is the picture's own, at full sharpness.
    let small = picture.resize(columns, rows).laid_on_white();
    let result = translate(generator, ngf, &small, device, budget, watcher).await?;
    Ok((result.resize(width, height).with_alpha_of(picture), [columns, rows]))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use burn::backend::Flex;

    use super::*;
    use crate::model::ResnetGeneratorConfig;
    use crate::model::parameters::init_normal;

    #[test]
    fn pictures_shrink_and_panoramas_keep_some_height() {
        assert_eq!(working_size(4000, 3000, 256), (256, 192));
        assert_eq!(working_size(3000, 4000, 256), (192, 256));
        assert_eq!(working_size(200, 100, 256), (200, 100), "nothing is enlarged");
        assert_eq!(working_size(8000, 1000, 256), (512, 64), "a quarter of the side");
        assert_eq!(working_size(1000, 20, 32), (800, 16), "what a generator needs");
        assert_eq!(working_size(900, 10, 256), (900, 10));
    }

    struct Patient;

    impl Watcher for Patient {
        async fn progress(&self, _fraction: f32) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn the_result_has_the_pictures_own_size_and_alpha() {
        let device = Default::default();
        let config = ResnetGeneratorConfig::new().with_ngf(2).with_n_blocks(1);
        let generator = init_normal(config.init::<Flex>(&device), 0.2, 3, "size").into();
        let budget = Budget { total: u64::MAX, tensor: u64::MAX, maps: 3.0 };
        let pixels = (0..4 * 90 * 60).map(|i| if i % 4 == 3 { (i / 4 % 256) as u8 } else { (i * i / 7 % 251) as u8 });
        let picture = Picture { width: 90, height: 60, pixels: pixels.collect() };
        let at = |picture: &Picture, side| {
            pollster::block_on(translate_at(&generator, 2, picture, side, &device, budget, &Patient))
                .expect("everything fits")
        };
        let (result, computed) = at(&picture, Some(30));
        assert_eq!(((result.width, result.height), computed), ((90, 60), [30, 20]));
        for (pixel, source) in result.pixels.chunks_exact(4).zip(picture.pixels.chunks_exact(4)) {
            assert_eq!(pixel[3], source[3]);
        }
        let opaque = picture.laid_on_white();
        let expected = at(&opaque.resize(30, 20), None).0.resize(90, 60);
        assert_eq!(at(&opaque, Some(30)).0, expected);
        assert_eq!(at(&opaque, Some(90)), at(&opaque, None));
    }
}
