"""Makes tests/fixtures/images: image files of every awkward kind, and what Pillow reads in them.

    python3 tests/reference/make_images.py        (needs Pillow and NumPy)

expected.json holds, for each file that can be read, its size and the pixels that count, as
[x, y, red, green, blue, alpha], with the tolerance in levels that the format calls for.
tests/images.rs checks the files against it, and names the error that each of the others must give.
"""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

OUT = Path(__file__).parents[1] / "fixtures" / "images"
expected = {}


def scene(width=48, height=32):
    """Four quadrants of unlike colours: any turn or flip shows."""
    picture = Image.new("RGB", (width, height), (230, 60, 40))
    picture.paste((40, 160, 70), (width // 2, 0, width, height // 2))
    picture.paste((50, 80, 200), (0, height // 2, width // 2, height))
    picture.paste((240, 220, 90), (width // 2, height // 2, width, height))
    return picture


def expect(name, tolerance=0, turned=False):
    """Records what Pillow sees: the middle of each quadrant, and the corners where nothing is lossy."""
    with Image.open(OUT / name) as file:
        picture = (ImageOps.exif_transpose(file) if turned else file).convert("RGBA")
    width, height = picture.size
    places = [(x, y) for x in (width // 4, 3 * width // 4) for y in (height // 4, 3 * height // 4)]
    if tolerance == 0:
        places += [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
    pixels = [[x, y, *picture.getpixel((x, y))] for x, y in places]
    expected[name] = {"size": [width, height], "tolerance": tolerance, "pixels": pixels}


def png(width, height, depth, colour, rows, chunks=()):
    """A PNG written by hand, for what Pillow cannot write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def readable():
    base = scene()
    for name, picture, options in [
        ("plain.png", base, {}),
        ("grey.png", base.convert("L"), {}),
        ("bilevel.png", base.convert("1", dither=Image.Dither.NONE), {}),
        ("palette.png", base.quantize(8), {}),
        ("plain.bmp", base, {}),
        ("deflate.tiff", base, {"compression": "tiff_adobe_deflate"}),
        ("lossless.webp", base, {"lossless": True, "exact": True}),
    ]:
        picture.save(OUT / name, **options)
        expect(name)

    alpha = base.copy()
    ramp = Image.fromarray(np.linspace(0, 255, 48).round().astype(np.uint8)[None].repeat(32, 0))
    alpha.putalpha(ramp)
    alpha.save(OUT / "alpha.png")
    expect("alpha.png")
    alpha.convert("LA").save(OUT / "grey-alpha.png")
    expect("grey-alpha.png")
    holed = base.quantize(8)
    holed.info["transparency"] = holed.getpixel((1, 1))
    holed.save(OUT / "palette-transparent.png", transparency=holed.getpixel((1, 1)))
    expect("palette-transparent.png")
    alpha.save(OUT / "lossy-alpha.webp", quality=95)
    expect("lossy-alpha.webp", tolerance=6)

    for name, picture, options in [
        ("baseline.jpg", base, {"subsampling": 0}),
        ("progressive.jpg", base, {"subsampling": 2, "progressive": True}),
        ("grey.jpg", base.convert("L"), {}),
        ("cmyk.jpg", base.convert("CMYK"), {}),
    ]:
        picture.save(OUT / name, quality=95, **options)
        expect(name, tolerance=4)

    # 16 bits a channel: levels between two 8-bit ones are rounded to the nearer.
    levels = [[(x * 257 + 60, y * 1028, 65535 - x * 100) for x in range(48)] for y in range(32)]
    rows = [b"".join(struct.pack(">3H", *pixel) for pixel in row) for row in levels]
    (OUT / "rgb16.png").write_bytes(png(48, 32, 16, 2, rows))
    eight = lambda level: (level * 255 + 32767) // 65535
    pixels = [[x, y, *map(eight, levels[y][x]), 255] for x, y in [(0, 0), (47, 0), (20, 31), (47, 31)]]
    expected["rgb16.png"] = {"size": [48, 32], "tolerance": 0, "pixels": pixels}
    rows = [b"".join(struct.pack(">H", pixel[0]) for pixel in row) for row in levels]
    (OUT / "grey16.png").write_bytes(png(48, 32, 16, 0, rows))
    pixels = [[x, y, *[eight(levels[y][x][0])] * 3, 255] for x, y in [(0, 0), (47, 0), (20, 31)]]
    expected["grey16.png"] = {"size": [48, 32], "tolerance": 0, "pixels": pixels}

    # Animations: the first frame counts.
    others = [Image.new("RGB", base.size, (0, 0, 0)), Image.new("RGB", base.size, (255, 255, 255))]
    base.save(OUT / "animated.gif", save_all=True, append_images=others, duration=100)
    expect("animated.gif")
    base.save(OUT / "animated.webp", save_all=True, append_images=others, duration=100, lossless=True)
    expect("animated.webp")


def orientations():
    """The same upright scene stored in each of the eight ways that EXIF knows."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for number, step in undo.items():
        stored = scene() if step is None else scene().transpose(step)
        exif = Image.Exif()
        exif[0x0112] = number
        for ending in ("jpg", "png", "webp") if number == 6 else ("jpg",):
            name = f"orientation-{number}.{ending}"
            stored.save(OUT / name, quality=95, exif=exif, **({"subsampling": 0} if ending == "jpg" else {}))
            expect(name, tolerance=6, turned=True)
            assert expected[name]["size"] == [48, 32]


def unreadable():
    whole = {name: (OUT / name).read_bytes() for name in ("baseline.jpg", "plain.png", "lossless.webp", "animated.gif")}
    jpg, png_file, webp = whole["baseline.jpg"], whole["plain.png"], whole["lossless.webp"]
    (OUT / "truncated.jpg").write_bytes(jpg[: len(jpg) - 40])
    (OUT / "truncated-header.jpg").write_bytes(jpg[:30])
    (OUT / "truncated.png").write_bytes(png_file[: len(png_file) // 2])
    (OUT / "truncated.webp").write_bytes(webp[: len(webp) // 2])
    (OUT / "truncated.gif").write_bytes(whole["animated.gif"][:60])
    damaged = bytearray(png_file)
    damaged[len(damaged) // 2] ^= 0x55
    (OUT / "damaged.png").write_bytes(damaged)
    row = b"\0" * 300
    (OUT / "bomb-sides.png").write_bytes(png(60000, 60000, 8, 2, [row]))
    (OUT / "bomb-area.png").write_bytes(png(16384, 16384, 8, 2, [row]))
    (OUT / "zero.png").write_bytes(png(0, 8, 8, 2, [row]))
    (OUT / "document.jpg").write_bytes(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
    (OUT / "empty.png").write_bytes(b"")
    (OUT / "text.png").write_text("Not a picture, whatever its name says.\n")
    (OUT / "vector.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\n')
    (OUT / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)


def resized():
    """Pillow's BICUBIC, which the official code resizes with, on noise: nothing is harder."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (41, 53, 4), dtype=np.uint8)
    for name, picture in [("noise", Image.fromarray(noise[..., :3])), ("noise-alpha", Image.fromarray(noise))]:
        picture.save(OUT / f"{name}.png", optimize=True)
        for width, height in [(20, 13), (53, 90), (64, 64)]:
            picture.resize((width, height), Image.Resampling.BICUBIC).save(OUT / f"{name}-{width}x{height}.png")


OUT.mkdir(parents=True, exist_ok=True)
readable()
orientations()
unreadable()
resized()
lines = [f"{json.dumps(name)}: {json.dumps(what)}" for name, what in sorted(expected.items())]
(OUT / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
