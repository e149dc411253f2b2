#!/usr/bin/env python3
"""Golden values of PyTorch for the tests of the networks and of the training step.

    golden.py           writes tests/fixtures/golden/ and tests/fixtures/weights/ anew
    golden.py --check   computes everything again from the committed weights and inputs and
                        compares: the fixtures are what PyTorch says, whatever its version

Everything is computed in float64 and stored as float32; config.json says how far PyTorch's own
float32 run is from that. README.md beside the fixtures explains the names.
"""

import argparse
import itertools
import json
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from networks import Discriminator, Generator, biases_before_norm, network_for

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
GOLDEN = FIXTURES / "golden"
NETWORKS = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
CONFIG = {
    "ngf": 8,
    "ndf": 8,
    "n_blocks": 2,
    "n_layers": 3,
    "size": 32,
    "steps": 3,
    "learning_rate": 2e-4,
    "betas": [0.5, 0.999],
    "epsilon": 1e-8,
    "lambda_cycle": 10.0,
    "lambda_identity": 0.5,
}


class Training:
    """One CycleGAN training without an image pool: the discriminators see the newest fakes."""

    def __init__(self, state, dtype):
        self.networks = {}
        for name in NETWORKS:
            own = {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(name + ".")}
            self.networks[name] = network_for(own)
            self.networks[name].load_state_dict(own, strict=True)
            self.networks[name].to(dtype)
        self.generators = self.optimiser("generator")
        self.discriminators = self.optimiser("discriminator")

    def optimiser(self, kind):
        parameters = [p for name in NETWORKS if name.startswith(kind) for p in self.networks[name].parameters()]
        return torch.optim.Adam(
            parameters, lr=CONFIG["learning_rate"], betas=CONFIG["betas"], eps=CONFIG["epsilon"]
        )

    def step(self, real_a, real_b):
        """Losses as they enter the totals, and the gradients, before the parameters change."""
        ab, ba, judge_a, judge_b = (self.networks[name] for name in NETWORKS)
        cycle = CONFIG["lambda_cycle"]
        identity = cycle * CONFIG["lambda_identity"]
        squared = lambda verdict, target: F.mse_loss(verdict, torch.full_like(verdict, target))

        fake_b, fake_a = ab(real_a), ba(real_b)
        losses = {
            "adversarial_ab": squared(judge_b(fake_b), 1.0),
            "adversarial_ba": squared(judge_a(fake_a), 1.0),
            "cycle_a": F.l1_loss(ba(fake_b), real_a) * cycle,
            "cycle_b": F.l1_loss(ab(fake_a), real_b) * cycle,
            "identity_a": F.l1_loss(ba(real_a), real_a) * identity,
            "identity_b": F.l1_loss(ab(real_b), real_b) * identity,
        }
        losses["generators"] = sum(losses.values())
        gradients = {}
        self.generators.zero_grad()
        losses["generators"].backward()
        self.keep_gradients("generator", gradients)
        self.generators.step()

        # Forgets what the generators' losses left in the discriminators.
        self.discriminators.zero_grad()
        for name, judge, real, fake in (
            ("discriminator_a", judge_a, real_a, fake_a.detach()),
            ("discriminator_b", judge_b, real_b, fake_b.detach()),
        ):
            losses[name] = 0.5 * (squared(judge(real), 1.0) + squared(judge(fake), 0.0))
            losses[name].backward()
        self.keep_gradients("discriminator", gradients)
        self.discriminators.step()
        return {name: loss.item() for name, loss in losses.items()}, gradients

    def keep_gradients(self, kind, into):
        for name in NETWORKS:
            if name.startswith(kind):
                for key, parameter in self.networks[name].named_parameters():
                    into[f"{name}.{key}"] = parameter.grad.detach().clone()

    def state(self):
        return {
            f"{name}.{key}": value.detach().clone()
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }


def layers(network, x):
    """The output of every top-level layer."""
    outputs = []
    for layer in network.model:
        x = layer(x)
        outputs.append(x.clone())
    return outputs


@torch.no_grad()
def forward(training, real_a, real_b):
    """Every picture and verdict of the first step, and every layer of one network of each kind."""
    ab, ba, judge_a, judge_b = (training.networks[name] for name in NETWORKS)
    fake_b, fake_a = ab(real_a), ba(real_b)
    values = {
        "fake_b": fake_b,
        "fake_a": fake_a,
        "rec_a": ba(fake_b),
        "rec_b": ab(fake_a),
        "idt_a": ba(real_a),
        "idt_b": ab(real_b),
        "discriminator_a.real_a": judge_a(real_a),
        "discriminator_a.fake_a": judge_a(fake_a),
        "discriminator_b.real_b": judge_b(real_b),
        "discriminator_b.fake_b": judge_b(fake_b),
    }
    for name, network, x in (("generator_ab", ab, real_a), ("discriminator_b", judge_b, real_b)):
        for index, output in enumerate(layers(network, x)):
            values[f"{name}.layer.{index}"] = output
    return values


@torch.no_grad()
def rectangle(training, inputs):
    """Height 64, width 48: nothing may depend on square images."""
    x = inputs["rectangle"]
    return {
        "fake_b": training.networks["generator_ab"](x),
        "discriminator_a": training.networks["discriminator_a"](x),
    }


@torch.no_grad()
def affine(state, inputs, dtype):
    network = network_for(state)
    network.load_state_dict(state, strict=True)
    return {"output": network.to(dtype)(inputs["real_a"])}


def compute(init, affine_init, inputs, dtype):
    """All golden values: files of tensors, and the losses."""
    inputs = {name: value.to(dtype) for name, value in inputs.items()}
    training = Training(init, dtype)
    files = {
        "forward": forward(training, inputs["real_a"], inputs["real_b"]),
        "rectangle": rectangle(training, inputs),
        "affine_output": affine(affine_init, inputs, dtype),
    }
    losses = []
    for step in range(CONFIG["steps"]):
        loss, gradients = training.step(inputs["real_a"], inputs["real_b"])
        losses.append(loss)
        if step == 0:
            files["gradients"] = gradients
    files["after"] = training.state()
    return files, losses


# No value of the first step is this near to a kink: an activation's at 0, or an L1 loss's at equality.
# Rounding on the other side of a kink changes a gradient by a whole element, on any backend.
MARGIN = 1e-5


@torch.no_grad()
def distance_to_kinks(init, inputs):
    """The smallest absolute value that meets a kink in the first step."""
    training = Training(init, torch.float64)
    smallest = []
    for network in training.networks.values():
        for module in network.modules():
            if isinstance(module, (torch.nn.ReLU, torch.nn.LeakyReLU)):
                module.register_forward_pre_hook(lambda _, found: smallest.append(found[0].abs().min().item()))
    ab, ba, judge_a, judge_b = (training.networks[name] for name in NETWORKS)
    real_a, real_b = inputs["real_a"].double(), inputs["real_b"].double()
    fake_b, fake_a = ab(real_a), ba(real_b)
    for judge, image in ((judge_a, fake_a), (judge_b, fake_b), (judge_a, real_a), (judge_b, real_b)):
        judge(image)
    for output, target in ((ba(fake_b), real_a), (ab(fake_a), real_b), (ba(real_a), real_a), (ab(real_b), real_b)):
        smallest.append((output - target).abs().min().item())
    return min(smallest)


def start_away_from_kinks():
    for seed in itertools.count(20170330):
        init, affine_init, inputs = random_start(seed)
        if distance_to_kinks(init, inputs) >= MARGIN:
            print(f"seed {seed}")
            return init, affine_init, inputs


def random_start(seed):
    """Weights and inputs. Unlike a real start, biases and norms are random too: a zero hides mistakes."""
    random = torch.Generator().manual_seed(seed)
    normal = lambda like, mean, deviation: torch.randn(like.shape, generator=random) * deviation + mean
    uniform = lambda *shape: torch.rand(shape, generator=random) * 2 - 1

    def filled(network):
        for name, parameter in network.state_dict().items():
            is_scale = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(normal(parameter, 1.0, 0.3) if is_scale else normal(parameter, 0.0, 0.02))
        return network.state_dict()

    init = {}
    for name in NETWORKS:
        if name.startswith("generator"):
            network = Generator(ngf=CONFIG["ngf"], n_blocks=CONFIG["n_blocks"])
        else:
            network = Discriminator(ndf=CONFIG["ndf"], n_layers=CONFIG["n_layers"])
        init.update({f"{name}.{key}": value for key, value in filled(network).items()})
    affine_init = filled(Generator(ngf=4, n_blocks=1, affine=True))
    size = CONFIG["size"]
    inputs = {
        "real_a": uniform(1, 3, size, size),
        "real_b": uniform(1, 3, size, size),
        "rectangle": uniform(1, 3, 64, 48),
    }
    return init, affine_init, inputs


def without_effect(init):
    training = Training(init, torch.float32)
    return [f"{name}.{key}" for name in NETWORKS for key in biases_before_norm(training.networks[name])]


def deviations(found, expected, start, ignored):
    """How far one set of values is from another: the measures that the tests use."""
    absolute = lambda name: max((found[name][k].double() - v.double()).abs().max() for k, v in expected[name].items())

    def relative(name, origin):
        worst = 0.0
        for key, value in expected[name].items():
            if key not in ignored:
                difference = (found[name][key].double() - value.double()).norm()
                worst = max(worst, (difference / (value.double() - origin(key)).norm()).item())
        return worst

    return {
        "forward_absolute": max(absolute(name) for name in ("forward", "rectangle", "affine_output")).item(),
        "gradient_relative_norm": relative("gradients", lambda key: 0.0),
        "update_relative_norm": relative("after", lambda key: start[key].double()),
    }


def shapes_of_full_networks():
    networks = {
        "resnet_9blocks": Generator(),
        "resnet_6blocks": Generator(n_blocks=6),
        "resnet_9blocks_affine": Generator(affine=True),
        "patch_3layers": Discriminator(),
    }
    return {
        name: {
            "count": sum(parameter.numel() for parameter in network.parameters()),
            "parameters": [[key, list(value.shape)] for key, value in network.state_dict().items()],
        }
        for name, network in networks.items()
    }


def write():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    init, affine_init, inputs = start_away_from_kinks()
    files, losses = compute(init, affine_init, inputs, torch.float64)
    single, single_losses = compute(init, affine_init, inputs, torch.float32)
    ignored = without_effect(init)
    stored = {"init": init, "affine": affine_init, "inputs": inputs, **files}
    for name, tensors in stored.items():
        plain = {key: value.float().contiguous() for key, value in tensors.items()}
        save_weights(plain, GOLDEN / f"{name}.safetensors")
    pairs = [(s[k], v) for s, step in zip(single_losses, losses) for k, v in step.items()]
    config = {
        **CONFIG,
        "losses": losses,
        "without_effect": ignored,
        "pytorch_float32": {
            "version": torch.__version__,
            **deviations(single, files, init, ignored),
            "loss_relative": max(abs(s - v) / v for s, v in pairs),
        },
    }
    save_json("config.json", config)
    save_json("shapes.json", shapes_of_full_networks())

    weights = FIXTURES / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    state = Discriminator(ndf=4).state_dict()
    for name, dtype in (("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16)):
        stored = {key: value.to(dtype) for key, value in state.items()}
        save_weights(stored, weights / f"discriminator_{name}.safetensors")
    print(json.dumps(config["pytorch_float32"], indent=1))


def save_weights(tensors, path):
    save_file(tensors, path)
    # safetensors makes files that only their owner can read.
    path.chmod(0o644)


def save_json(name, value):
    text = json.dumps(value, indent=1)
    # Lists of plain values on one line each.
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
    (GOLDEN / name).write_text(text + "\n")


def check():
    load = lambda name: load_file(GOLDEN / f"{name}.safetensors")
    config = json.loads((GOLDEN / "config.json").read_text())
    init = load("init")
    files, losses = compute(init, load("affine"), load("inputs"), torch.float64)
    expected = {name: load(name) for name in files}
    found = deviations(files, expected, init, config["without_effect"])
    pairs = [(new[k], v) for new, step in zip(losses, config["losses"]) for k, v in step.items()]
    found["loss_relative"] = max(abs(s - v) / v for s, v in pairs)
    print(f"PyTorch {torch.__version__}: {json.dumps(found)}")
    # What is left is the rounding of the stored float32 values; an update is 1/30 of a weight.
    limits = {"forward_absolute": 1e-6, "gradient_relative_norm": 1e-6, "update_relative_norm": 1e-4, "loss_relative": 1e-9}
    wrong = [name for name, limit in limits.items() if not found[name] <= limit]
    if json.loads((GOLDEN / "shapes.json").read_text()) != shapes_of_full_networks():
        wrong.append("shapes.json")
    if without_effect(init) != config["without_effect"]:
        wrong.append("without_effect")
    if wrong:
        sys.exit(f"The committed golden values are not those of this PyTorch: {', '.join(wrong)}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    torch.set_num_threads(1)
    check() if parser.parse_args().check else write()
