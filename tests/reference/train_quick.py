#!/usr/bin/env python3
"""The training of the `quick` preset in PyTorch, to be compared with ours at equal steps.

    tests/reference/run.sh train_quick.py static/data/emoji.zip OUT --seed 1 --steps 600
    cyclegan evaluate --model OUT/latest_net_G_A.pth --back OUT/latest_net_G_B.pth --data static/data/emoji.zip --max-size 32

Everything is as in src/config/mod.rs and src/training/: sizes, losses, pools, schedule, initial deviation, Adam. Only
the random numbers are others. The files that come out are named as the official code names them.

`--factors tf32|bf16` rounds the factors of every product of every convolution, forward and backward, as `precision` does
on tensor cores; sums and everything else stay float32. The losses of the last tenth are printed, to be compared.
"""

import argparse
import io
import itertools
import random
import time
import zipfile
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from networks import Discriminator, Generator
from PIL import Image

SIDE, WIDTH, BLOCKS = 32, 8, 2
RATE, DECAY_FROM, POOL = 2e-4, 0.5, 50
LAMBDA, LAMBDA_IDENTITY = 10.0, 0.5
TERMS = "adversarial", "cycle", "identity", "discriminators"


def pile(archive, folder):
    """The pictures of a folder, on white, in [-1, 1]: [count, 3, SIDE, SIDE]."""
    pictures = []
    for name in sorted(name for name in archive.namelist() if name.startswith(folder + "/") and not name.endswith("/")):
        picture = Image.open(io.BytesIO(archive.read(name))).convert("RGBA").resize((SIDE, SIDE), Image.BICUBIC)
        on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        pictures.append(numpy.asarray(on_white, numpy.float32).transpose(2, 0, 1) / 127.5 - 1.0)
    return torch.from_numpy(numpy.stack(pictures))


def draws(pictures):
    """One picture after the other, all of them in a new order each time round, mirrored half of the time."""
    while True:
        for index in random.sample(range(len(pictures)), len(pictures)):
            picture = pictures[index : index + 1]
            yield picture.flip(3) if random.random() < 0.5 else picture


class Pool:
    """Official `util/image_pool.py` for one picture at a time."""

    def __init__(self):
        self.fakes = []

    def query(self, fake):
        if len(self.fakes) < POOL:
            self.fakes.append(fake)
            return fake
        if random.random() < 0.5:
            slot = random.randrange(POOL)
            fake, self.fakes[slot] = self.fakes[slot], fake
        return fake


def initial(network):
    """Weights normal(0, 0.02), biases zero (official `init_weights`)."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.02) if parameter.dim() > 1 else torch.nn.init.zeros_(parameter)
    return network


def rounded(values, factors):
    """To the nearest value with 8 (bf16) or 11 (tf32) significant bits."""
    if factors == "bf16":
        return values.bfloat16().float()
    return ((values.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class TensorCores(torch.autograd.Function):
    """A convolution whose three products are of rounded factors."""

    @staticmethod
    def forward(context, values, weight, bias, factors, *geometry):
        values, weight = rounded(values, factors), rounded(weight, factors)
        context.save_for_backward(values, weight)
        context.factors, context.geometry = factors, geometry
        return torch.convolution(values, weight, bias, *geometry)

    @staticmethod
    def backward(context, grad):
        values, weight = context.saved_tensors
        wanted = [*context.needs_input_grad[:2], False]
        grads = torch.ops.aten.convolution_backward(
            rounded(grad, context.factors), values, weight, None, *context.geometry, wanted
        )
        return grads[0], grads[1], grad.sum((0, 2, 3)), *[None] * (1 + len(context.geometry))


def round_factors(factors):
    """Has all convolutions of this process round their factors."""

    def pair(number):
        return [number, number] if isinstance(number, int) else list(number)

    def conv2d(values, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return TensorCores.apply(
            values, weight, bias, factors, pair(stride), pair(padding), pair(dilation), False, [0, 0], groups
        )

    def conv_transpose2d(values, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return TensorCores.apply(
            values, weight, bias, factors, pair(stride), pair(padding), pair(dilation), True, pair(output_padding), groups
        )

    F.conv2d, F.conv_transpose2d = conv2d, conv_transpose2d


def judged(verdict, target):
    return F.mse_loss(verdict, torch.full_like(verdict, target))


def train(pile_a, pile_b, steps):
    ab, ba = (initial(Generator(ngf=WIDTH, n_blocks=BLOCKS)) for _ in range(2))
    judge_a, judge_b = (initial(Discriminator(ndf=WIDTH)) for _ in range(2))
    judges = [*judge_a.parameters(), *judge_b.parameters()]
    adam = lambda parameters: torch.optim.Adam(parameters, lr=RATE, betas=(0.5, 0.999), eps=1e-8)
    optimisers = adam(itertools.chain(ab.parameters(), ba.parameters())), adam(judges)
    first = int(steps * DECAY_FROM)
    falling = lambda step: 1.0 if step <= first else 1.0 - (step - first) / (steps - first)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimiser, falling) for optimiser in optimisers]
    pools = Pool(), Pool()
    losses = []
    for _, real_a, real_b in zip(range(steps), draws(pile_a), draws(pile_b)):
        fake_b, fake_a = ab(real_a), ba(real_b)
        for parameter in judges:
            parameter.requires_grad_(False)
        adversarial = judged(judge_b(fake_b), 1.0) + judged(judge_a(fake_a), 1.0)
        cycle = LAMBDA * (F.l1_loss(ba(fake_b), real_a) + F.l1_loss(ab(fake_a), real_b))
        identity = LAMBDA * LAMBDA_IDENTITY * (F.l1_loss(ba(real_a), real_a) + F.l1_loss(ab(real_b), real_b))
        loss = adversarial + cycle + identity
        optimisers[0].zero_grad()
        loss.backward()
        optimisers[0].step()

        for parameter in judges:
            parameter.requires_grad_(True)
        optimisers[1].zero_grad()
        verdicts = []
        for judge, real, fake, pool in ((judge_a, real_a, fake_a, pools[0]), (judge_b, real_b, fake_b, pools[1])):
            fake = pool.query(fake.detach())
            verdicts.append(0.5 * (judged(judge(real), 1.0) + judged(judge(fake), 0.0)))
            verdicts[-1].backward()
        optimisers[1].step()
        for schedule in schedules:
            schedule.step()
        losses.append([term.item() for term in (adversarial, cycle, identity, sum(verdicts))])
    return (ab, ba), losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--factors", choices=("f32", "tf32", "bf16"), default="f32")
    options = parser.parse_args()
    if options.factors != "f32":
        round_factors(options.factors)
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    with zipfile.ZipFile(options.data) as archive:
        piles = [pile(archive, folder) for folder in ("trainA", "trainB")]
    start = time.monotonic()
    networks, losses = train(*piles, options.steps)
    print(f"{options.steps} steps in {time.monotonic() - start:.1f} s")
    last = numpy.mean(losses[-max(1, options.steps // 10) :], axis=0)
    print("last tenth:", ", ".join(f"{name} {loss:.3f}" for name, loss in zip(TERMS, last)))
    options.out.mkdir(parents=True, exist_ok=True)
    for network, name in zip(networks, ("A", "B")):
        torch.save(network.state_dict(), options.out / f"latest_net_G_{name}.pth")


if __name__ == "__main__":
    main()
