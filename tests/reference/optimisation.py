"""Writes tests/fixtures/golden/optimisation.json: what PyTorch's schedulers, its gradient clipping and its Adam
do. The tests in src/schedule.rs and src/training/ check ours against it.

    tests/reference/run.sh optimisation.py            writes
    tests/reference/run.sh optimisation.py --check    compares the committed file with this PyTorch
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from torch.optim import lr_scheduler

FILE = Path(__file__).parents[1] / "fixtures" / "golden" / "optimisation.json"
BASE = 2e-4
STEPS = 60
DECAY_FROM = 0.5
EVERY = 14
WARMUP = 8


def optimiser():
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=BASE)


def rates(scheduler, count=STEPS):
    """The rate of each step."""
    found = []
    for _ in range(count):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def linear(end_at_zero):
    """Official networks.get_scheduler's lambda_rule, with a step for an epoch. Since 2020 epoch e of 1, 2, ... has
    lambda_rule(e): train.py calls update_learning_rate() when it begins; before that it had lambda_rule(e - 1)."""
    constant = int(STEPS * DECAY_FROM)
    falling = STEPS - constant

    def rule(epoch, epoch_count=1):
        return 1.0 - max(0, epoch + epoch_count - constant) / float(falling + 1)

    def paper(step):
        # Constant, then linear to zero behind the last step (section 4).
        return 1.0 - max(0, step - constant) / float(falling)

    return (lambda step: rule(step + 1)) if end_at_zero else paper


def schedules():
    def of(make):
        return rates(make(optimiser()))

    ramp = lambda step: min(1.0, (step + 1) / WARMUP)
    warm = lambda make: lambda o: chained(o, make)

    def chained(o, make):
        """Both factors at once. ChainedScheduler wants schedulers, and LambdaLR takes a factor as it is."""
        base = rates(make(optimiser()))
        return lr_scheduler.LambdaLR(o, lambda step: ramp(step) * (base[step] if step < STEPS else 0.0) / BASE)

    kinds = {
        "linear": lambda o: lr_scheduler.LambdaLR(o, linear(False)),
        "linear_end_at_zero": lambda o: lr_scheduler.LambdaLR(o, linear(True)),
        "step": lambda o: lr_scheduler.StepLR(o, step_size=EVERY, gamma=0.1),
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0),
    }
    found = {name: of(make) for name, make in kinds.items()}
    found.update({f"{name}_warm": of(warm(kinds[name])) for name in ("linear", "cosine")})
    return found


def plateau():
    """The official ReduceLROnPlateau on a loss that falls, stalls, falls a little and rises."""
    metrics = [10 * math.exp(-i / 4) for i in range(10)]
    metrics += [metrics[-1] * (1 - 0.001 * i) for i in range(1, 9)]
    metrics += [metrics[-1] * 0.97, metrics[-1] * 0.96, math.nan] + [2.0 + 0.1 * i for i in range(16)]
    scheduler = lr_scheduler.ReduceLROnPlateau(optimiser(), mode="min", factor=0.2, threshold=0.01, patience=5)
    found = []
    for metric in metrics:
        scheduler.step(metric)
        found.append(scheduler.optimizer.param_groups[0]["lr"])
    return {"metrics": [None if math.isnan(metric) else metric for metric in metrics], "rates": found}


def clipping():
    random = torch.Generator().manual_seed(3)
    values = [torch.randn(count, generator=random, dtype=torch.float64) for count in (5, 1, 12)]
    found = []
    for limit in (0.5, 3.0, 100.0):
        parameters = [torch.nn.Parameter(torch.zeros_like(value)) for value in values]
        for parameter, value in zip(parameters, values):
            parameter.grad = value.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        found.append({"limit": limit, "norm": norm.item(), "clipped": [p.grad.tolist() for p in parameters]})
    return {"gradients": [value.tolist() for value in values], "limits": found}


def adam():
    """Three steps of Adam with beta1 0.9 and of a moving average as swa_utils.AveragedModel takes it."""
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    average = parameter.detach().clone()
    optimizer = torch.optim.Adam([parameter], lr=0.1, betas=(0.9, 0.999), eps=1e-8)
    gradients = [[0.5, -1.0, 2.0], [0.25, 1.0, -3.0], [-1.0, 0.125, 0.5]]
    parameters, averages = [], []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        average = 0.75 * average + 0.25 * parameter.detach()
        parameters.append(parameter.tolist())
        averages.append(average.tolist())
    start = {"rate": 0.1, "beta1": 0.9, "decay": 0.75, "start": [1.0, -2.0, 0.5]}
    return {**start, "gradients": gradients, "parameters": parameters, "averages": averages}


def compute():
    return {
        "pytorch": torch.__version__,
        "base": BASE,
        "steps": STEPS,
        "decay_from": DECAY_FROM,
        "lr_decay_steps": EVERY,
        "warmup_steps": WARMUP,
        "schedules": schedules(),
        "plateau": plateau(),
        "clipping": clipping(),
        "adam": adam(),
    }


def close(found, expected):
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return abs(found - expected) <= 1e-9 * abs(expected) + 1e-15
    return found == expected


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    values = compute()
    if parser.parse_args().check:
        committed = json.loads(FILE.read_text())
        committed["pytorch"] = values["pytorch"]
        if not close(values, committed):
            sys.exit("The committed values are not those of this PyTorch.")
        print(f"PyTorch {torch.__version__}: schedules, clipping and Adam are the committed ones")
    else:
        FILE.write_text(json.dumps(values) + "\n")
