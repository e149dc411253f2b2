"""Makes tests/fixtures/augment.json: a small picture turned by SciPy, mirrored beyond its borders, and recoloured by
Pillow. The tests in src/image/augment.rs check ours against it.

    python3 tests/reference/make_augment.py        (needs SciPy and Pillow)
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from scipy.ndimage import map_coordinates

WIDTH, HEIGHT = 24, 17
rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
picture = np.stack([columns * 10, rows * 14, (columns * 37 + rows * 59) % 256], axis=2)
picture[4:9, 3:12] = [250, 20, 90]
picture = picture.astype(np.uint8)


def turned(degrees):
    """Anticlockwise about the middle; scipy's `reflect` repeats the outermost pixels."""
    angle = np.deg2rad(degrees)
    right, down = columns - (WIDTH - 1) / 2, rows - (HEIGHT - 1) / 2
    x = (WIDTH - 1) / 2 + np.cos(angle) * right - np.sin(angle) * down
    y = (HEIGHT - 1) / 2 + np.sin(angle) * right + np.cos(angle) * down
    planes = [map_coordinates(picture[..., c].astype(np.float64), [y, x], order=1, mode="reflect") for c in range(3)]
    return np.round(np.stack(planes, axis=2)).astype(np.uint8)


def recoloured(brightness, contrast, saturation):
    image = ImageEnhance.Brightness(Image.fromarray(picture)).enhance(brightness)
    image = ImageEnhance.Contrast(image).enhance(contrast)
    return np.asarray(ImageEnhance.Color(image).enhance(saturation))


golden = {
    "width": WIDTH,
    "height": HEIGHT,
    "picture": picture.ravel().tolist(),
    "turned": [{"degrees": d, "pixels": turned(d).ravel().tolist()} for d in (5.0, -12.5, 90.0, 137.0, -180.0)],
    "recoloured": [
        {"factors": f, "pixels": recoloured(*f).ravel().tolist()}
        for f in ((1.3, 1, 1), (0.6, 1, 1), (1, 1.4, 1), (1, 0.5, 1), (1, 1, 1.5), (1, 1, 0), (0.8, 1.2, 0.7))
    ],
}
path = Path(__file__).parents[1] / "fixtures/augment.json"
path.write_text(json.dumps(golden) + "\n")
