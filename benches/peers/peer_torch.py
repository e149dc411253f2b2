#!/usr/bin/env python3
"""PyTorch as a contender, eager, on a fixed number of threads.

    peer_torch.py forward WEIGHTS INPUT SIDE OUTPUT THREADS
    peer_torch.py step CHECKPOINT A B SIDE THREADS
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/reference"))
from networks import network_for

LAMBDA_CYCLE, LAMBDA_IDENTITY = 10.0, 0.5


def image(path, side):
    return torch.from_numpy(numpy.fromfile(path, numpy.float32).reshape(1, 3, side, side))


def network(state):
    found = network_for(state)
    found.load_state_dict(state, strict=True)
    return found


def serve(run):
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps({"milliseconds": (time.perf_counter() - start) * 1e3}), flush=True)


def forward(weights, source, side, output, threads):
    torch.set_num_threads(int(threads))
    generator, x = network(load_file(weights)).eval(), image(source, int(side))

    @torch.inference_mode()
    def run():
        return generator(x)

    run().numpy().tofile(output)
    print(json.dumps({"ready": True, "version": torch.__version__}), flush=True)
    serve(run)


class Training:
    """The official `CycleGANModel.optimize_parameters`. The image pools keep the first fifty fakes and
    give back the newest until they are full, so in a run this short they change nothing but memory."""

    def __init__(self, state):
        names = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
        own = lambda name: {key[len(name) + 1 :]: v for key, v in state.items() if key.startswith(name + ".")}
        self.ab, self.ba, self.judge_a, self.judge_b = (network(own(name)) for name in names)
        # One pass over memory: PyTorch's fastest on a processor.
        adam = lambda *networks: torch.optim.Adam(
            itertools.chain(*(n.parameters() for n in networks)), lr=2e-4, betas=(0.5, 0.999), fused=True
        )
        self.generators, self.discriminators = adam(self.ab, self.ba), adam(self.judge_a, self.judge_b)
        self.pools = ([], [])

    def judged(self, judge, picture, target):
        verdict = judge(picture)
        return F.mse_loss(verdict, torch.full_like(verdict, target))

    def step(self, real_a, real_b):
        ab, ba, judge_a, judge_b = self.ab, self.ba, self.judge_a, self.judge_b
        judges = [*judge_a.parameters(), *judge_b.parameters()]
        fake_b, fake_a = ab(real_a), ba(real_b)
        rec_a, rec_b = ba(fake_b), ab(fake_a)
        for parameter in judges:
            parameter.requires_grad_(False)
        terms = {
            "adversarial_ab": self.judged(judge_b, fake_b, 1.0),
            "adversarial_ba": self.judged(judge_a, fake_a, 1.0),
            "cycle_a": F.l1_loss(rec_a, real_a) * LAMBDA_CYCLE,
            "cycle_b": F.l1_loss(rec_b, real_b) * LAMBDA_CYCLE,
            "identity_a": F.l1_loss(ba(real_a), real_a) * LAMBDA_CYCLE * LAMBDA_IDENTITY,
            "identity_b": F.l1_loss(ab(real_b), real_b) * LAMBDA_CYCLE * LAMBDA_IDENTITY,
        }
        self.generators.zero_grad()
        sum(terms.values()).backward()
        self.generators.step()

        for parameter in judges:
            parameter.requires_grad_(True)
        self.discriminators.zero_grad()
        pairs = ((judge_a, real_a, fake_a, self.pools[0]), (judge_b, real_b, fake_b, self.pools[1]))
        for name, (judge, real, fake, pool) in zip(("discriminator_a", "discriminator_b"), pairs):
            fake = fake.detach()
            if len(pool) < 50:
                pool.append(fake)
            loss = 0.5 * (self.judged(judge, real, 1.0) + self.judged(judge, fake, 0.0))
            loss.backward()
            terms[name] = loss
        self.discriminators.step()
        return {name: loss.item() for name, loss in terms.items()}


def step(checkpoint, a, b, side, threads):
    torch.set_num_threads(int(threads))
    training = Training(load_file(checkpoint))
    real_a, real_b = image(a, int(side)), image(b, int(side))
    losses = [training.step(real_a, real_b) for _ in range(2)]
    print(json.dumps({"ready": True, "version": torch.__version__, "losses": losses}), flush=True)
    serve(lambda: training.step(real_a, real_b))


if __name__ == "__main__":
    {"forward": forward, "step": step}[sys.argv[1]](*sys.argv[2:])
