#!/usr/bin/env python3
"""Writes tests/fixtures/weights/pytorch/: one small generator in the many ways in which people save it.

    make_weights.py

Every value is one that bfloat16 holds exactly, so that each file gives the same network bit by bit.
`hostile/` has files that would do harm if a reader executed them; they only ever make a file `/tmp/pwned`.
"""

import collections
import os
import pickle
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from networks import Discriminator, Generator, norm

FOLDER = Path(__file__).resolve().parent.parent / "fixtures/weights/pytorch"


def rounded(network):
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.bfloat16().float())
    return network


def generator(seed, affine=False):
    torch.manual_seed(seed)
    network = Generator(ngf=2, n_blocks=2, affine=affine)
    for name, parameter in network.named_parameters():
        if affine and parameter.dim() == 1:
            nn.init.normal_(parameter, 1.0, 0.2)
    return rounded(network)


def renamed(state, rename):
    return collections.OrderedDict((rename(name), tensor) for name, tensor in state.items())


def foreign(name):
    """The layers as attributes of other people's modules."""
    _, position, *rest = name.split(".")
    position = int(position)
    names = {1: "initial.1", 4: "down.0.conv", 7: "down.1.conv", 12: "up.0.conv", 15: "up.1.conv", 19: "output.1"}
    if rest[0] == "conv_block":
        half = {"1": "conv1", "5": "conv2"}[rest[1]]
        return f"resnet_blocks.{position - 10}.{half}.{rest[2]}"
    return f"{names[position]}.{rest[0]}"


def with_dropout(name):
    return name.replace("conv_block.5.", "conv_block.6.")


def with_running_statistics(state):
    """As InstanceNorm2d(track_running_stats=True) of old versions left them behind."""
    widths = {2: 2, 5: 4, 8: 8, 13: 4, 16: 2}
    out = collections.OrderedDict()
    for name, tensor in state.items():
        out[name] = tensor
        parts = name.split(".")
        position = int(parts[1]) + 1
        layer = f"model.{position}"
        if parts[2] == "conv_block":
            layer, width = f"model.{parts[1]}.conv_block.{int(parts[3]) + 1}", 8
        elif position in widths:
            width = widths[position]
        else:
            continue
        if parts[-1] == "bias":
            out[f"{layer}.running_mean"] = torch.zeros(width)
            out[f"{layer}.running_var"] = torch.ones(width)
            out[f"{layer}.num_batches_tracked"] = torch.tensor(7)
    return out


def is_before_norm(name):
    parts = name.split(".")
    return int(parts[3]) in (1, 5) if parts[2] == "conv_block" else int(parts[1]) in (1, 4, 7, 12, 15)


def in_one_storage(state):
    """All tensors as views of one, the convolutions with their last axes turned."""
    run = torch.zeros(3 + sum(tensor.numel() for tensor in state.values()))
    out, at = collections.OrderedDict(), 3
    for name, tensor in state.items():
        turned = tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor
        view = run[at : at + tensor.numel()].view(turned.shape)
        view.copy_(turned)
        out[name] = view.permute(0, 3, 1, 2) if tensor.dim() == 4 else view
        at += tensor.numel()
    assert not out["model.1.weight"].is_contiguous()
    return out


class Unet(nn.Module):
    """The official names and shapes of a small U-Net: each level holds the next."""

    def __init__(self, inner, outer, submodule, outermost=False, inputs=None):
        super().__init__()
        down = nn.Conv2d(inputs or outer, inner, 4, 2, 1)
        up_in = inner if submodule is None else 2 * inner
        up = nn.ConvTranspose2d(up_in, outer, 4, 2, 1)
        layers = [nn.LeakyReLU(0.2), down] + ([submodule] if submodule else []) + [nn.ReLU(), up, norm(outer)]
        if outermost:
            layers = [down, submodule, nn.ReLU(), up, nn.Tanh()]
        self.model = nn.Sequential(*layers)


class System:
    def __reduce__(self):
        return os.system, ("touch /tmp/pwned",)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "hostile").mkdir(parents=True)
    a, b, affine = generator(1), generator(2), generator(3, affine=True)
    torch.manual_seed(4)
    judge = rounded(Discriminator(ndf=2, n_layers=2))
    state, state_b = a.state_dict(), b.state_dict()
    save_file(dict(state), FOLDER / "expected.safetensors")
    save_file(dict(affine.state_dict()), FOLDER / "expected_affine.safetensors")

    save = lambda name, contents, **options: torch.save(contents, FOLDER / name, **options)
    old = {"_use_new_zipfile_serialization": False}
    save("zip.pth", state)
    save("legacy.pth", state, **old)
    save("protocol4.pth", state, pickle_protocol=4)
    save("data_parallel.pth", renamed(state, lambda name: "module." + name))
    save("block.pth", renamed(state, lambda name: name.replace("conv_block.", "block.")))
    save("dropout.pth", renamed(state, with_dropout))
    save("foreign.pth", renamed(state, foreign))
    save("no_bias.pth", collections.OrderedDict((n, t) for n, t in state.items() if "bias" not in n or "19" in n))
    save("running.pth", with_running_statistics(state), **old)
    save("affine.pth", affine.state_dict())
    batch = collections.OrderedDict()
    for name, tensor in affine.state_dict().items():
        if tensor.dim() == 4 or "19" in name or not is_before_norm(name):
            batch[name] = tensor
        if tensor.dim() == 1 and name.endswith("bias") and not is_before_norm(name) and "19" not in name:
            batch[name.replace("bias", "running_mean")] = torch.zeros_like(tensor)
            batch[name.replace("bias", "running_var")] = torch.ones_like(tensor)
    save("batch_norm.pth", batch)
    save("strided.pth", in_one_storage(state))
    save("strided_legacy.pth", in_one_storage(state), **old)
    for name, dtype in {"f16": torch.half, "bf16": torch.bfloat16, "f64": torch.double}.items():
        save(f"{name}.pth", collections.OrderedDict((key, tensor.to(dtype)) for key, tensor in state.items()))
    save("parameters.pth", dict(a.named_parameters()))
    optimizer = torch.optim.Adam(a.parameters())
    a(torch.zeros(1, 3, 16, 16)).sum().backward()
    optimizer.step()
    a = generator(1)
    checkpoint = {
        "epoch": 3,
        "loss": 0.25,
        "size": torch.Size([16, 16]),
        "netG_A": a.state_dict(),
        "netG_B": renamed(state_b, lambda name: "module." + name),
        "netD_A": judge.state_dict(),
        "optimizer_G": optimizer.state_dict(),
    }
    save("checkpoint.pth", checkpoint)
    both = renamed(a.state_dict(), lambda name: "generator." + name)
    both.update(renamed(judge.state_dict(), lambda name: "discriminator." + name))
    save("lightning.pth", {"state_dict": both, "hyper_parameters": {"lr": 2e-4, "betas": (0.5, 0.999)}}, **old)
    save("discriminator.pth", judge.state_dict())
    wide = a.state_dict()
    wide["model.4.weight"] = torch.zeros(4, 3, 3, 3)
    save("misfit.pth", wide)
    wide = renamed(wide, foreign)
    save("misfit_foreign.pth", wide)

    level = Unet(8, 4, None)
    for inner, outer in ((4, 2),):
        level = Unet(inner, outer, level)
    save("unet.pth", Unet(2, 3, level, outermost=True).state_dict())

    hostile = FOLDER / "hostile"
    torch.save({"netG": a.state_dict(), "x": System()}, hostile / "system.pth")
    torch.save({"netG": a.state_dict(), "x": System()}, hostile / "system_legacy.pth", **old)
    torch.save(nn.Conv2d(1, 1, 1), hostile / "module.pth")
    (hostile / "plain.pkl").write_bytes(pickle.dumps(System(), protocol=2))
    for path in sorted(FOLDER.rglob("*")):
        print(f"{path.stat().st_size:8d} {path.relative_to(FOLDER)}")


if __name__ == "__main__":
    main()
