#!/usr/bin/env python3
"""Whether PyTorch takes our weight files, and computes the same with them.

    check_strict.py FILE.safetensors ...
        loads each with load_state_dict(strict=True) into the official architecture
    check_strict.py --expected EXPECTED.safetensors FILE.safetensors
        also runs the network on the tensor `input` of EXPECTED and compares with its `output`

Prints a line a file; exits with 1 when one is not taken or differs.
"""

import argparse
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from networks import network_for


def strictly_loaded(path):
    state = load_file(path)
    network = network_for(state)
    network.load_state_dict(state, strict=True)
    return network.eval()


@torch.no_grad()
def worst_difference(network, path):
    expected = load_file(path)
    output = network(expected["input"].float())
    if output.shape != expected["output"].shape:
        raise ValueError(f"the output has shape {list(output.shape)}, not {list(expected['output'].shape)}")
    return (output - expected["output"].float()).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--expected", help="tensors `input` and `output`, [1, channels, height, width]")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest absolute difference (%(default)s)")
    arguments = parser.parse_args()
    failed = 0
    for path in arguments.files:
        try:
            network = strictly_loaded(path)
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            count = sum(parameter.numel() for parameter in network.parameters())
            line = f"{metadata.get('architecture', type(network).__name__)}, {count} parameters, strict keys"
            if arguments.expected:
                difference = worst_difference(network, arguments.expected)
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
