#!/usr/bin/env python3
"""Writes small generators as PyTorch exports them to ONNX, by both of its exporters, at several opsets.

    make_onnx.py            writes tests/fixtures/weights/onnx/ anew: needs PyTorch 2.9 or later with onnxscript
    make_onnx.py FOLDER     writes what the PyTorch at hand can export

Beside each `NAME.*.onnx` stand `NAME.safetensors`, the official `state_dict`, and `NAME.expected.safetensors` with the
tensors `input` and `output`, computed by PyTorch in 32 bits. Values are exact in 16 bits, so that all exports of a
network are of the same weights.
"""

import importlib.util
import inspect
import shutil
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import golden_networks
from networks import Generator

FOLDER = Path(__file__).resolve().parent.parent / "fixtures/weights/onnx"
IS_RECENT = "dynamo" in inspect.signature(torch.onnx.export).parameters
HAS_BOTH = IS_RECENT and importlib.util.find_spec("onnxscript") is not None


def filled(network, seed):
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.dim() == 4 and parameter.shape[0] > 1:
            fan = parameter[0].numel()
            nn.init.uniform_(parameter, -((6 / fan) ** 0.5), (6 / fan) ** 0.5)
        elif name.endswith("weight"):
            nn.init.uniform_(parameter, 0.7, 1.3)
        else:
            nn.init.uniform_(parameter, -0.3, 0.3)
        with torch.no_grad():
            parameter.copy_(parameter.half().float())
    return network.eval()


def resnet(affine=False, **changes):
    style = {"separable": False, "upsample": "transposed", "norm": "instance", **changes}
    return golden_networks.Resnet(3, 3, 2, 1, affine, style)


def zero_biases(network):
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return network


def with_dropout(network):
    block = network.model[10].conv_block
    layers = list(block)
    block = nn.Sequential(*layers[:4], nn.Dropout(0.5), *layers[4:])
    network.model[10].conv_block = block
    return network.eval()


class WrittenOut(nn.Module):
    """An instance norm as people write it themselves."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(1, channels, 1, 1))

    def forward(self, x):
        centred = x - x.mean((2, 3), keepdim=True)
        variance = (centred * centred).mean((2, 3), keepdim=True)
        return centred / torch.sqrt(variance + 1e-5) * self.weight + self.bias


def written_out():
    network = resnet(affine=True)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, WrittenOut(child.num_features))
    return network


def batch_norm():
    """As `--norm batch` of the official code: the exporters fold into convolutions what they can."""
    network = resnet(affine=True)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm2d):
                norm = nn.BatchNorm2d(child.num_features)
                nn.init.uniform_(norm.running_mean, -0.2, 0.2)
                setattr(module, name, norm)
    return network


def zero_padding():
    """As `--padding zeros` of some programs."""
    network = filled(Generator(ngf=2, n_blocks=1), 9)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReflectionPad2d):
                setattr(module, name, nn.ZeroPad2d(child.padding))
    return network


OLD, NEW = (10, 17), (18, 20)


def cases():
    """Name, network, side of the picture, opsets of the older and of the newer exporter, types."""
    floats = (torch.float, torch.half)
    unet = golden_networks.Unet(3, 3, 2, 5, "instance", True)
    return [
        ("resnet", filled(resnet(), 1), 16, OLD, NEW, floats),
        ("affine", filled(resnet(affine=True), 2), 16, OLD, NEW, floats),
        ("zero_biases", zero_biases(filled(resnet(), 3)), 16, (17,), (18,), floats[:1]),
        ("dropout", with_dropout(filled(resnet(), 4)), 16, (17,), (18,), floats[:1]),
        ("separable", filled(resnet(affine=True, separable=True), 5), 16, (17,), (18,), floats[:1]),
        ("resize", filled(resnet(upsample="resize"), 6), 16, OLD, (18,), floats[:1]),
        ("without_norm", filled(resnet(norm="none"), 7), 16, (17,), (18,), floats[:1]),
        ("written_out", filled(written_out(), 11), 16, (17,), (18,), floats[:1]),
        ("unet", filled(unet, 8), 32, (17,), (18,), floats[:1]),
        ("refused_batch_norm", filled(batch_norm(), 10), 16, (17,), (18,), floats[:1]),
        ("refused_zero_padding", zero_padding(), 16, (17,), (18,), floats[:1]),
    ]


def noise(side):
    values = torch.arange(3 * side * side) * 7919 % 2003
    return (values.float() / 1001.0 - 1.0).reshape(1, 3, side, side)


def export(network, dtype, side, path, opset, dynamo):
    network, image = network.to(dtype), noise(side).to(dtype)
    options = dict(input_names=["image"], output_names=["translated"], opset_version=opset)
    if dynamo:
        # Weights in a second file are what it does unless told otherwise.
        external = path.name.startswith("affine.new18")
        sides = {0: "batch", 2: "height", 3: "width"} if "20" in path.name else None
        options.update(dynamo=True, external_data=external, verbose=False)
        options.update(dynamic_shapes=[{k: torch.export.Dim.DYNAMIC for k in sides}] if sides else None)
    else:
        axes = {0: "batch", 2: "height", 3: "width"}
        options.update(dynamic_axes={"image": axes, "translated": axes} if opset > 10 else None)
        options.update(dynamo=False) if IS_RECENT else None
    torch.onnx.export(network, (image,), str(path), **options)
    network.float()


def without_remarks(path):
    """The newer exporter writes where in the sources each node comes from: that is most of a small file."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    del model.graph.value_info[:]
    for part in [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    path.write_bytes(model.SerializeToString())


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    if folder == FOLDER:
        assert HAS_BOTH, "the fixtures are of both exporters: PyTorch 2.9 or later is needed"
        shutil.rmtree(FOLDER, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name, network, side, old, new, dtypes in cases():
        with torch.no_grad():
            expected = {"input": noise(side), "output": network(noise(side))}
        if not name.startswith("refused"):
            save_file(expected, folder / f"{name}.expected.safetensors")
            state = {key: tensor.flatten() if tensor.shape[0] == 1 else tensor for key, tensor in network.state_dict().items()}
            save_file(state, folder / f"{name}.safetensors")
        exports = [("old", opset) for opset in old] + [("new", opset) for opset in new if HAS_BOTH]
        for kind, opset in exports:
            for dtype in dtypes:
                bits = "f16" if dtype == torch.half else "f32"
                path = folder / f"{name}.{kind}{opset}.{bits}.onnx"
                try:
                    export(network, dtype, side, path, opset, kind == "new")
                    if folder == FOLDER:
                        without_remarks(path)
                except RuntimeError as error:
                    # PyTorch before 2.0 has no 16-bit convolutions on a processor, which its older exporter runs.
                    if IS_RECENT or dtype == torch.float:
                        raise
                    network.float()
                    print(f"{path.name}: not exported, {str(error).splitlines()[0]}")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:8d} {path.name}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
