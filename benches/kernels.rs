//! Speed of a backend's kernels on every layer of the official networks at 256²: `make bench ROWS=k`, or
//! `cargo bench --bench kernels [-- --json] [--backend NAME] [--only LAYER] [--side PIXELS] [--batch N] [--ceiling GFLOPS]`.
//!
//! On flex convolutions are held against the processor's ceiling for f32 arithmetic: the best that the `gemm`
//! crate does on 1024³ in the same run, measured again before every layer, since a machine slows and
//! recovers. (A kernel that multiplies less than the formula, like Winograd's, can pass it.) What
//! only moves memory is held against a copy of as many bytes. On a GPU both ceilings are the graphics card's: arithmetic
//! as told by `--ceiling` (a vendor's library knows it), copying as the backend does it.

use std::hint::black_box;
use std::time::Instant;

use burn::backend::Flex;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Distribution, Tensor};
use cyclegan::kernels::{AdamStep, Geometry, Kernels, Learned, adam, conv_transpose2d, conv2d, instance_norm};
use serde_json::json;

/// A convolution; a transposed one is named by the convolution that it is the adjoint of.
struct Layer {
    name: &'static str,
    /// How often it occurs in one pass of its network.
    count: usize,
    transposed: bool,
    inputs: usize,
    outputs: usize,
    /// Input side (of the convolution, so a transposed layer's output side).
    side: usize,
    geometry: Geometry,
}

const fn layer(
    name: &'static str,
    count: usize,
    [inputs, outputs]: [usize; 2],
    side: usize,
    geometry: Geometry,
) -> Layer {
    Layer { name, count, transposed: false, inputs, outputs, side, geometry }
}

const fn doubling(name: &'static str, [inputs, outputs]: [usize; 2], side: usize) -> Layer {
    // The adjoint's channels are the other way round.
    Layer { transposed: true, ..layer(name, 1, [outputs, inputs], side, Geometry::zero(3, 2, 1)) }
}

const LAYERS: [Layer; 12] = [
    layer("G stem 3→64 7×7", 1, [3, 64], 256, Geometry::reflect(7)),
    layer("G down 64→128 3×3/2", 1, [64, 128], 256, Geometry::zero(3, 2, 1)),
    layer("G down 128→256 3×3/2", 1, [128, 256], 128, Geometry::zero(3, 2, 1)),
    layer("G block 256→256 3×3", 18, [256, 256], 64, Geometry::reflect(3)),
    doubling("G up 256→128 3×3·2", [256, 128], 128),
    doubling("G up 128→64 3×3·2", [128, 64], 256),
    layer("G head 64→3 7×7", 1, [64, 3], 256, Geometry::reflect(7)),
    layer("D 3→64 4×4/2", 1, [3, 64], 256, Geometry::zero(4, 2, 1)),
    layer("D 64→128 4×4/2", 1, [64, 128], 128, Geometry::zero(4, 2, 1)),
    layer("D 128→256 4×4/2", 1, [128, 256], 64, Geometry::zero(4, 2, 1)),
    layer("D 256→512 4×4", 1, [256, 512], 32, Geometry::zero(4, 1, 1)),
    layer("D 512→1 4×4", 1, [512, 1], 31, Geometry::zero(4, 1, 1)),
];

/// One line of the table.
struct Line {
    name: &'static str,
    count: usize,
    pass: &'static str,
    /// Floating-point operations, or bytes read and written, of the formula.
    work: usize,
    seconds: f64,
}

impl Line {
    /// GFLOP/s or GB/s.
    fn speed(&self) -> f64 {
        self.work as f64 / self.seconds / 1e9
    }
}

/// The word after a flag.
fn option(flag: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != flag).nth(1)
}

fn main() {
    cyclegan::platform::allocator::keep_freed_memory();
    match option("--backend").as_deref().unwrap_or("flex") {
        "flex" => measure::<Flex>(Some(Ceiling::new())),
        #[cfg(feature = "candle")]
        #[allow(deprecated, reason = "burn-candle is deprecated after 0.21, on which this project stays")]
        "candle" => measure::<burn::backend::Candle>(Some(Ceiling::new())),
        #[cfg(feature = "wgpu")]
        "wgpu" => measure::<burn::backend::Wgpu>(None),
        #[cfg(feature = "cuda")]
        "cuda" => measure::<burn::backend::Cuda>(None),
        other => eprintln!("the backend {other} is not built in"),
    }
}

fn measure<B: Kernels>(mut ceiling: Option<Ceiling>) {
    let number = |flag, usual| option(flag).and_then(|number| number.parse().ok()).unwrap_or(usual);
    let (batch, side): (usize, usize) = (number("--batch", 1), number("--side", 256));
    let only = option("--only").unwrap_or_default();
    let layers = LAYERS.iter().filter(|layer| layer.name.contains(&only));
    let layers = layers.map(|layer| Layer { side: layer.side * side / 256, ..*layer });
    let products: Vec<Line> = layers.flat_map(|layer| times::<B>(&layer, batch, &mut ceiling)).collect();
    let told = option("--ceiling").and_then(|number| number.parse().ok());
    let (arithmetic, copying) = match &ceiling {
        Some(ceiling) => (ceiling.arithmetic(), copying()),
        None => (told.unwrap_or(f64::NAN), copying_on::<B>()),
    };
    let as_json = std::env::args().any(|argument| argument == "--json");
    if !as_json {
        println!("{arithmetic:.1} GFLOP/s at most, copying {copying:.1} GB/s");
        println!("{:34}{:>3}{:>12}{:>10}{:>10}{:>8}", "layer", "×", "pass", "ms", "G/s", "share");
    }
    let show = |line: &Line, unit: &str, ceiling: f64| {
        let Line { name, count, pass, seconds, .. } = line;
        let (milliseconds, speed, share) = (seconds * 1e3, line.speed(), line.speed() / ceiling);
        if as_json {
            let line = json!({ "layer": name, "count": count, "pass": pass, "milliseconds": milliseconds,
                unit: speed, "ceiling": ceiling, "share": share });
            println!("{line}");
        } else {
            println!("{name:34}{count:>3}{pass:>12}{milliseconds:>10.3}{speed:>10.1}{share:>8.2}");
        }
    };
    products.iter().for_each(|line| show(line, "gflops", arithmetic));
    moving::<B>().iter().for_each(|line| show(line, "gigabytes", copying));
}

/// Least of some runs, in seconds: what the code can do; others' work on the machine only adds.
fn best(mut run: impl FnMut()) -> f64 {
    run();
    let (begin, mut least, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || (begin.elapsed().as_secs_f64() < 0.15 && runs < 50) {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    least
}

/// [`best`] on a device that works behind the program's back: many launches, then one wait.
fn best_on<B: Kernels>(mut run: impl FnMut()) -> f64 {
    let device = Default::default();
    let mut launches = |count: usize| {
        (0..count).for_each(|_| run());
        B::sync(&device).expect("the device answers");
    };
    launches(1);
    let start = Instant::now();
    launches(1);
    let count = (0.002 / start.elapsed().as_secs_f64()).clamp(1.0, 50.0) as usize;
    best(|| launches(count)) / count as f64
}

/// Forward, gradient of the input, gradient of the weight.
fn times<B: Kernels>(layer: &Layer, batch: usize, ceiling: &mut Option<Ceiling>) -> [Line; 3] {
    if let Some(ceiling) = ceiling {
        ceiling.measure();
    }
    let Layer { name, count, transposed, inputs, outputs, side, geometry } = *layer;
    let output_side = geometry.output(side);
    let below = random::<B>([batch, inputs, side, side]);
    let above = random::<B>([batch, outputs, output_side, output_side]);
    let weight = random::<B>([outputs, inputs, geometry.kernel, geometry.kernel]);
    let convolution = best_on::<B>(|| drop(black_box(conv2d(below.clone(), weight.clone(), None, geometry))));
    let adjoint = best_on::<B>(|| {
        drop(black_box(conv_transpose2d(above.clone(), weight.clone(), None, [side, side], geometry)));
    });
    let [below, above, weight] = [below, above, weight].map(primitive::<B>);
    let weight_grad = best_on::<B>(|| {
        drop(black_box(B::convolve_weight_grad(below.clone(), above.clone(), weight.clone(), geometry)))
    });
    let [forward, input_grad] = if transposed { [adjoint, convolution] } else { [convolution, adjoint] };
    let work = 2 * batch * inputs * outputs * geometry.kernel.pow(2) * output_side * output_side;
    let line = |pass, seconds| Line { name, count, pass, work, seconds };
    [line("forward", forward), line("input grad", input_grad), line("weight grad", weight_grad)]
}

/// Passes that only read and write.
fn moving<B: Kernels>() -> Vec<Line> {
    let mut found = Vec::new();
    for (name, channels, side) in [("norm + ReLU 64 × 256²", 64, 256), ("norm + ReLU 256 × 64²", 256, 64)] {
        let shape = [1, channels, side, side];
        let bytes = 4 * channels * side * side;
        let (planes, grad) = (random::<B>(shape), random::<B>(shape));
        let forward = best_on::<B>(|| drop(black_box(instance_norm(planes.clone(), None, 0.0))));
        let [planes, grad] = [planes, grad].map(primitive::<B>);
        let (_, moments) = B::instance_norm(planes.clone(), None, 0.0);
        let run = || B::instance_norm_grad(planes.clone(), moments.clone(), grad.clone(), 0.0);
        let backward = best_on::<B>(|| drop(black_box(run())));
        found.push(Line { name, count: 1, pass: "forward", work: 2 * bytes, seconds: forward });
        found.push(Line { name, count: 1, pass: "input grad", work: 3 * bytes, seconds: backward });
    }
    let count = 256 * 256 * 9 * 18;
    let vector = || Tensor::<B, 1>::random([count], Distribution::Uniform(0.1, 1.0), &Default::default());
    let (grad, mut state) = (vector(), vec![Learned { parameter: vector(), moments: [vector(), vector()] }]);
    let step = AdamStep { rate: 2e-4, betas: [0.5, 0.999], epsilon: 1e-8, time: 10 };
    let seconds = best_on::<B>(|| {
        // The parameter and its moments are given away and come back, as in a training.
        state = adam(state.drain(..).map(|learned| (learned, grad.clone())).collect(), step);
    });
    found.push(Line { name: "Adam, a generator's blocks", count: 1, pass: "forward", work: 28 * count, seconds });
    found
}

fn primitive<B: Kernels>(planes: Tensor<B, 4>) -> FloatTensor<B> {
    planes.into_primitive().tensor()
}

fn random<B: Kernels>(shape: [usize; 4]) -> Tensor<B, 4> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Default::default())
}

/// Gigabytes a second (read and written) of the backend's own negation of an eighth of a gigabyte; emulated adapters have no
/// larger buffers.
fn copying_on<B: Kernels>() -> f64 {
    let values = Tensor::<B, 1>::random([1 << 25], Distribution::Uniform(-1.0, 1.0), &Default::default());
    let seconds = best_on::<B>(|| drop(black_box(-values.clone())));
    (8u64 << 25) as f64 / seconds / 1e9
}

/// Gigabytes a second (read and written) of a copy that no cache holds.
fn copying() -> f64 {
    let from = vec![1.0f32; 1 << 24];
    let mut to = vec![0.0f32; 1 << 24];
    let seconds = best(|| {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    });
    (8 << 24) as f64 / seconds / 1e9
}

/// The best product of two 1024² matrices so far, on all threads.
struct Ceiling {
    matrices: [Vec<f32>; 3],
    seconds: f64,
}

impl Ceiling {
    const SIDE: usize = 1024;

    fn new() -> Self {
        let matrix = || (0..Self::SIDE * Self::SIDE).map(|index| (index % 7) as f32 - 3.0).collect();
        Self { matrices: [matrix(), matrix(), matrix()], seconds: f64::INFINITY }
    }

    fn measure(&mut self) {
        let [to, a, b] = &mut self.matrices;
        let (side, row) = (Self::SIDE, Self::SIDE as isize);
        let threads = match rayon::current_num_threads() {
            1 => gemm::Parallelism::None,
            threads => gemm::Parallelism::Rayon(threads),
        };
        let seconds = best(|| {
            #[allow(unsafe_code, reason = "gemm takes pointers; all three are square matrices of this side")]
            unsafe {
                let (to, a, b) = (to.as_mut_ptr(), a.as_ptr(), b.as_ptr());
                gemm::gemm(
                    side, side, side, to, 1, row, false, a, 1, row, b, 1, row, 0.0, 1.0, false, false, false, threads,
                );
            }
        });
        self.seconds = self.seconds.min(seconds);
    }

    /// GFLOP/s.
    fn arithmetic(&self) -> f64 {
        2.0 * (Self::SIDE as f64).powi(3) / self.seconds / 1e9
    }
}
