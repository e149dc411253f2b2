#!/usr/bin/env python3
"""Whether PyTorch and onnxruntime take our weight files, and compute the same with them.

    check_strict.py FILE ...
        loads each .safetensors or .pth (weights_only=True) with load_state_dict(strict=True) into the
        official architecture, each .onnx into onnxruntime
    check_strict.py --expected EXPECTED.safetensors --expected … FILE ...
        also runs the network on the tensor `input` of each EXPECTED and compares with its `output`

Prints a line a file; exits with 1 when one is not taken or differs.
"""

import argparse
import sys

import numpy
import onnxruntime
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from networks import network_for


class Strict:
    """A network of PyTorch with exactly the file's tensors."""

    def __init__(self, path):
        self.metadata = {}
        if path.endswith(".safetensors"):
            state = load_file(path)
            with safe_open(path, "pt") as file:
                self.metadata = file.metadata() or {}
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network = network_for(state)
        network.load_state_dict(state, strict=True)
        self.network = network.eval()

    def __str__(self):
        count = sum(parameter.numel() for parameter in self.network.parameters())
        return f"{self.metadata.get('architecture', type(self.network).__name__)}, {count} parameters, strict keys"

    @torch.no_grad()
    def run(self, planes):
        return self.network(torch.from_numpy(planes)).numpy()


class Graph:
    """A network in onnxruntime."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        [self.image], [self.translated] = self.session.get_inputs(), self.session.get_outputs()
        for side in (0, 2, 3):
            if not isinstance(self.image.shape[side], str):
                raise ValueError(f"axis {side} is fixed at {self.image.shape[side]}")

    def __str__(self):
        return f"{self.metadata.get('architecture', 'graph')}, {self.image.shape} to {self.translated.shape}"

    def run(self, planes):
        return self.session.run(None, {self.image.name: planes})[0]


def worst_difference(network, path):
    expected = {name: tensor.float().numpy() for name, tensor in load_file(path).items()}
    output = network.run(expected["input"])
    if output.shape != expected["output"].shape:
        raise ValueError(f"the output has shape {list(output.shape)}, not {list(expected['output'].shape)}")
    return numpy.abs(output - expected["output"]).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    help = "tensors `input` and `output`, [batch, channels, height, width]; any number of times"
    parser.add_argument("--expected", action="append", default=[], help=help)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest absolute difference (%(default)s)")
    arguments = parser.parse_args()
    failed = 0
    for path in arguments.files:
        try:
            network = Graph(path) if path.endswith(".onnx") else Strict(path)
            line = str(network)
            for expected in arguments.expected:
                difference = worst_difference(network, expected)
                line += f", worst difference {difference:.2e}"
                # Not `>`: NaN must fail.
                if not difference <= arguments.tolerance:
                    raise ValueError(f"the output differs by {difference:.2e}, more than {arguments.tolerance:.0e}")
            print(f"{path}: {line}")
        except Exception as error:
            failed += 1
            print(f"{path}: FAILED: {error}", file=sys.stderr)
    print(f"{len(arguments.files) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
