"""Makes tests/fixtures/metrics.json: PSNR, SSIM and sliced Wasserstein distance of the held-out emoji,
flat against 3D, by scikit-image and NumPy. The tests in src/evaluate/ check ours against it.

    python3 tests/reference/make_metrics.py        (needs scikit-image and Pillow)
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

ROOT = Path(__file__).parents[2]

archive = zipfile.ZipFile(ROOT / "static/data/emoji.zip")
read = lambda name: np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
stems = sorted(Path(name).stem for name in archive.namelist() if name.startswith("testA/"))
flat = np.stack([read(f"testA/{stem}.webp") for stem in stems])
solid = np.stack([read(f"testB/{stem}.webp") for stem in stems])

psnr = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(flat, solid)]
ssim = [
    structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    for a, b in zip(flat, solid)
]


def patches(pictures):
    """Every 7x7x3 patch at every second place, in [-1, 1]."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (7, 7), axis=(1, 2))[:, ::2, ::2]
    return (windows.reshape(-1, 147) / 127.5 - 1).astype(np.float32)


random = np.random.default_rng(0)
directions = random.normal(size=(147, 256)).astype(np.float32)
directions /= np.linalg.norm(directions, axis=0)
one, other = patches(flat), patches(solid)
distance = np.mean([np.abs(np.sort(one @ d) - np.sort(other @ d)).mean() for d in directions.T])

metrics = {
    "pairs": {stem: [round(p, 6), round(s, 8)] for stem, p, s in list(zip(stems, psnr, ssim))[::17]},
    "mean_psnr": round(float(np.mean(psnr)), 6),
    "mean_ssim": round(float(np.mean(ssim)), 8),
    "sliced_wasserstein": round(float(distance), 5),
}
(ROOT / "tests/fixtures/metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
