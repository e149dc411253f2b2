"""The networks of the CycleGAN paper in PyTorch, with the official layer positions.

Written from the paper's appendix 7.2 and the layer numbers of the official `state_dict`
(https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix): `load_state_dict(strict=True)` of the
official code takes what these produce, and the other way round.
"""

import re

from torch import nn

import golden_cut
import golden_networks


def norm(channels, affine=False):
    return nn.InstanceNorm2d(channels, eps=1e-5, affine=affine, track_running_stats=False)


class Residual(nn.Module):
    def __init__(self, channels, affine):
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels, affine)]
        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x):
        return x + self.conv_block(x)


class Generator(nn.Module):
    def __init__(self, in_channels=3, out_channels=3, ngf=64, n_blocks=9, affine=False):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, ngf, 7), norm(ngf, affine), nn.ReLU()]
        for width in (ngf, 2 * ngf):
            down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
            layers += [down, norm(2 * width, affine), nn.ReLU()]
        layers += [Residual(4 * ngf, affine) for _ in range(n_blocks)]
        for width in (2 * ngf, ngf):
            up = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)
            layers += [up, norm(width, affine), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class Discriminator(nn.Module):
    def __init__(self, in_channels=3, ndf=64, n_layers=3):
        super().__init__()
        widths = [ndf * min(2**layer, 8) for layer in range(n_layers + 1)]
        layers = [nn.Conv2d(in_channels, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer in range(1, n_layers + 1):
            stride = 1 if layer == n_layers else 2
            conv = nn.Conv2d(widths[layer - 1], widths[layer], 4, stride=stride, padding=1)
            layers += [conv, norm(widths[layer]), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(widths[-1], 1, 4, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


def network_for(state):
    """An untrained network of the kind and size that the tensors of `state` are of."""
    if "model.model.0.weight" in state:
        ngf, in_channels = state["model.model.0.weight"].shape[:2]
        down = re.compile(r"model\.model\.1\.model\.(3\.model\.)*1\.weight")
        halvings = 1 + sum(down.fullmatch(name) is not None for name in state)
        out_channels = state["model.model.3.weight"].shape[1]
        norm_kind = "instance" if "model.model.0.bias" in state else "none"
        affine = "model.model.1.model.2.weight" in state
        return golden_networks.Unet(in_channels, out_channels, ngf, halvings, norm_kind, affine)
    if "model.1.weight" in state and any(name.endswith(".filt") for name in state):
        ngf, in_channels = state["model.1.weight"].shape[:2]
        blocks = {found[1] for found in (re.match(r"model\.(\d+)\.conv_block\.", name) for name in state) if found}
        down = "model.7.filt" in state
        up = f"model.{10 + 2 * down + len(blocks)}.filt" in state
        out_channels = state[max(state, key=lambda name: int(name.split(".")[1]))].shape[0]
        return golden_cut.Generator(in_channels, out_channels, ngf, len(blocks), down, up, "model.2.weight" in state)
    if "model.1.weight" in state:
        ngf, in_channels = state["model.1.weight"].shape[:2]
        blocks = {found[1] for found in (re.match(r"model\.(\d+)\.conv_block\.", name) for name in state) if found}
        out_channels = state[f"model.{17 + len(blocks)}.weight"].shape[0]
        shape = (in_channels, out_channels, ngf, len(blocks), "model.2.weight" in state)
        up = state[f"model.{10 + len(blocks)}.weight"].shape
        style = {
            "separable": "model.10.conv_block.1.conv.0.weight" in state,
            "upsample": "resize" if up[0] < up[1] else "transposed",
            "norm": "instance" if "model.1.bias" in state else "none",
        }
        if style == {"separable": False, "upsample": "transposed", "norm": "instance"}:
            return Generator(*shape)
        return golden_networks.Resnet(*shape, style)
    ndf, in_channels = state["model.0.weight"].shape[:2]
    if "model.2.filt" in state:
        layers = sum(name.endswith(".weight") for name in state if state[name].dim() == 4) - 2
        return golden_cut.Discriminator(in_channels, ndf, layers, affine="model.4.weight" in state)
    convolutions = sum(name.endswith(".weight") for name in state)
    return Discriminator(in_channels, ndf, convolutions - 2)


def biases_before_norm(network):
    """Names of the biases in front of an instance norm: it takes the mean away, so they change
    nothing and their true gradient is zero. Adam turns the rounding noise of that zero into full
    steps, so no two implementations agree on them after a step."""
    names = []
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                has_bias = isinstance(module[index], (nn.Conv2d, nn.ConvTranspose2d))
                if has_bias and isinstance(module[index + 1], nn.InstanceNorm2d):
                    names.append(f"{prefix}.{index}.bias")
    return names
