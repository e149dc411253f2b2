#!/usr/bin/env python3
"""Golden values of PyTorch for the adversarial losses, the image pool, the schedule and DiffAugment.

    golden_steps.py           writes tests/fixtures/golden/steps.* anew
    golden_steps.py --check   computes everything again and compares with what is committed

Starts from the weights and images that golden.py wrote. Everything is computed in float64. The random decisions
are those of src/random.rs for CONFIG["seed"]; tests/backends/golden/steps.rs asserts that they are.
"""

import argparse
import copy
import json
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from golden import GOLDEN, NETWORKS, Training, save_json, save_weights, without_effect

MODES = ("lsgan", "vanilla", "wgangp", "hinge")
CONFIG = {
    "size": 32,
    "ngf": 8,
    "ndf": 8,
    "n_blocks": 2,
    "lambda_a": 10.0,
    "lambda_b": 10.0,
    "lambda_identity": 0.5,
    "lambda_gp": 10.0,
    "learning_rate": 2e-4,
    # 1, 1, 3/4, 2/4 and 1/4 of the learning rate.
    "steps": 5,
    "decay_from": 0.2,
    "pool_size": 2,
    "seed": 20,
}
# The first two fakes fill a pool of two. After that: the slot whose picture a discriminator sees instead of the newest
# one, which takes its place; or None, when it sees the newest and the pool stays.
POOLS = {"a": [None, None, 1, None, 0], "b": [None, None, 0, 1, None]}
# How much of a real picture is in the one at which the gradient penalty is taken.
SHARES = {
    "a": [0.3504575, 0.23209363, 0.90324867, 0.99999255, 0.25736183],
    "b": [0.2588547, 0.32885057, 0.52543795, 0.48463976, 0.48594636],
}
# How the pictures of a step are mirrored, so that the fakes of two steps are not alike.
MIRRORED = [[], [3], [2], [2, 3], []]
# Stored whole; of all others the norms.
WHOLE = (
    "generator_ab.model.1.weight",
    "generator_ba.model.19.weight",
    "discriminator_a.model.0.weight",
    "discriminator_a.model.0.bias",
    "discriminator_b.model.2.weight",
    "discriminator_b.model.11.weight",
    "discriminator_b.model.11.bias",
)
# With these no value is nearer than 3e-5 to a kink.
PENALTY_SHARES = [0.3125, 0.6875]
DRAWS = [
    {"brightness": 0.3125, "saturation": 1.75, "contrast": 0.625, "shift": [3, -2], "hole": [20, 3]},
    {"brightness": -0.4375, "saturation": 0.125, "contrast": 1.4375, "shift": [-4, 1], "hole": [0, 20]},
    {"brightness": 0.0625, "saturation": 0.9375, "contrast": 0.875, "shift": [0, 2], "hole": [32, 9]},
]


def generator_loss(mode, verdict):
    if mode == "lsgan":
        return F.mse_loss(verdict, torch.ones_like(verdict))
    if mode == "vanilla":
        return F.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))
    return -verdict.mean()


def discriminator_loss(mode, real, fake):
    if mode == "lsgan":
        parts = F.mse_loss(real, torch.ones_like(real)), F.mse_loss(fake, torch.zeros_like(fake))
    elif mode == "vanilla":
        cross_entropy = F.binary_cross_entropy_with_logits
        parts = cross_entropy(real, torch.ones_like(real)), cross_entropy(fake, torch.zeros_like(fake))
    elif mode == "wgangp":
        parts = -real.mean(), fake.mean()
    else:
        parts = F.relu(1 - real).mean(), F.relu(1 + fake).mean()
    return 0.5 * (parts[0] + parts[1])


def gradient_penalty(judge, between, weight):
    """By a double backward pass, as the official `cal_gradient_penalty` of type `mixed`."""
    between = between.detach().requires_grad_(True)
    verdict = judge(between)
    (slope,) = torch.autograd.grad(verdict, between, torch.ones_like(verdict), create_graph=True)
    norm = (slope.flatten(1) + 1e-16).norm(2, dim=1)
    return weight * ((norm - 1) ** 2).mean()


def mix(real, fake, share):
    return share * real + (1 - share) * fake


class Pool:
    """The official ImagePool with its decisions given."""

    def __init__(self, decisions):
        self.decisions = iter(decisions)
        self.images = []

    def query(self, image):
        slot = next(self.decisions)
        if len(self.images) < CONFIG["pool_size"]:
            self.images.append(image)
            return image
        if slot is None:
            return image
        old, self.images[slot] = self.images[slot], image
        return old


class Game(Training):
    """A training with an adversarial loss of choice, image pools and a falling learning rate."""

    def __init__(self, state, dtype, mode):
        super().__init__(state, dtype)
        self.mode = mode
        self.pools = {domain: Pool(decisions) for domain, decisions in POOLS.items()}
        self.number = 0
        # The smallest absolute value that met a kink.
        self.nearest = float("inf")
        for network in self.networks.values():
            for module in network.modules():
                if isinstance(module, (torch.nn.ReLU, torch.nn.LeakyReLU)):
                    module.register_forward_pre_hook(self.activate)

    def activate(self, _, values):
        self.kink(values[0])

    def kink(self, values):
        self.nearest = min(self.nearest, values.detach().abs().min().item())

    def rate(self):
        constant = int(CONFIG["steps"] * CONFIG["decay_from"])
        falling = CONFIG["steps"] - constant
        return CONFIG["learning_rate"] * min(1.0, 1.0 - (self.number - constant) / falling)

    def step(self, real_a, real_b):
        """Losses as they enter the totals, and the gradients, before the parameters change."""
        for optimiser in (self.generators, self.discriminators):
            for group in optimiser.param_groups:
                group["lr"] = self.rate()
        ab, ba, judge_a, judge_b = (self.networks[name] for name in NETWORKS)
        identity_a, identity_b = (CONFIG[name] * CONFIG["lambda_identity"] for name in ("lambda_a", "lambda_b"))

        def l1(output, target):
            self.kink(output - target)
            return F.l1_loss(output, target)

        fake_b, fake_a = ab(real_a), ba(real_b)
        losses = {
            "adversarial_ab": generator_loss(self.mode, judge_b(fake_b)),
            "adversarial_ba": generator_loss(self.mode, judge_a(fake_a)),
            "cycle_a": l1(ba(fake_b), real_a) * CONFIG["lambda_a"],
            "cycle_b": l1(ab(fake_a), real_b) * CONFIG["lambda_b"],
            "identity_a": l1(ba(real_a), real_a) * identity_a,
            "identity_b": l1(ab(real_b), real_b) * identity_b,
        }
        gradients = {}
        self.generators.zero_grad()
        sum(losses.values()).backward()
        self.keep_gradients("generator", gradients)
        self.generators.step()

        # Forgets what the generators' losses left in the discriminators.
        self.discriminators.zero_grad()
        for domain, judge, real, fake in (("a", judge_a, real_a, fake_a), ("b", judge_b, real_b, fake_b)):
            seen = self.pools[domain].query(fake.detach())
            of_real, of_seen = judge(real), judge(seen)
            if self.mode == "hinge":
                self.kink(1 - of_real)
                self.kink(1 + of_seen)
            loss = discriminator_loss(self.mode, of_real, of_seen)
            if self.mode == "wgangp":
                between = mix(real, seen, SHARES[domain][self.number])
                loss = loss + 0.5 * gradient_penalty(judge, between, CONFIG["lambda_gp"])
            losses[f"discriminator_{domain}"] = loss
            loss.backward()
        self.keep_gradients("discriminator", gradients)
        self.discriminators.step()
        self.number += 1
        return {name: loss.item() for name, loss in losses.items()}, gradients


def ignored(init, mode):
    """Parameters whose true gradient is zero, which no two implementations agree on after a step of Adam."""
    names = without_effect(init)
    if mode in ("wgangp", "hinge"):
        # What the last bias adds to the verdict on a real image it adds to that on a generated one, too. (With a hinge
        # as long as every verdict is within the margin, as they are here.)
        names += ["discriminator_a.model.11.bias", "discriminator_b.model.11.bias"]
    return names


def norms(tensors, left_out):
    return {name: value.double().norm().item() for name, value in tensors.items() if name not in left_out}


def pictures(inputs, number, scale, dtype):
    """Those of step `number`: mirrored, and their values scaled."""
    return (inputs[name].to(dtype).flip(MIRRORED[number]) * scale for name in ("real_a", "real_b"))


def scales_away_from_kinks(init, inputs, mode):
    """For every step, of some scales of its pictures, the one with which the values keep furthest from every kink:
    rounding on the other side of one changes a gradient by a whole element and, after a step of Adam, everything."""
    game = Game(init, torch.float64, mode)
    chosen = []
    for number in range(CONFIG["steps"]):
        best = None
        for scale in (1 - down / 64 for down in range(24)):
            after = copy.deepcopy(game)
            after.nearest = float("inf")
            after.step(*pictures(inputs, number, scale, torch.float64))
            if best is None or after.nearest > best.nearest:
                best, found = after, scale
        game = best
        chosen.append(found)
        print(f"{mode}, step {number}: at least {game.nearest:.1e} from a kink with the scale {found}", flush=True)
    return chosen


def train(init, inputs, mode, scales, dtype):
    """Losses of every step, the gradients of the first, and what all of them did to the parameters."""
    game = Game(init, dtype, mode)
    losses, first = [], None
    for number, scale in enumerate(scales):
        loss, gradients = game.step(*pictures(inputs, number, scale, dtype))
        losses.append(loss)
        first = first or gradients
    updates = {name: value.double() - init[name].double() for name, value in game.state().items()}
    return losses, {"gradient": first, "update": updates}


def penalty(init, inputs, dtype):
    """The penalty alone, of discriminator_a on two samples with a share each."""
    judge = Training(init, dtype).networks["discriminator_a"]
    real = torch.cat([inputs["real_a"], inputs["real_b"]]).to(dtype)
    share = torch.tensor(PENALTY_SHARES, dtype=dtype).reshape(2, 1, 1, 1)
    value = gradient_penalty(judge, mix(real, real.flip(0, 3), share), CONFIG["lambda_gp"])
    value.backward()
    # A bias behind which no value is left, like the last, has none.
    gradients = {
        f"discriminator_a.{name}": parameter.grad
        for name, parameter in judge.named_parameters()
        if parameter.grad is not None
    }
    return value.item(), gradients


def diff_augment(picture, draw):
    """Zhao et al. 2020 with the policy `color,translation,cutout`, by its definition."""
    x = picture + draw["brightness"]
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * draw["saturation"] + grey
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    x = (x - mean) * draw["contrast"] + mean
    sides = x.shape[2:]
    # A border of zeros, from which all outside is taken.
    grid = [(torch.arange(side) + by + 1).clamp(0, side + 1) for side, by in zip(sides, draw["shift"])]
    x = F.pad(x, [1, 1, 1, 1])[:, :, grid[0]][:, :, :, grid[1]]
    hole = [
        (torch.arange(side // 2) + at - side // 2 // 2).clamp(0, side - 1) for side, at in zip(sides, draw["hole"])
    ]
    mask = torch.ones(sides, dtype=x.dtype)
    mask[hole[0][:, None], hole[1][None, :]] = 0
    return x * mask


def augmented(inputs, dtype):
    """A part of the rectangle as every draw changes it, and the gradient of its product with another part."""
    whole = inputs["rectangle"].to(dtype)
    found = {"diff_augment.output": [], "diff_augment.gradient": []}
    for draw in DRAWS:
        picture = whole[:, :, :32, :20].clone().requires_grad_(True)
        output = diff_augment(picture, draw)
        (output * whole[:, :, 32:, 20:40]).sum().backward()
        found["diff_augment.output"].append(output.detach())
        found["diff_augment.gradient"].append(picture.grad)
    return {name: torch.cat(values) for name, values in found.items()}


def compute(init, inputs, scales, dtype):
    """The numbers and the tensors, and the whole of what they are made of."""
    numbers, tensors, everything = {"losses": {}, "gradient_norms": {}, "update_norms": {}}, {}, {}
    for mode in MODES:
        left_out = ignored(init, mode)
        losses, found = train(init, inputs, mode, scales[mode], dtype)
        numbers["losses"][mode] = losses
        for what, values in found.items():
            numbers[f"{what}_norms"][mode] = norms(values, left_out)
            kept = {name: values[name] for name in WHOLE if name not in left_out}
            tensors |= {f"{mode}.{what}.{name}": value for name, value in kept.items()}
            everything |= {f"{mode}.{what}.{name}": v for name, v in values.items() if name not in left_out}
    value, gradients = penalty(init, inputs, dtype)
    left_out = ignored(init, "wgangp")
    numbers["penalty"] = {"value": value, "gradient_norms": norms(gradients, left_out)}
    kept = {name: gradients[name] for name in WHOLE if name in gradients and name not in left_out}
    tensors |= {f"penalty.gradient.{name}": value for name, value in kept.items()}
    everything |= {f"penalty.gradient.{name}": v for name, v in gradients.items() if name not in left_out}
    return numbers, tensors | augmented(inputs, dtype), everything


def far(found, expected):
    """The largest relative distance of two sets of tensors."""
    distance = lambda name: (found[name].double() - expected[name].double()).norm() / expected[name].double().norm()
    return max(distance(name).item() for name in expected)


def far_numbers(found, expected):
    """The largest relative distance of numbers in two trees, of which small ones are measured by 0.1."""
    if isinstance(expected, dict):
        return max(far_numbers(found[name], value) for name, value in expected.items())
    if isinstance(expected, list):
        return max(far_numbers(*pair) for pair in zip(found, expected, strict=True))
    return abs(found - expected) / max(abs(expected), 0.1)


def start():
    return load_file(GOLDEN / "init.safetensors"), load_file(GOLDEN / "inputs.safetensors")


def stored():
    """What describes the values, as config.json does for golden.py's."""
    return {
        **CONFIG,
        "pools": POOLS,
        "shares": SHARES,
        "mirrored": MIRRORED,
        "penalty_shares": PENALTY_SHARES,
        "draws": DRAWS,
    }


def write():
    init, inputs = start()
    scales = {mode: scales_away_from_kinks(init, inputs, mode) for mode in MODES}
    numbers, tensors, everything = compute(init, inputs, scales, torch.float64)
    single_numbers, single, single_everything = compute(init, inputs, scales, torch.float32)
    kind = lambda values, what: {name: value for name, value in values.items() if f".{what}." in name}
    numbers["pytorch_float32"] = {
        "version": torch.__version__,
        "gradient_relative_norm": far(kind(single_everything, "gradient"), kind(everything, "gradient")),
        "update_relative_norm": far(kind(single_everything, "update"), kind(everything, "update")),
        "diff_augment_relative_norm": far(single, {name: tensors[name] for name in tensors if "diff_augment" in name}),
        "losses": far_numbers(single_numbers["losses"], numbers["losses"]),
    }
    save_weights({name: value.float().contiguous() for name, value in tensors.items()}, GOLDEN / "steps.safetensors")
    save_json("steps.json", {**stored(), "scales": scales, **numbers})
    print(json.dumps({"scales": scales, **numbers["pytorch_float32"]}, indent=1))


def check():
    init, inputs = start()
    committed = json.loads((GOLDEN / "steps.json").read_text())
    numbers, tensors, _ = compute(init, inputs, committed["scales"], torch.float64)
    wrong = [name for name, value in stored().items() if committed[name] != value]
    kept = load_file(GOLDEN / "steps.safetensors")
    if kept.keys() != tensors.keys():
        wrong.append("the names in steps.safetensors")
    else:
        updates = {name for name in kept if ".update." in name}
        # What is left is the rounding of the stored float32 values.
        found = {
            "tensors": (far(tensors, {name: kept[name] for name in kept.keys() - updates}), 1e-6),
            "updates": (far(tensors, {name: kept[name] for name in updates}), 1e-5),
            "numbers": (far_numbers(numbers, {name: committed[name] for name in numbers}), 1e-9),
        }
        print(f"PyTorch {torch.__version__}: {json.dumps({name: value for name, (value, _) in found.items()})}")
        wrong += [name for name, (value, limit) in found.items() if not value <= limit]
    if wrong:
        sys.exit(f"The committed golden values are not those of this PyTorch: {', '.join(wrong)}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    torch.set_num_threads(1)
    check() if parser.parse_args().check else write()
