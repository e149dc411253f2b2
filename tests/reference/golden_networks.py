#!/usr/bin/env python3
"""Golden values of PyTorch for the networks besides the paper's: other generators, discriminators, norms.

    golden_networks.py           writes tests/fixtures/golden/networks.json anew
    golden_networks.py --check   computes everything again and compares

Written from the official layer positions (https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix,
models/networks.py; the separable blocks from https://github.com/mit-han-lab/gan-compression). All in float64.
Weights, pictures and the vectors that results are projected on come from a hash, so that the file holds results
alone: of the output and of each parameter's gradient the norm and two projections.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

FILE = Path(__file__).resolve().parent.parent / "fixtures" / "golden" / "networks.json"
# No value in front of an activation lies nearer to its kink: see golden.py.
MARGIN = 3e-6


def mix(value):
    """One round of SplitMix64 (Steele et al. 2014)."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def uniform(key, shape):
    """Values in [-1, 1), exact in 32 bits."""
    with np.errstate(over="ignore"):
        values = mix(mix(np.uint64(key)) ^ np.arange(math.prod(shape), dtype=np.uint64)) >> np.uint64(40)
    return torch.from_numpy(values.astype(np.float64) / (1 << 23) - 1.0).reshape(shape)


def norm_layer(kind, channels, affine):
    if kind == "none":
        return nn.Identity()
    return nn.InstanceNorm2d(channels, affine=affine, track_running_stats=False)


class Separable(nn.Module):
    def __init__(self, channels, norm, affine, bias):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, groups=channels, bias=bias),
            norm_layer(norm, channels, affine),
            nn.Conv2d(channels, channels, 1, bias=bias),
        )

    def forward(self, x):
        return self.conv(x)


class Block(nn.Module):
    def __init__(self, channels, separable, norm, affine, bias):
        super().__init__()
        layer = lambda: (
            Separable(channels, norm, affine, bias) if separable else nn.Conv2d(channels, channels, 3, bias=bias)
        )
        parts = [nn.ReflectionPad2d(1), layer(), norm_layer(norm, channels, affine), nn.ReLU()]
        if separable:
            parts.append(nn.Dropout(0.0))
        parts += [nn.ReflectionPad2d(1), layer(), norm_layer(norm, channels, affine)]
        self.conv_block = nn.Sequential(*parts)

    def forward(self, x):
        return x + self.conv_block(x)


class Repeated(nn.Module):
    """Twice the size by repeating pixels, and a convolution in the transposed one's place."""

    def __init__(self, inputs, outputs, bias):
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, 3, bias=bias)
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x):
        x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        return nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), self.weight, self.bias)


class Resnet(nn.Module):
    def __init__(self, in_channels, out_channels, ngf, n_blocks, affine, style):
        super().__init__()
        norm, bias = style["norm"], style["norm"] == "instance"
        wrapped = lambda conv, channels: [conv, norm_layer(norm, channels, affine), nn.ReLU()]
        parts = [nn.ReflectionPad2d(3), *wrapped(nn.Conv2d(in_channels, ngf, 7, bias=bias), ngf)]
        for factor in (1, 2):
            conv = nn.Conv2d(factor * ngf, 2 * factor * ngf, 3, stride=2, padding=1, bias=bias)
            parts += wrapped(conv, 2 * factor * ngf)
        parts += [Block(4 * ngf, style["separable"], norm, affine, bias) for _ in range(n_blocks)]
        for factor in (4, 2):
            inputs, outputs = factor * ngf, factor * ngf // 2
            if style["upsample"] == "resize":
                conv = Repeated(inputs, outputs, bias)
            else:
                conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias)
            parts += wrapped(conv, outputs)
        parts += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, out_channels, 7)]
        self.skip = style.get("skip", False)
        self.model = nn.Sequential(*parts) if self.skip else nn.Sequential(*parts, nn.Tanh())
        self.bound = nn.Hardtanh()

    def forward(self, x):
        return self.bound(x + self.model(x)) if self.skip else self.model(x)


class Skip(nn.Module):
    """One level of a U-Net with all that lies inside of it."""

    def __init__(self, outer, inner, inside, norm, affine, inputs=None, is_outermost=False):
        super().__init__()
        self.is_outermost = is_outermost
        bias = norm == "instance"
        down = nn.Conv2d(outer if inputs is None else inputs, inner, 4, 2, 1, bias=bias)
        doubled = inner if inside is None else 2 * inner
        up = nn.ConvTranspose2d(doubled, outer, 4, 2, 1, bias=bias or is_outermost)
        if is_outermost:
            parts = [down, inside, nn.ReLU(), up, nn.Tanh()]
        elif inside is None:
            parts = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm_layer(norm, outer, affine)]
        else:
            middle = [down, norm_layer(norm, inner, affine), inside, nn.ReLU(), up, norm_layer(norm, outer, affine)]
            parts = [nn.LeakyReLU(0.2), *middle]
        self.model = nn.Sequential(*parts)

    def forward(self, x):
        return self.model(x) if self.is_outermost else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(self, in_channels, out_channels, ngf, halvings, norm, affine):
        super().__init__()
        block = Skip(8 * ngf, 8 * ngf, None, norm, affine)
        for _ in range(halvings - 5):
            block = Skip(8 * ngf, 8 * ngf, block, norm, affine)
        for factor in (4, 2, 1):
            block = Skip(factor * ngf, 2 * factor * ngf, block, norm, affine)
        self.model = Skip(out_channels, ngf, block, norm, affine, inputs=in_channels, is_outermost=True)

    def forward(self, x):
        return self.model(x)


class Patch(nn.Module):
    def __init__(self, in_channels, ndf, n_layers, style):
        super().__init__()
        norm, affine, pixel = style["norm"], style["affine"], style["pixel"]
        bias = norm == "instance"
        wrap = nn.utils.spectral_norm if style["spectral"] else lambda conv: conv
        kernel = lambda stride: dict(kernel_size=1) if pixel else dict(kernel_size=4, stride=stride, padding=1)
        width = lambda layer: ndf * min(2**layer, 8)
        parts = [wrap(nn.Conv2d(in_channels, ndf, **kernel(2))), nn.LeakyReLU(0.2)]
        for layer in range(1, n_layers + 1):
            conv = nn.Conv2d(width(layer - 1), width(layer), **kernel(2 if layer < n_layers else 1), bias=bias)
            parts += [wrap(conv), norm_layer(norm, width(layer), affine), nn.LeakyReLU(0.2)]
        parts.append(wrap(nn.Conv2d(width(n_layers), 1, **kernel(1), bias=bias or not pixel)))
        if pixel:
            self.net = nn.Sequential(*parts)
        else:
            self.model = nn.Sequential(*parts)

    def forward(self, x):
        return (self.net if hasattr(self, "net") else self.model)(x)


KINDS = {"resnet": Resnet, "unet": Unet, "patch": Patch}


def resnet(**changes):
    style = {"separable": False, "upsample": "transposed", "norm": "instance"}
    affine = changes.pop("affine", False)
    return {"resnet": dict(in_channels=3, out_channels=3, ngf=4, n_blocks=2, affine=affine, style={**style, **changes})}


def unet(**changes):
    shape = dict(in_channels=3, out_channels=3, ngf=2, halvings=6, norm="instance", affine=False)
    return {"unet": {**shape, **changes}}


def patch(n_layers=2, **changes):
    style = {"pixel": False, "norm": "instance", "affine": False, "spectral": False}
    return {"patch": dict(in_channels=3, ndf=4, n_layers=n_layers, style={**style, **changes})}


CASES = {
    "mobile": (resnet(separable=True), 16),
    "mobile_affine": (resnet(separable=True, affine=True), 16),
    "resize": (resnet(upsample="resize"), 16),
    "resnet_skip": (resnet(skip=True), 16),
    "resnet_without_norm": (resnet(norm="none"), 16),
    "unet": (unet(), 64),
    "unet_affine": (unet(affine=True, halvings=5), 32),
    "unet_without_norm": (unet(norm="none", halvings=5), 32),
    "pixel": (patch(1, pixel=True), 8),
    "pixel_without_norm": (patch(1, pixel=True, norm="none"), 8),
    "patch_affine": (patch(affine=True), 32),
    "patch_without_norm": (patch(norm="none"), 32),
    "patch_one_layer": (patch(1), 16),
    "patch_spectral": (patch(spectral=True), 32),
    "pixel_spectral": (patch(1, pixel=True, spectral=True), 8),
}

FULL = {
    "unet_256": unet(ngf=64, halvings=8),
    "unet_128": unet(ngf=64, halvings=7),
    "mobile_resnet_9blocks": {"resnet": {**resnet(separable=True)["resnet"], "ngf": 64, "n_blocks": 9}},
    "pixel": {"patch": {**patch(1, pixel=True)["patch"], "ndf": 64}},
}


def build(architecture):
    (kind, options), = architecture.items()
    return KINDS[kind](**options).double()


def official(network):
    """Every value in the order of this project: a weight, its bias, what its spectral norm knows."""
    state = network.state_dict()
    rank = {"weight": 0, "weight_orig": 0, "bias": 1, "weight_u": 2, "weight_v": 3}
    layers = {}
    for name, value in state.items():
        layer, _, part = name.rpartition(".")
        layers.setdefault(layer, []).append((rank[part], name, value))
    return [(name, value) for parts in layers.values() for _, name, value in sorted(parts, key=lambda part: part[0])]


@torch.no_grad()
def fill(network, seed):
    for number, (name, value) in enumerate(official(network)):
        random = uniform(seed + number, value.shape)
        if name.endswith(("weight_u", "weight_v")):
            value.copy_(random / random.norm())
        elif value.dim() == 1:
            value.copy_(1.0 + 0.3 * random if name.endswith("weight") else 0.1 * random)
        else:
            fan_in = value[0].numel()
            value.copy_(random * math.sqrt(3.0 / fan_in) * 1.2)


def told(value, key):
    value = value.detach()
    projections = [(value * uniform(key + index, value.shape)).sum().item() for index in (0, 1)]
    return {"norm": value.norm().item(), "projections": projections}


def compute(name):
    architecture, side = CASES[name]
    network = build(architecture)
    for seed in range(1000, 100000, 1000):
        fill(network, seed)
        network.eval()
        nearest = []
        hooks = [
            module.register_forward_pre_hook(lambda _, given: nearest.append(given[0].abs().min().item()))
            for module in network.modules()
            if isinstance(module, (nn.ReLU, nn.LeakyReLU))
        ] + [
            module.register_forward_pre_hook(lambda _, given: nearest.append((given[0].abs() - 1).abs().min().item()))
            for module in network.modules()
            if isinstance(module, nn.Hardtanh)
        ]
        picture = uniform(seed + 900, (2, 3, side, side))
        output = network(picture)
        for hook in hooks:
            hook.remove()
        if min(nearest) >= MARGIN:
            break
    network.zero_grad()
    (output * uniform(seed + 901, output.shape)).sum().backward()
    gradients = {}
    for number, (key, value) in enumerate(official(network)):
        parameter = dict(network.named_parameters()).get(key)
        if parameter is not None:
            gradients[key] = told(parameter.grad, seed + 10 * number)
    result = {
        "architecture": architecture,
        "side": side,
        "seed": seed,
        "shape": list(output.shape),
        "output": told(output, seed + 902),
        "gradients": gradients,
    }
    if name.endswith("spectral"):
        network.train()
        with torch.no_grad():
            network(picture)
        vectors = [(key, value) for key, value in official(network) if key.endswith(("weight_u", "weight_v"))]
        result["iterated"] = {key: told(value, seed + 903) for key, value in vectors}
    return result


def everything():
    shapes = {}
    for name, architecture in FULL.items():
        network = build(architecture)
        parameters = [[key, list(value.shape)] for key, value in official(network)]
        shapes[name] = {
            "architecture": architecture,
            "count": sum(parameter.numel() for parameter in network.parameters()),
            "parameters": parameters,
        }
    return {"cases": {name: compute(name) for name in CASES}, "full": shapes}


def differences(found, expected, path=""):
    if isinstance(expected, dict):
        if found.keys() != expected.keys():
            return [path]
        return [row for key in expected for row in differences(found[key], expected[key], f"{path}/{key}")]
    if isinstance(expected, list):
        if len(found) != len(expected):
            return [path]
        return [row for a, b in zip(found, expected) for row in differences(a, b, path)]
    if isinstance(expected, float):
        return [] if abs(found - expected) <= 1e-9 + 1e-7 * abs(expected) else [f"{path}: {found}, not {expected}"]
    return [] if found == expected else [path]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    torch.set_num_threads(1)
    values = json.loads(json.dumps(everything()))
    if not parser.parse_args().check:
        FILE.write_text(json.dumps(values, separators=(",", ":")) + "\n")
    elif rows := differences(values, json.loads(FILE.read_text())):
        sys.exit("The committed values are not those of this PyTorch:\n" + "\n".join(rows[:20]))
