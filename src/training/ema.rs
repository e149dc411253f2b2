//! The moving average of the generators.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `decay · average + (1 − decay) · current` for every parameter (`torch.optim.swa_utils.AveragedModel` with
/// `get_ema_multi_avg_fn(decay)`): pictures of averaged generators are steadier from step to step, and often better
/// (Yazıcı et al. 2019, <https://arxiv.org/abs/1806.04498>).
///
/// # Shapes
/// - current: each parameter `[count]`, in the order in which a module's are visited
pub fn follow<B: Backend, M: Module<B>>(average: M, current: Vec<Tensor<B, 1>>, decay: f32) -> M {
    struct Follower<B: Backend> {
        current: std::vec::IntoIter<Tensor<B, 1>>,
        decay: f32,
    }
    impl<B: Backend> ModuleMapper<B> for Follower<B> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let Some(current) = self.current.next() else { return param };
            let decay = self.decay;
            param.map(|average| {
                let current = current.reshape(average.shape());
                average * decay + current * (1.0 - decay)
            })
        }
    }
    average.map(&mut Follower { current: current.into_iter(), decay })
}
