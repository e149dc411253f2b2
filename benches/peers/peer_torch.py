#!/usr/bin/env python3
"""PyTorch as a contender, on a processor (eager, a fixed number of threads) or a CUDA GPU.

    peer_torch.py forward WEIGHTS INPUT SIDE OUTPUT THREADS [OPTIONS]
    peer_torch.py step CHECKPOINT A B SIDE THREADS [OPTIONS]

`f32` has no TF32 anywhere, `bf16` is autocast (parameters and Adam stay f32), `f64` is for checking.
"""

import argparse
import itertools
import json
import os
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

# Further runs before the timed ones: cuDNN chooses its algorithms and clocks rise.
WARM_UP = 3


class Setting:
    """Where and how the networks compute."""

    def __init__(self, device, precision, compiled, threads):
        torch.set_num_threads(threads)
        self.device, self.precision, self.compiled = device, precision, compiled
        self.dtype = torch.float64 if precision == "f64" else torch.float32
        if precision == "f32":
            # NVIDIA's own switch, read when CUDA starts, besides PyTorch's two.
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        # The older names: with `fp32_precision` torch.compile fails (https://github.com/pytorch/pytorch/issues/166387).
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        # As the official code does for images of one size.
        torch.backends.cudnn.benchmark = True

    def image(self, path, side):
        planes = torch.from_numpy(numpy.fromfile(path, numpy.float32).reshape(1, 3, side, side))
        return planes.to(self.device, self.dtype)

    def network(self, state):
        found = network_for(state)
        found.load_state_dict(state, strict=True)
        found = found.to(self.device, self.dtype)
        return torch.compile(found, dynamic=False) if self.compiled else found

    def autocast(self):
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def wait(self):
        """Until the GPU has done all it was told."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def ready(self, **found):
        if self.device == "cuda":
            found["device"] = torch.cuda.get_device_name()
        print(json.dumps({"ready": True, "version": torch.__version__, **found}), flush=True)

    def serve(self, run):
        if self.device == "cuda":
            for _ in range(WARM_UP):
                run()
        self.wait()
        for _ in sys.stdin:
            start = time.perf_counter()
            run()
            self.wait()
            print(json.dumps({"milliseconds": (time.perf_counter() - start) * 1e3}), flush=True)


def forward(setting, weights, source, side, output):
    generator, x = setting.network(load_file(weights)).eval(), setting.image(source, side)

    @torch.inference_mode()
    def run():
        # Read back, as ours does.
        with setting.autocast():
            return generator(x).cpu()

    run().float().numpy().tofile(output)
    setting.ready()
    setting.serve(run)


class Training:
    """The official `CycleGANModel.optimize_parameters`. The image pools keep the first fifty fakes and
    give back the newest until they are full, so in a run this short they change nothing but memory."""

    def __init__(self, state, setting):
        self.setting = setting
        names = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
        own = lambda name: {key[len(name) + 1 :]: v for key, v in state.items() if key.startswith(name + ".")}
        self.ab, self.ba, self.judge_a, self.judge_b = (setting.network(own(name)) for name in names)
        # One pass over memory: PyTorch's fastest.
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
        for parameter in judges:
            parameter.requires_grad_(False)
        with self.setting.autocast():
            fake_b, fake_a = ab(real_a), ba(real_b)
            rec_a, rec_b = ba(fake_b), ab(fake_a)
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
            with self.setting.autocast():
                loss = 0.5 * (self.judged(judge, real, 1.0) + self.judged(judge, fake, 0.0))
            loss.backward()
            terms[name] = loss
        self.discriminators.step()
        # One read for all of them.
        return dict(zip(terms, torch.stack([loss.detach() for loss in terms.values()]).tolist(), strict=True))


def step(setting, checkpoint, a, b, side):
    training = Training(load_file(checkpoint), setting)
    real_a, real_b = setting.image(a, side), setting.image(b, side)
    losses = [training.step(real_a, real_b) for _ in range(2)]
    setting.ready(losses=losses)
    setting.serve(lambda: training.step(real_a, real_b))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("forward", "step"))
    parser.add_argument("arguments", nargs=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16", "f64"), default="f32")
    parser.add_argument("--compiled", action="store_true", help="torch.compile, its default mode")
    given = parser.parse_args()
    *files, threads = given.arguments
    setting = Setting(given.device, given.precision, given.compiled, int(threads))
    if given.work == "forward":
        weights, source, side, output = files
        forward(setting, weights, source, int(side), output)
    else:
        checkpoint, a, b, side = files
        step(setting, checkpoint, a, b, int(side))


if __name__ == "__main__":
    main()
