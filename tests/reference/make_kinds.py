"""Makes tests/fixtures/kinds: one small picture in every kind of TIFF, colour profile and cut-off file, each NAME beside
NAME.want.png, what is to be seen.

    python3 tests/reference/make_kinds.py        (needs Pillow with LittleCMS, NumPy, tifffile and imagecodecs)

Wanted values are the picture that went in where a kind is lossless, Pillow's otherwise; colours are LittleCMS's, or
formulas for PNG's chunks, with black point compensation as LittleCMS does to its own sRGB. Files without a wanted
picture are refused; tests/kinds.rs says how. The animations there are not made here.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageCms

OUT = Path(__file__).parents[1] / "fixtures" / "kinds"
W, H = 23, 17
y, x = np.mgrid[0:H, 0:W]
smooth = np.stack([x * 255 // (W - 1), y * 255 // (H - 1), (x + y) * 255 // (W + H - 2)], -1).astype(np.uint8)
grey, alpha = smooth[..., 0], (255 - y * 9).astype(np.uint8)
wide = lambda a: a.astype(np.uint16) * 257
picture, grey_picture = Image.fromarray(smooth), Image.fromarray(grey)


def want(name, seen):
    seen = seen if isinstance(seen, Image.Image) else Image.fromarray(seen)
    seen.convert("RGBA").save(OUT / f"{name}.want.png", optimize=True)


def tiff(name, values, seen=None, **options):
    tifffile.imwrite(OUT / name, values, metadata=None, **options)
    if seen is not None:
        want(name, seen)


def tiffs():
    black = {"photometric": "minisblack"}
    with_alpha = np.dstack([grey, grey, grey, alpha])
    tiff("white-is-zero.tif", 255 - grey, grey, photometric="miniswhite")
    tiff("grey-alpha.tif", np.stack([grey, alpha], -1), with_alpha, extrasamples=["unassalpha"], **black)
    tiff("grey-alpha-16.tif", wide(np.stack([grey, alpha], -1)), with_alpha, extrasamples=["unassalpha"], **black)
    tiff("grey-32.tif", grey.astype(np.uint32) * 0x01010101, grey, **black)
    tiff("float-32.tif", (grey / 255).astype(np.float32), grey, **black)
    tiff("float-levels.tif", grey.astype(np.float32), grey, **black)
    tiff("float-64.tif", grey / 255, grey, **black)
    tiff("signed.tif", grey.astype(np.int16) * 128, **black)
    rgb = {"photometric": "rgb"}
    tiff("float-16.tif", (smooth / 255).astype(np.float16), smooth, **rgb)
    tiff("float-predicted.tif", (smooth / 255).astype(np.float32), smooth, compression="deflate", predictor=True, **rgb)
    for codec in ["lzw", "deflate", "packbits"]:
        tiff(f"{codec}.tif", smooth, smooth, compression=codec, **rgb)
    for codec in ["zstd", "webp", "lzma"]:
        tiff(f"{codec}.tif", smooth, compression=codec, **rgb)
    tiff("predicted.tif", smooth, smooth, compression="lzw", predictor=True, **rgb)
    tiff("predicted-16.tif", wide(smooth), smooth, compression="lzw", predictor=True, byteorder=">", **rgb)
    tiff("planar.tif", smooth.transpose(2, 0, 1), smooth, planarconfig="separate", **rgb)
    tiff("tiles.tif", smooth, smooth, tile=(16, 16), compression="deflate", **rgb)
    tiff("big.tif", smooth, smooth, bigtiff=True, **rgb)
    tiff("big-be.tif", smooth, smooth, bigtiff=True, byteorder=">", compression="lzw", **rgb)
    tiff("straight.tif", np.dstack([smooth, alpha]), np.dstack([smooth, alpha]), extrasamples=["unassalpha"], **rgb)
    laid = np.round(smooth * (alpha[..., None] / 255)).astype(np.uint8)
    divided = np.clip(np.round(laid / alpha[..., None] * 255), 0, 255).astype(np.uint8)
    laid, divided = np.dstack([laid, alpha]), np.dstack([divided, alpha])
    tiff("premultiplied.tif", laid, divided, extrasamples=["assocalpha"], **rgb)
    tiff("premultiplied-16.tif", wide(laid), divided, extrasamples=["assocalpha"], **rgb)
    tiff("not-alpha.tif", np.dstack([smooth, alpha]), smooth, extrasamples=["unspecified"], **rgb)
    colours = np.array([(i, 255 - i, i // 2) for i in range(256)], np.uint16).T * 257
    seen = np.stack([colours[k][grey] // 257 for k in range(3)], -1).astype(np.uint8)
    tiff("palette.tif", grey, seen, photometric="palette", colormap=colours, compression="lzw")
    tiff("ycbcr-jpeg.tif", smooth, compression="jpeg", photometric="ycbcr", subsampling=(2, 2))
    want("ycbcr-jpeg.tif", Image.open(OUT / "ycbcr-jpeg.tif"))
    few = picture.quantize(16)
    few.save(OUT / "palette-4.tif")
    want("palette-4.tif", few)
    bits = grey_picture.convert("1")
    for name, options in {
        "group3": {"compression": "group3"},
        "group3-2d": {"compression": "group3", "tiffinfo": {292: 1}},
        "group4": {"compression": "group4"},
        "runs": {"compression": "tiff_ccitt"},
        "fill-order": {"compression": "group4", "tiffinfo": {266: 2}},
    }.items():
        bits.save(OUT / f"{name}.tif", **options)
        want(f"{name}.tif", bits)
    for codec in ["tiff_lzw", "tiff_adobe_deflate"]:
        name = f"fill-order-{codec.split('_')[-1]}.tif"
        picture.save(OUT / name, compression=codec, tiffinfo={266: 2})
        want(name, picture)
    picture.convert("CMYK").save(OUT / "cmyk.tif")
    want("cmyk.tif", picture.convert("CMYK"))
    picture.convert("LAB").save(OUT / "lab.tif")
    picture.save(OUT / "turned.tif", tiffinfo={274: 6})
    want("turned.tif", picture.transpose(Image.ROTATE_270))


def fixed(*values):
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(values):
    if isinstance(values, float):
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(values * 256))
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *(round(v * 65535) for v in values))


def parametric(kind, *values):
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*values)


def name_tag(name, version):
    if version == 2:
        return b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + b"\0" + b"\0" * 78
    text = name.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(text), 28) + text


def profile(space, kind, connection, version, name, tags):
    tags = {b"desc": name_tag(name, version), b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249), **tags}
    at, directory, body = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        directory += tag + struct.pack(">II", at + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"none", version << 24, kind, space, connection) + b"\0" * 12
    header += b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249) + b"\0" * 48
    return header + struct.pack(">I", len(tags)) + directory + body


ADOBE = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
P3 = [(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)]
PHOTO = [(0.79767, 0.28804, 0), (0.13519, 0.71188, 0), (0.03134, 0.00009, 0.82491)]


def matrix_profile(columns, toned, version, name):
    tags = {channel + b"XYZ": b"XYZ \0\0\0\0" + fixed(*column) for channel, column in zip([b"r", b"g", b"b"], columns)}
    tags |= {channel + b"TRC": toned for channel in [b"r", b"g", b"b"]}
    return profile(b"RGB ", b"mntr", b"XYZ ", version, name, tags)


def ink_profile(kind, version, points=5):
    """A printer that never was, as a table of each kind."""
    axis = np.linspace(0, 1, points)
    c, m, ye, k = np.meshgrid(axis, axis, axis, axis, indexing="ij")
    r, g, b = [(1 - a * ink) * (1 - 0.95 * k) for a, ink in [(0.9, c), (0.85, m), (0.9, ye)]]
    lab = np.stack([100 * (0.3 * r + 0.6 * g + 0.1 * b) ** 0.8, 60 * (r - g), 50 * (g - b)], -1)
    start = bytes([4, 3, points, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    if kind == "mft2":
        table = np.stack([lab[..., 0] * 652.8, (lab[..., 1] + 128) * 256, (lab[..., 2] + 128) * 256], -1)
        line = struct.pack(">2H", 0, 65535)
        tag = b"mft2\0\0\0\0" + start + struct.pack(">HH", 2, 2) + line * 4 + table.round().astype(">u2").tobytes() + line * 3
    elif kind == "mft1":
        table = np.stack([lab[..., 0] * 2.55, lab[..., 1] + 128, lab[..., 2] + 128], -1)
        line = bytes(range(256))
        tag = b"mft1\0\0\0\0" + start + line * 4 + table.round().astype("u1").tobytes() + line * 3
    else:
        table = np.stack([lab[..., 0] / 100, (lab[..., 1] + 128) / 255, (lab[..., 2] + 128) / 255], -1) * 65535
        line = b"curv" + b"\0" * 8
        body = bytes([points] * 4) + b"\0" * 12 + b"\2\0\0\0" + table.round().astype(">u2").tobytes()
        body += b"\0" * (-len(body) % 4)
        tag = b"mAB \0\0\0\0" + bytes([4, 3, 0, 0]) + struct.pack(">5I", 32, 0, 0, 68, 68 + len(body))
        tag += line * 3 + body + line * 4
    return profile(b"CMYK", b"prtr", b"Lab ", version, "A press", {b"A2B0": tag})


def with_profile(name, image, icc, **options):
    image.save(OUT / name, icc_profile=icc, **options)
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    want(name, ImageCms.profileToProfile(Image.open(OUT / name), source, target, outputMode="RGB"))


def profiles():
    srgb = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    p3 = matrix_profile(P3, srgb, 4, "Display P3")
    for name in ["p3.png", "p3.webp", "p3.tif"]:
        with_profile(name, picture, p3, **({"lossless": True} if name.endswith("webp") else {}))
    with_profile("p3.jpg", picture, p3, quality=98, subsampling=0)
    with_profile("adobe.png", picture, matrix_profile(ADOBE, curve(563 / 256), 2, "Adobe RGB (1998)"))
    toned = parametric(4, 1.8, 1.0, 0.0, 1 / 16, 0.03125, 0.0, 0.0)
    with_profile("prophoto.png", picture, matrix_profile(PHOTO, toned, 4, "ProPhoto RGB"))
    with_profile("sampled.png", picture, matrix_profile(P3, curve([(k / 63) ** 2.2 for k in range(64)]), 2, "Sampled"))
    dots = profile(b"GRAY", b"mntr", b"XYZ ", 2, "Grey gamma 1.8", {b"kTRC": curve(1.8)})
    with_profile("grey.png", grey_picture, dots)
    with_profile("grey.tif", grey_picture, dots)
    lightness = curve([k / 255 for k in range(256)])
    with_profile("lightness.png", grey_picture, profile(b"GRAY", b"mntr", b"Lab ", 2, "Lightness", {b"kTRC": lightness}))
    inks = picture.convert("CMYK")
    for kind, version in [("mft1", 2), ("mft2", 2), ("mft2", 4), ("mAB", 4)]:
        with_profile(f"{kind}-{version}.tif", inks, ink_profile(kind, version))
    with_profile("inks.jpg", inks, ink_profile("mft2", 2), quality=98)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bytes_of(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def chunks():
    def png(name, seen, *extra, image=picture):
        plain = bytes_of(image, format="png")
        (OUT / name).write_bytes(plain[:33] + b"".join(chunk(*one) for one in extra) + plain[33:])
        want(name, seen)

    encode = lambda v: np.where(v <= 0.0031308, 12.92 * v, 1.055 * np.maximum(v, 1e-9) ** (1 / 2.4) - 0.055)
    decode = lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    level = lambda linear: np.round(255 * encode(np.clip(linear, 0, 1))).astype(np.uint8)
    gamma = lambda value: (b"gAMA", struct.pack(">I", value))
    to_srgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]).T
    adobe = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]).T
    bt2020 = np.array([[0.636958, 0.144617, 0.168881], [0.2627, 0.677998, 0.059302], [0, 0.028073, 1.060985]]).T
    png("cicp-p3.png", Image.open(OUT / "p3.png.want.png"), (b"cICP", bytes([12, 13, 0, 1])))
    png("cicp-srgb.png", smooth, (b"cICP", bytes([1, 13, 0, 1])), gamma(100000))
    png("cicp-2020.png", level(smooth / 255 @ bt2020 @ to_srgb), (b"cICP", bytes([9, 8, 0, 1])))
    png("gamma-1.png", level(smooth / 255), gamma(100000))
    with_alpha = Image.fromarray(np.dstack([grey, alpha]), "LA")
    png("gamma-grey.png", level(grey / 255), gamma(100000), image=grey_picture)
    png("gamma-grey-alpha.png", np.dstack([level(grey / 255)] * 3 + [alpha]), gamma(100000), image=with_alpha)
    png("gamma-18.png", level((smooth / 255) ** 1.8), gamma(55556))
    png("gamma-22.png", smooth, gamma(45455))
    png("gamma-srgb.png", smooth, gamma(100000), (b"sRGB", b"\0"))
    places = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    png("chromaticities.png", level(decode(smooth / 255) @ adobe @ to_srgb), gamma(45455), (b"cHRM", places))


def cut():
    """Files without their last bytes, in which all pixels are, and others in which they are not."""
    for name, options, lost in [
        ("end-baseline.jpg", {"quality": 90}, [2, 1, 30]),
        ("end-progressive.jpg", {"quality": 90, "progressive": True}, [2, 40]),
        ("end.png", {}, [12, 60]),
        ("end.gif", {}, [1, 2, 30]),
        ("end.webp", {"lossless": True}, [1, 40]),
    ]:
        whole = bytes_of(picture, format={"jpg": "jpeg"}.get(name[-3:], name.split(".")[-1]), **options)
        seen = Image.open(io.BytesIO(whole)).convert("RGBA")
        for count in lost:
            stem, ending = name.rsplit(".", 1)
            one = f"{stem}-{count}.{ending}"
            (OUT / one).write_bytes(whole[:-count])
            if count <= 12:
                want(one, seen)


OUT.mkdir(parents=True, exist_ok=True)
tiffs()
profiles()
chunks()
cut()
