#!/usr/bin/env python3
"""Golden values of PyTorch for one-sided trainings: CUT and FastCUT.

    golden_cut.py           writes tests/fixtures/golden/cut.json anew
    golden_cut.py --check   computes everything again and compares

Written from the paper (Park et al. 2020, https://arxiv.org/abs/2007.15651) and the positions, options and order of its
code (https://github.com/taesungp/contrastive-unpaired-translation). All in float64. Weights and pictures come from a
hash, as in golden_networks.py; the places of the patches and which steps are mirrored are those that src/random.rs
draws, from cut_places.json, and tests/backends/golden/cut.rs asserts that they are.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from golden_networks import Block, differences, norm_layer, told, uniform

GOLDEN = Path(__file__).resolve().parent.parent / "fixtures" / "golden"
FILE = GOLDEN / "cut.json"
PLACES = GOLDEN / "cut_places.json"
LAYERS = (0, 4, 8, 12, 16)
STEPS = 5
SIDE = 32
NGF = NDF = 4
WIDTH = 16
TEMPERATURE = 0.07
RATE = 2e-4

CASES = {
    "cut": dict(blurred=True, n_blocks=5, batch=1, lambda_nce=1.0, nce_idt=True, flip=False, whole_batch=False),
    "fastcut": dict(blurred=True, n_blocks=5, batch=1, lambda_nce=10.0, nce_idt=False, flip=True, whole_batch=False),
    # Without antialiasing, and with two pictures a step: negatives from each alone, and from both.
    "strided": dict(blurred=False, n_blocks=7, batch=2, lambda_nce=1.0, nce_idt=True, flip=True, whole_batch=False),
    "whole_batch": dict(blurred=False, n_blocks=7, batch=2, lambda_nce=1.0, nce_idt=False, flip=False, whole_batch=True),
}


def binomial(row, channels):
    row = torch.tensor(row)
    filt = torch.outer(row, row)
    return (filt / filt.sum())[None, None].repeat(channels, 1, 1, 1)


class BlurDown(nn.Module):
    """Every second pixel of a blurred map."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("filt", binomial([1.0, 2.0, 1.0], channels))

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filt, stride=2, groups=x.shape[1])


class BlurUp(nn.Module):
    """Pixels put apart and blurred, with the outermost ones repeated around the map."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("filt", binomial([1.0, 3.0, 3.0, 1.0], channels) * 4)

    def forward(self, x):
        wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(wide, self.filt, stride=2, padding=2, groups=x.shape[1])[:, :, 1:-1, 1:-1]


class Generator(nn.Module):
    def __init__(self, in_channels, out_channels, ngf, n_blocks, down=True, up=True, affine=False):
        super().__init__()
        wrapped = lambda conv, channels: [conv, norm_layer("instance", channels, affine), nn.ReLU()]
        parts = [nn.ReflectionPad2d(3), *wrapped(nn.Conv2d(in_channels, ngf, 7), ngf)]
        for width in (ngf, 2 * ngf):
            conv = nn.Conv2d(width, 2 * width, 3, stride=1 if down else 2, padding=1)
            parts += wrapped(conv, 2 * width) + ([BlurDown(2 * width)] if down else [])
        parts += [Block(4 * ngf, False, "instance", affine, True) for _ in range(n_blocks)]
        for width in (2 * ngf, ngf):
            if up:
                parts += [BlurUp(2 * width), *wrapped(nn.Conv2d(2 * width, width, 3, padding=1), width)]
            else:
                conv = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)
                parts += wrapped(conv, width)
        parts += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*parts)

    def forward(self, x):
        return self.model(x)

    def features(self, x, layers):
        """The outputs of these modules. The original's ReLU works in place, so what a norm gave has been through it."""
        found = []
        for index, module in enumerate(self.model[: layers[-1] + 2]):
            if index > layers[-1]:
                break
            x = module(x)
            if index in layers:
                is_norm = isinstance(module, nn.InstanceNorm2d)
                found.append(F.relu(x) if is_norm else x)
        return found


class Discriminator(nn.Module):
    def __init__(self, in_channels, ndf, n_layers, blurred=True, affine=False):
        super().__init__()
        width = lambda layer: ndf * min(2**layer, 8)
        stride = 1 if blurred else 2
        blur = lambda layer: [BlurDown(width(layer))] if blurred and layer < n_layers else []
        parts = [nn.Conv2d(in_channels, ndf, 4, stride, 1), nn.LeakyReLU(0.2), *blur(0)]
        for layer in range(1, n_layers + 1):
            conv = nn.Conv2d(width(layer - 1), width(layer), 4, stride if layer < n_layers else 1, 1)
            parts += [conv, norm_layer("instance", width(layer), affine), nn.LeakyReLU(0.2), *blur(layer)]
        parts.append(nn.Conv2d(width(n_layers), 1, 4, 1, 1))
        self.model = nn.Sequential(*parts)

    def forward(self, x):
        return self.model(x)


class Heads(nn.Module):
    def __init__(self, channels):
        super().__init__()
        for head, inputs in enumerate(channels):
            layers = nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            setattr(self, f"mlp_{head}", layers)

    def forward(self, features, places):
        found = []
        for head, (feature, place) in enumerate(zip(features, places, strict=True)):
            # By channels: an instance norm of one picture whose gradient comes transposed has a wrong one in PyTorch
            # 1.13 and 2.15 on processors; central differences tell.
            vectors = feature.flatten(2).index_select(2, torch.tensor(place)).transpose(1, 2)
            vectors = getattr(self, f"mlp_{head}")(vectors)
            found.append(vectors / (vectors.norm(dim=2, keepdim=True) + 1e-7))
        return found


@torch.no_grad()
def fill(network, seed):
    for number, (name, value) in enumerate(network.state_dict().items()):
        if name.endswith(".filt"):
            continue
        random = uniform(seed + number, value.shape)
        value.copy_(0.1 * random if value.dim() == 1 else random * math.sqrt(3.0 / value[0].numel()) * 1.2)


def contrast(query, key, whole_batch):
    """Cross-entropy of finding the key of the same place; with itself a patch is as good as not compared."""
    if whole_batch:
        query, key = query.reshape(1, -1, WIDTH), key.reshape(1, -1, WIDTH)
    key = key.detach()
    count = query.shape[1]
    own = (query * key).sum(2, keepdim=True)
    others = (query @ key.transpose(1, 2)).masked_fill(torch.eye(count, dtype=torch.bool), -10.0)
    logits = torch.cat([own, others], 2).reshape(-1, count + 1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


class Training:
    def __init__(self, case, seed, dtype):
        self.case = case
        channels = [3, 2 * NGF, 4 * NGF, 4 * NGF, 4 * NGF]
        self.networks = {
            "generator_ab": Generator(3, 3, NGF, case["n_blocks"], case["blurred"], case["blurred"]),
            "heads": Heads(channels),
            "discriminator_b": Discriminator(3, NDF, 2, case["blurred"]),
        }
        for index, network in enumerate(self.networks.values()):
            fill(network.double(), seed + 200 * index)
            network.to(dtype)
        adam = lambda network: torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.5, 0.999))
        self.optimisers = {name: adam(network) for name, network in self.networks.items()}
        # The smallest absolute value in front of an activation.
        self.nearest = float("inf")
        for network in self.networks.values():
            for module in network.modules():
                if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
                    module.register_forward_pre_hook(self.activate)

    def activate(self, _, given):
        self.nearest = min(self.nearest, given[0].detach().abs().min().item())

    def compare(self, real, fake, places, is_mirrored):
        generator, heads = self.networks["generator_ab"], self.networks["heads"]
        features = generator.features(fake, LAYERS)
        if is_mirrored:
            features = [feature.flip(3) for feature in features]
        with torch.no_grad():
            keys = heads(generator.features(real, LAYERS), places)
        pairs = zip(heads(features, places), keys, strict=True)
        terms = [contrast(*pair, self.case["whole_batch"]) * self.case["lambda_nce"] for pair in pairs]
        return sum(terms) / len(LAYERS)

    def step(self, real_a, real_b, places, is_mirrored):
        generator, _, judge = self.networks.values()
        batch, idt = len(real_a), self.case["nce_idt"]
        is_mirrored = is_mirrored and self.case["flip"]
        real = torch.cat([real_a, real_b]) if idt else real_a
        made = generator(real.flip(3) if is_mirrored else real)
        fake_b = made[:batch]
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        square = lambda verdict, goal: ((verdict - goal) ** 2).mean()
        loss_d = (square(judge(fake_b.detach()), 0.0) + square(judge(real_b), 1.0)) * 0.5
        loss_d.backward()
        gradients = self.gradients(("discriminator_b",))
        self.optimisers["discriminator_b"].step()

        gan = square(judge(fake_b), 1.0)
        nce = self.compare(real_a, fake_b, places["nce"], is_mirrored)
        losses = {"adversarial_ab": gan, "nce": nce, "discriminator_b": loss_d}
        total = gan + nce
        if idt:
            losses["nce_y"] = self.compare(real_b, made[batch:], places["nce_y"], is_mirrored)
            total = gan + (nce + losses["nce_y"]) * 0.5
        total.backward()
        gradients |= self.gradients(("generator_ab", "heads"))
        for name in ("generator_ab", "heads"):
            self.optimisers[name].step()
        return {name: loss.item() for name, loss in losses.items()}, gradients

    def gradients(self, names):
        return {
            f"{name}.{key}": value.grad.clone()
            for name in names
            for key, value in self.networks[name].named_parameters()
        }

    def parameters(self):
        return {
            f"{name}.{key}": value.detach().double().clone()
            for name, network in self.networks.items()
            for key, value in network.named_parameters()
        }


def train(name, seed, places, dtype):
    case = CASES[name]
    training = Training(case, seed, dtype)
    before, losses, first = training.parameters(), [], None
    for number in range(STEPS):
        shape = (case["batch"], 3, SIDE, SIDE)
        real_a, real_b = (uniform(seed + 700 + 2 * number + domain, shape).to(dtype) for domain in (0, 1))
        drawn = places["blurred" if case["blurred"] else "strided"]
        terms, gradients = training.step(real_a, real_b, drawn["places"][number], drawn["mirrored"][number])
        losses.append(terms)
        first = first or gradients
    updates = {key: value - before[key] for key, value in training.parameters().items()}
    return losses, first, updates, training.nearest


def compute(name, seed, places):
    losses, gradients, updates, _ = train(name, seed, places, torch.float64)
    # A bias in front of a norm whose map is not compared has no effect; its gradient is rounding.
    learned = sorted(key for key, value in gradients.items() if value.norm() > 1e-9)
    tell = lambda values: {key: told(values[key], seed + 100 + index) for index, key in enumerate(learned)}
    return {**CASES[name], "seed": seed, "losses": losses, "gradients": tell(gradients), "updates": tell(updates)}


def seed_away_from_kinks(name, places):
    """Of some seeds the one whose values keep furthest from every kink: rounding on the other side of one changes a
    gradient by a whole element and, after a step of Adam, everything."""
    tried = range(1000, 41000, 1000)
    return max(tried, key=lambda seed: train(name, seed, places, torch.float64)[3])


def off(found, expected):
    """The largest distance of tensors, relative to their norms, of those that are not rounding alone."""
    distance = lambda key: ((found[key].double() - expected[key]).norm() / expected[key].norm()).item()
    return max(distance(key) for key in expected if expected[key].norm() > 1e-9)


def write(places):
    cases = {}
    for name in CASES:
        cases[name] = compute(name, seed_away_from_kinks(name, places), places)
        double, single = (train(name, cases[name]["seed"], places, dtype) for dtype in (torch.float64, torch.float32))
        learned = cases[name]["gradients"]
        kept = lambda values: {key: values[key] for key in learned}
        far = lambda one, two: max(abs(one[key] / two[key] - 1) for key in two)
        print(
            f"{name}: {double[3]:.1e} from a kink; in float32 losses are off by "
            f"{max(far(a, b) for a, b in zip(single[0], double[0])):.1e}, gradients by "
            f"{off(kept(single[1]), kept(double[1])):.1e}, updates by {off(kept(single[2]), kept(double[2])):.1e}",
            flush=True,
        )
    FILE.write_text(json.dumps({"cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    torch.set_num_threads(1)
    drawn = json.loads(PLACES.read_text())
    if not parser.parse_args().check:
        write(drawn)
    else:
        stored = json.loads(FILE.read_text())
        found = {name: compute(name, case["seed"], drawn) for name, case in stored["cases"].items()}
        if rows := differences(json.loads(json.dumps({"cases": found})), stored):
            sys.exit("The committed values are not those of this PyTorch:\n" + "\n".join(rows[:20]))
