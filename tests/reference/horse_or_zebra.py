#!/usr/bin/env python3
"""A fixed judge of horse ↔ zebra translations: a small network that tells horses from zebras.

    tests/reference/run.sh horse_or_zebra.py train DATA classifier.pt
        trains on DATA/trainA (horses) and DATA/trainB (zebras) alone and writes the classifier
    tests/reference/run.sh horse_or_zebra.py judge classifier.pt DATA --zebras FOLDER --horses FOLDER
        says how many pictures of DATA/testA and DATA/testB it gets right, how many untouched horses it takes for
        zebras (doing nothing), how many of FOLDER's translated horses, and the other way round

The folders hold what `cyclegan translate --max-size SIZE` made of testA and testB. Shares come with Wilson's 95 %
interval. A classifier that colours, blur or a pattern over the whole picture could fool would be no judge, so its
training pictures are recoloured, blurred, noised and overlaid with stripes and grids whatever they show, and `judge`
also tries such tricks on the untouched test horses. Nothing of it was chosen by how translated pictures fare, and the
last step is kept, not the best.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import nn

HORSE, ZEBRA = 0, 1
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(F.avg_pool2d(x, 2)))


class Classifier(nn.Module):
    """RGB in [−1, 1], [batch, 3, side, side] → the logit of "zebra", [batch]."""

    def __init__(self, width=32):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 5, stride=2, padding=2)
        self.blocks = nn.Sequential(Block(width, 2 * width), Block(2 * width, 4 * width), Block(4 * width, 6 * width))
        self.head = nn.Linear(12 * width, 1)

    def forward(self, x):
        maps = self.blocks(F.relu(self.stem(x)))
        # The mean says how much of the picture is striped, the maximum whether any is: horses may be far away.
        return self.head(F.dropout(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1), 0.3, self.training)).squeeze(1)


def pictures(folder, side):
    """Every picture of a folder at side×side, [count, 3, side, side] of bytes, and its names."""
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        sys.exit(f"There are no pictures in {folder}.")
    planes = []
    for file in files:
        with Image.open(file) as picture:
            picture = ImageOps.exif_transpose(picture).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        planes.append(torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(side, side, 3).permute(2, 0, 1))
    return torch.stack(planes)


def to_range(planes):
    return planes.float() / 127.5 - 1


def uniform(count, low, high):
    return torch.empty(count, 1, 1, 1).uniform_(low, high)


def some(count, share):
    return (torch.rand(count, 1, 1, 1) < share).float()


def blur(x, sigma):
    reach = 3
    distance = torch.arange(-reach, reach + 1).float()
    weights = torch.exp(-0.5 * (distance / sigma) ** 2)
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), weights, groups=3)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), weights.transpose(2, 3), groups=3)


def waves(count, side):
    """Stripes over the whole picture, any direction, width, phase and sharpness: [count, 1, side, side] in [−1, 1]."""
    angle, period = uniform(count, 0, math.pi), torch.exp(uniform(count, math.log(2), math.log(24)))
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    wave = torch.sin((x * angle.cos() + y * angle.sin()) * (2 * math.pi / period) + uniform(count, 0, 2 * math.pi))
    return torch.tanh(wave * uniform(count, 0.5, 5))


def recolour(x):
    """Other light and other paints: any 3×3 mixing of the colours near one with its own brightness and contrast."""
    count = len(x)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(count, 0.0, 1.7)
    mixing = torch.eye(3) + 0.15 * torch.randn(count, 3, 3)
    x = torch.einsum("nij,njhw->nihw", mixing / mixing.sum(2, keepdim=True), x)
    x = x + 0.15 * torch.randn(count, 3, 1, 1)
    return (x * uniform(count, 0.6, 1.4) + uniform(count, -0.3, 0.3)).clamp(-1, 1)


def augment(planes, side):
    """A batch as the classifier learns on it: other framing, colours, sharpness, and overlays that mean nothing."""
    x, count = to_range(planes), len(planes)
    scale, mirror = uniform(count, 0.7, 1.05).view(-1), torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    turn = torch.empty(count).uniform_(-0.25, 0.25)
    place = torch.empty(count, 2).uniform_(-1, 1) * (1.05 - scale).clamp(min=0.0)[:, None]
    rows = [torch.stack([turn.cos() * scale * mirror, -turn.sin() * scale, place[:, 0]], 1)]
    rows += [torch.stack([turn.sin() * scale * mirror, turn.cos() * scale, place[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), (count, 3, side, side), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    x = torch.lerp(x, recolour(x), some(count, 0.7))
    x = torch.lerp(x, x.mean(1, keepdim=True).expand_as(x), some(count, 0.15))
    blurred = blur(x, float(torch.empty(1).uniform_(0.5, 1.6)))
    # From blurred (1) over unchanged (0) to sharpened.
    x = torch.lerp(x, blurred, uniform(count, -2.0, 1.0) * some(count, 0.6))
    x = x + waves(count, side) * uniform(count, 0.05, 0.35) * some(count, 0.2)
    # The grid of transposed convolutions, which every fourth pixel of a translated picture may show.
    x = x.clamp(-1, 1) + waves(count, 4).repeat(1, 1, side // 4, side // 4) * uniform(count, 0.0, 0.2) * some(count, 0.3)
    return (x + 0.06 * torch.randn_like(x) * some(count, 0.5)).clamp(-1, 1)


@torch.no_grad()
def probabilities(network, x):
    """Of "zebra", the mean over the picture and its mirror image."""
    network.eval()
    both = [torch.cat([network(part) for part in planes.split(64)]) for planes in (x, x.flip(3))]
    return torch.sigmoid(sum(both) / 2)


def share(probability, of):
    """Pictures taken for `of`, with Wilson's interval."""
    taken, count = int(((probability > 0.5) == bool(of)).sum()), len(probability)
    z, p = 1.959964, taken / count
    middle, half = p + z * z / (2 * count), z * math.sqrt(p * (1 - p) / count + (z / (2 * count)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return {"taken": taken, "of": count, "share": p, "low": low, "high": high}


def told(result):
    return f"{result['taken']:4} of {result['of']:3}  {result['share']:.3f} ({result['low']:.3f} to {result['high']:.3f})"


def train(arguments):
    torch.manual_seed(arguments.seed)
    # Room for crops: what is cut out has about the test pictures' resolution.
    side = arguments.size
    piles = [pictures(Path(arguments.data) / pile, side * 9 // 8) for pile in ("trainA", "trainB")]
    planes = torch.cat(piles)
    labels = torch.cat([torch.full((len(pile),), float(label)) for label, pile in zip((HORSE, ZEBRA), piles)])
    network = Classifier()
    batch, count = 48, len(planes)
    steps = arguments.epochs * (count // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.15)
    # As many horses as zebras.
    weights = torch.where(labels == HORSE, 1 / len(piles[HORSE]), 1 / len(piles[ZEBRA]))
    start, seen, right = time.time(), 0, 0
    for step in range(1, steps + 1):
        chosen = torch.multinomial(weights, batch)
        x, y = augment(planes[chosen], side), labels[chosen]
        network.train()
        logits = network(x)
        # Softened labels: some pictures show both animals, or a horse a few pixels high.
        loss = F.binary_cross_entropy_with_logits(logits, y * 0.9 + 0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seen, right = seen + batch, right + int(((logits > 0) == (y > 0.5)).sum())
        if step % (count // batch) == 0:
            epoch, minutes = step // (count // batch), (time.time() - start) / 60
            print(f"epoch {epoch:3}  right on augmented training pictures {right / seen:.3f}  {minutes:.1f} minutes", flush=True)
            seen = right = 0
    torch.save({"size": side, "network": network.state_dict()}, arguments.classifier)


def load(path):
    saved = torch.load(path)
    network = Classifier()
    network.load_state_dict(saved["network"])
    return network, saved["size"]


def tricks(horses):
    """What a generator might do without painting a zebra."""
    torch.manual_seed(0)
    count, side = len(horses), horses.shape[-1]
    grey = horses.mean(1, keepdim=True).expand_as(horses)
    return {
        "grey": grey,
        "more contrast, grey": (grey * 1.6).clamp(-1, 1),
        "blurred": blur(horses, 1.2),
        "sharpened": (horses + 1.5 * (horses - blur(horses, 1.0))).clamp(-1, 1),
        "stripes over all": (horses + 0.3 * waves(count, side)).clamp(-1, 1),
        "noise": (horses + 0.15 * torch.randn_like(horses)).clamp(-1, 1),
        "greener, browner": (horses + torch.tensor([0.1, 0.1, -0.25]).view(1, 3, 1, 1)).clamp(-1, 1),
    }


def judge(arguments):
    network, side = load(arguments.classifier)
    horses, zebras = (to_range(pictures(Path(arguments.data) / pile, side)) for pile in ("testA", "testB"))
    of_horses, of_zebras = probabilities(network, horses), probabilities(network, zebras)
    both = torch.cat([1 - of_horses, of_zebras])
    result = {
        "size": side,
        "accuracy": share(both, ZEBRA),
        "real horses taken for horses": share(of_horses, HORSE),
        "real zebras taken for zebras": share(of_zebras, ZEBRA),
        "horses, doing nothing, taken for zebras": share(of_horses, ZEBRA),
    }
    if arguments.zebras:
        translated = probabilities(network, to_range(pictures(arguments.zebras, side)))
        result["translated horses taken for zebras"] = share(translated, ZEBRA)
    result["zebras, doing nothing, taken for horses"] = share(of_zebras, HORSE)
    if arguments.horses:
        translated = probabilities(network, to_range(pictures(arguments.horses, side)))
        result["translated zebras taken for horses"] = share(translated, HORSE)
    for name, tricked in tricks(horses).items():
        result[f"horses, only {name}, taken for zebras"] = share(probabilities(network, tricked), ZEBRA)
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{name:58}{told(value)}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the classifier on trainA and trainB")
    training.add_argument("data", help="a folder with trainA (horses) and trainB (zebras)")
    training.add_argument("classifier", help="the file to write")
    training.add_argument("--size", type=int, default=96, help="side of the pictures judged, in pixels (%(default)s)")
    training.add_argument("--epochs", type=int, default=45, help="(%(default)s)")
    training.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    judging = commands.add_parser("judge", help="classify test pictures and translated ones")
    judging.add_argument("classifier", help="the file that `train` wrote")
    judging.add_argument("data", help="a folder with testA (horses) and testB (zebras)")
    judging.add_argument("--zebras", help="a folder of translated horses")
    judging.add_argument("--horses", help="a folder of translated zebras")
    judging.add_argument("--json", help="write the numbers to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (train if arguments.command == "train" else judge)(arguments)


if __name__ == "__main__":
    main()
