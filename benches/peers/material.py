"""What every contender is given: weights, pictures, the same generator as ONNX, and PyTorch's answer in float64."""

import hashlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/reference"))
from networks import network_for


class Material:
    """Files in `folder`, made when they are first asked for; a new set for new initial weights."""

    def __init__(self, folder, networks):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([networks, "prepare", folder], check=True)
        weights = folder / "generator.safetensors"
        self.folder = folder / hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
        self.folder.mkdir(exist_ok=True)
        for other in folder.iterdir():
            if other.is_dir() and other != self.folder:
                shutil.rmtree(other)
        self.generator, self.training = (
            (folder / name).replace(self.folder / name) for name in ("generator.safetensors", "training.safetensors")
        )

    def picture(self, side, seed=0):
        """Paths of one picture as RGBA8 and as planes of float32 (level / 127.5 − 1): soft shapes and noise."""
        pixels, planes = (self.folder / f"picture{seed}_{side}.{kind}" for kind in ("rgba", "f32"))
        if not planes.exists():
            random = numpy.random.default_rng(seed)
            y, x = numpy.mgrid[0:side, 0:side] / side
            waves = [numpy.sin(random.uniform(2, 9) * x + random.uniform(2, 9) * y + phase) for phase in range(3)]
            levels = 127.5 + 90 * numpy.stack(waves) + random.normal(0, 20, (3, side, side))
            levels = numpy.clip(levels.round(), 0, 255).astype(numpy.uint8)
            opaque = numpy.full((1, side, side), 255, numpy.uint8)
            numpy.concatenate([levels, opaque]).transpose(1, 2, 0).tofile(pixels)
            (levels.astype(numpy.float32) / numpy.float32(127.5) - numpy.float32(1)).tofile(planes)
        return pixels, planes

    def network(self):
        state = load_file(self.generator)
        network = network_for(state)
        network.load_state_dict(state, strict=True)
        return network.eval()

    def input(self, side):
        return torch.from_numpy(numpy.fromfile(self.picture(side)[1], numpy.float32).reshape(1, 3, side, side))

    def onnx(self, side):
        path = self.folder / f"generator_{side}.onnx"
        if not path.exists():
            names = {"input_names": ["input"], "output_names": ["output"]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # The older exporter keeps an instance norm one operation, which is what the runtimes are fast at.
                torch.onnx.export(self.network(), (self.input(side),), str(path), dynamo=False, **names)
        return path

    @torch.inference_mode()
    def reference(self, side):
        path = self.folder / f"reference_{side}.npy"
        if not path.exists():
            output = self.network().double()(self.input(side).double())
            numpy.save(path, output[0].numpy())
        return numpy.load(path)
