#!/usr/bin/env python3
"""Writes tests/fixtures/weights/kinds/: small generators of other people's codes, with what PyTorch makes of an input,
and the files of training scripts with Python objects beside the weights.

    make_generators.py
"""

import argparse
import collections
import datetime
import pathlib
import sys
import types
import warnings

import numpy
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from networks import Generator, Residual, norm

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures/weights/kinds"
NGF, BLOCKS = 2, 1


class Blur(nn.Module):
    """CUT's Downsample and Upsample: a binomial filter, of which every second pixel is kept, or its adjoint."""

    def __init__(self, channels, up):
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0] if up else [1.0, 2.0, 1.0])
        filt = torch.outer(row, row) / row.sum() ** 2 * (4 if up else 1)
        self.up, self.channels = up, channels
        self.register_buffer("filt", filt[None, None].repeat(channels, 1, 1, 1))

    def forward(self, x):
        if self.up:
            wide = functional.pad(x, [1] * 4, mode="replicate")
            wide = functional.conv_transpose2d(wide, self.filt, stride=2, padding=2, groups=self.channels)
            return wide[:, :, 1:-1, 1:-1]
        return functional.conv2d(functional.pad(x, [1] * 4, mode="reflect"), self.filt, stride=2, groups=self.channels)


def sequential(blur_down, up, inputs=3, outputs=3):
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, NGF, 7), norm(NGF), nn.ReLU()]
    for width in (NGF, 2 * NGF):
        stride = 1 if blur_down else 2
        layers += [nn.Conv2d(width, 2 * width, 3, stride, 1), norm(2 * width), nn.ReLU()]
        layers += [Blur(2 * width, False)] if blur_down else []
    layers += [Residual(4 * NGF, False) for _ in range(BLOCKS)]
    for width in (2 * NGF, NGF):
        layers += {
            "transposed": lambda: [nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1)],
            "nearest": lambda: [nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, 1, 1)],
            "bilinear": lambda: [
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.ReflectionPad2d(1),
                nn.Conv2d(2 * width, width, 3),
            ],
            "blur": lambda: [Blur(2 * width, True), nn.Conv2d(2 * width, width, 3, 1, 1)],
        }[up]()
        layers += [norm(width), nn.ReLU()]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(NGF, outputs, 7), nn.Tanh()]
    network = nn.Module()
    network.model = nn.Sequential(*layers)
    network.forward = network.model.forward
    return network


class Tutorial(nn.Module):
    """The generator of Aladdin Persson's tutorial, whose convolutions pad by reflection themselves."""

    def __init__(self):
        super().__init__()
        mirrored = lambda *shape, **more: nn.Conv2d(*shape, padding_mode="reflect", **more)

        def block(conv, width, active=True):
            holder = nn.Module()
            holder.conv = nn.Sequential(conv, norm(width), nn.ReLU() if active else nn.Identity())
            holder.forward = holder.conv.forward
            return holder

        self.initial = nn.Sequential(mirrored(3, NGF, kernel_size=7, padding=3), norm(NGF), nn.ReLU())
        down = lambda width: block(mirrored(width, 2 * width, kernel_size=3, stride=2, padding=1), 2 * width)
        self.down_blocks = nn.ModuleList([down(NGF), down(2 * NGF)])
        wide = 4 * NGF
        half = lambda active: block(mirrored(wide, wide, kernel_size=3, padding=1), wide, active)
        self.res_blocks = nn.Sequential()
        for index in range(BLOCKS):
            residual = nn.Module()
            residual.block = nn.Sequential(half(True), half(False))
            self.res_blocks.add_module(str(index), residual)
        up = lambda width: block(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), width)
        self.up_blocks = nn.ModuleList([up(2 * NGF), up(NGF)])
        self.last = mirrored(NGF, 3, kernel_size=7, padding=3)

    def forward(self, x):
        x = self.initial(x)
        for layer in self.down_blocks:
            x = layer(x)
        for residual in self.res_blocks:
            x = x + residual.block(x)
        for layer in self.up_blocks:
            x = layer(x)
        return torch.tanh(self.last(x))


def normed(wrap):
    network = Generator(ngf=NGF, n_blocks=BLOCKS)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            wrap(module)
    network.train()
    with torch.no_grad():
        for _ in range(5):
            network(torch.randn(1, 3, 16, 16))
    for name, parameter in network.named_parameters():
        if name.endswith(("weight_g", "original0")):
            parameter.data.mul_(1.5)
    return network


class Settings(dict):
    """As Lightning's AttributeDict: a dictionary of a class of its own."""


def main():
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    save = lambda name, contents, **more: torch.save(contents, FOLDER / name, **more)
    networks = {
        "blurred": sequential(True, "blur"),
        "blurred_down": sequential(True, "transposed"),
        "blurred_up": sequential(False, "blur"),
        "nearest": sequential(False, "nearest"),
        "bilinear": sequential(False, "bilinear"),
        "grey": sequential(False, "transposed", 1, 1),
        "alpha": sequential(False, "transposed", 4, 4),
        "six": sequential(False, "transposed", 6, 3),
        "tutorial": Tutorial(),
        "spectral_old": normed(spectral_norm),
        "spectral_new": normed(parametrizations.spectral_norm),
        "weight_old": normed(weight_norm),
    }
    expected = {}
    for name, network in networks.items():
        save(f"{name}.pth", network.state_dict())
        if name == "weight_old":
            # The names of torch.nn.utils.parametrizations.weight_norm, which came with PyTorch 2.1.
            new = lambda key: key.replace("weight_g", "parametrizations.weight.original0").replace(
                "weight_v", "parametrizations.weight.original1"
            )
            save("weight_new.pth", collections.OrderedDict((new(k), v) for k, v in network.state_dict().items()))
        shape = (1, {"grey": 1, "alpha": 4, "six": 6}.get(name, 3), 16, 24)
        noise = torch.linspace(0, 37, shape[1] * shape[2] * shape[3]).sin().reshape(shape)
        network.eval()
        with torch.no_grad():
            expected[f"{name}.input"], expected[f"{name}.output"] = noise, network(noise)
    state = networks["nearest"].state_dict()
    block = collections.OrderedDict((name.replace("conv_block", "block"), value) for name, value in state.items())
    save("nearest_block.pth", block)
    save_file({name: value.contiguous() for name, value in expected.items()}, FOLDER / "expected.safetensors")

    plain = networks["grey"].state_dict()
    objects = {
        "args": argparse.Namespace(lr=2e-4, root=pathlib.PurePosixPath("data")),
        "best": numpy.float64(0.25),
        "history": collections.defaultdict(list, losses=[1.0, 2.0]),
        "array": numpy.arange(3),
        "when": datetime.datetime(2024, 5, 6),
        "phase": 1 + 2j,
        "settings": Settings(lr=1),
        "kind": torch.float32,
        "seen": {1, 2},
        "model": plain,
    }
    Settings.__module__, Settings.__qualname__ = "pytorch_lightning.utilities.parsing", "Settings"
    module = types.ModuleType("pytorch_lightning.utilities.parsing")
    module.Settings = Settings
    for name in ("pytorch_lightning", "pytorch_lightning.utilities"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[module.__name__] = module
    save("objects.pth", objects)
    save("objects_legacy.pth", objects, _use_new_zipfile_serialization=False)
    save("objects_protocol4.pth", objects, pickle_protocol=4)
    save("only_objects.pth", {"args": objects["args"]})
    save("complex.pth", {key: value.to(torch.complex64) for key, value in plain.items()})
    counted = dict(plain, global_step=torch.tensor(5), mask=torch.ones(2, dtype=torch.bool))
    save_file(counted, FOLDER / "int_buffers.safetensors")
    save_file({key: value.double() for key, value in plain.items()}, FOLDER / "f64.safetensors")
    save_file({key: value.to(torch.int16) for key, value in plain.items()}, FOLDER / "int16.safetensors")
    save_file({key: value.contiguous() for key, value in plain.items()}, FOLDER / "plain.safetensors")


if __name__ == "__main__":
    main()
