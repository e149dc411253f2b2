#!/usr/bin/env python3
"""Golden values of PyTorch for the zero-centred gradient penalty on real pictures (R1).

    golden_r1.py           writes tests/fixtures/golden/r1.json anew
    golden_r1.py --check   computes everything again and compares with what is committed

Starts from the weights and images that golden.py wrote. Everything is computed in float64.
"""

import argparse
import json
import sys

import torch
from safetensors.torch import load_file

from golden import GOLDEN, Training, save_json

WEIGHT = 5.0
# Stored whole, by its first values; of all others the norms.
WHOLE = "discriminator_a.model.5.weight"
VALUES = 64


def r1(judge, real, weight):
    """Mescheder et al. 2018, equation 9, of the sum over the whole map, by a double backward pass."""
    real = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(real).sum(), real, create_graph=True)
    return weight * slope.square().flatten(1).sum(dim=1).mean()


def compute():
    init, inputs = (load_file(GOLDEN / name) for name in ("init.safetensors", "inputs.safetensors"))
    judge = Training(init, torch.float64).networks["discriminator_a"]
    value = r1(judge, torch.cat([inputs["real_a"], inputs["real_b"]]).double(), WEIGHT)
    value.backward()
    gradients = {
        f"discriminator_a.{name}": parameter.grad
        for name, parameter in judge.named_parameters()
        # A bias behind which no value is left, like the last, has none; one in front of a norm has no effect.
        if parameter.grad is not None and parameter.grad.norm() > 1e-9
    }
    return {
        "weight": WEIGHT,
        "value": value.item(),
        "gradient_norms": {name: gradient.norm().item() for name, gradient in gradients.items()},
        "whole": WHOLE,
        "values": gradients[WHOLE].flatten()[:VALUES].tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    found = compute()
    if not parser.parse_args().check:
        save_json("r1.json", found)
        return
    stored = json.loads((GOLDEN / "r1.json").read_text())
    if list(found["gradient_norms"]) != list(stored["gradient_norms"]):
        sys.exit("other parameters have gradients")
    pairs = [(found["value"], stored["value"]), *zip(found["values"], stored["values"])]
    pairs += zip(found["gradient_norms"].values(), stored["gradient_norms"].values())
    worst = max(abs(a - b) / max(abs(b), 1e-6) for a, b in pairs)
    print(f"off by at most {worst:.1e}")
    if worst > 1e-9:
        sys.exit("that is too far")


if __name__ == "__main__":
    main()
