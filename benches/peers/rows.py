"""The rows of the table. Each is a generator of results; its first line of documentation is what `--help` says."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

from contender import QUIET, Contender, Failed, interleave, others, ratio
from material import Material

HERE = Path(__file__).resolve().parent

# Largest relative difference of a loss term in the first step, and in the second, which shows the first one's update.
# Adam's first step is the gradient's sign: it makes whole steps of rounding where a gradient is nearly zero, so
# PyTorch in float32 is itself 1e-3 from PyTorch in float64 there. A wrong gradient is off by several percent.
LOSS_TOLERANCES = (1e-4, 1e-2)


class Bench:
    """What the rows share: files, programs, and who is running."""

    def __init__(self, root, programs, dist, rounds):
        self.work = root / "target/peers"
        self.programs, self.dist, self.rounds = programs, dist, rounds
        self.material = Material(self.work / "material", programs["networks"])
        self.running, self.versions = [], {}
        # Threads that spin while they wait are quick on a quiet machine and fall apart on a busy one (PyTorch's
        # training step: 3 s against 20 s): there they are told to sleep.
        self.crowded = others(2.0) > QUIET

    def turns(self, usual):
        return self.rounds or usual

    def start(self, name, threads, command, environment=None):
        """Starts a contender and waits until it is warm."""
        label = re.sub(r"\W+", "-", f"{name}-{threads}").strip("-")
        output = self.work / f"{label}.output"
        output.unlink(missing_ok=True)
        environment = {f"{kind}_NUM_THREADS": str(threads) for kind in ("RAYON", "OMP", "MKL")} | (environment or {})
        if self.crowded:
            environment |= {"OMP_WAIT_POLICY": "PASSIVE", "ORT_SPINNING": "0"}
        contender = Contender(
            name,
            threads,
            [str(part).replace("OUTPUT", str(output)) for part in command],
            log=self.work / f"{label}.log",
            environment={**os.environ, **environment},
            output=output,
            ours=name.startswith("ours"),
        )
        self.running.append(contender)
        for key in ("version", "browser"):
            if key in contender.ready:
                self.versions["chromium" if key == "browser" else name.split()[0]] = contender.ready[key]
        return contender

    def python(self, name, script, *arguments, threads, options=()):
        return self.start(name, threads, [sys.executable, HERE / script, *arguments, threads, *options])

    def native(self, name, *arguments, threads, backend="flex", environment=None):
        command = [self.programs["networks"], *arguments, "--backend", backend]
        return self.start(name, threads, command, environment=environment or {})

    def page(self, name, kind, threads=1, isolated=False, **spec):
        if kind in ("ours", "training") and not (self.dist / "worker_loader.js").exists():
            raise Failed(f"{self.dist} holds no built page: run `make build` first")
        folder = self.material.folder
        where = {"dist": str(self.dist), "folder": str(folder), "output": "OUTPUT", "isolated": isolated}
        named = {key: path_below(value, folder) for key, value in spec.items()}
        spec = {"kind": kind, "threads": threads, **where, **named}
        return self.start(name, threads, ["node", HERE / "browser.js", json.dumps(spec)])

    def close(self):
        for contender in self.running:
            contender.close()
        self.running = []


def path_below(value, folder):
    """Paths as the page asks for them."""
    if isinstance(value, list):
        return [path_below(part, folder) for part in value]
    return str(value.relative_to(folder)) if isinstance(value, Path) else value


def compared(work, contenders, against, goal, disturbance):
    """A result: our time over that of the faster of `against`, in the same rounds."""
    ours = next(contender for contender in contenders if contender.ours)
    rivals = [contender for contender in contenders if contender in against]
    fastest = min(rivals, key=lambda contender: contender.median)
    return {
        "work": work,
        "contenders": [contender.record() for contender in contenders],
        "ratio": round(ratio(ours, fastest), 3),
        "over": fastest.name,
        "goal": goal,
        "others": disturbance,
    }


def forward_native(bench):
    """native CPU forward 256², against onnxruntime and PyTorch, 1 and 2 threads"""
    side, material = 256, bench.material
    _, planes = material.picture(side)
    everyone = []
    for threads in (1, 2):
        everyone += [
            bench.native("ours", "forward", material.generator, planes, side, "OUTPUT", threads=threads),
            bench.python("onnxruntime", "peer_onnxruntime.py", material.onnx(side), planes, side, "OUTPUT", threads=threads),
            bench.python("PyTorch", "peer_torch.py", "forward", material.generator, planes, side, "OUTPUT", threads=threads),
        ]
    for contender in everyone:
        contender.check(material.reference(side))
    disturbance = interleave(everyone, bench.turns(9))
    for count, group in (("1 thread", everyone[:3]), ("2 threads", everyone[3:])):
        yield compared(f"native CPU forward 256², {count}", group, group[1:], 0.9, disturbance)


def step_native(bench):
    """native CPU training step 128², against PyTorch, 1 and 2 threads"""
    side, material = 128, bench.material
    pictures = [material.picture(side, seed)[1] for seed in (0, 1)]
    for threads, count in ((1, "1 thread"), (2, "2 threads")):
        ours = bench.native("ours", "step", *pictures, side, threads=threads)
        torch = bench.python("PyTorch", "peer_torch.py", "step", material.training, *pictures, side, threads=threads)
        difference = same_losses(ours.ready["losses"], torch.ready["losses"], "our training step and PyTorch's")
        disturbance = interleave([ours, torch], bench.turns(5))
        found = compared(f"native CPU training step 128², {count}", [ours, torch], [torch], 0.9, disturbance)
        yield {**found, "losses": difference}
        bench.close()


def same_losses(found, expected, who, tolerances=LOSS_TOLERANCES):
    """The largest relative difference of any loss term, step by step."""
    worst = []
    for step, (new, old, tolerance) in enumerate(zip(found, expected, tolerances, strict=True)):
        difference, name = max((abs(new[name] - old[name]) / abs(old[name]), name) for name in old)
        worst.append(difference)
        if not difference <= tolerance:
            raise Failed(f"{who} differ in step {step + 1}: {name} by {difference:.1e} of itself, allowed {tolerance:.0e}")
    return worst


def forward_wasm(bench):
    """browser wasm forward 256², against onnxruntime-web and tfjs, 1 and 2 threads"""
    side, material = 256, bench.material
    pixels, planes = material.picture(side)
    ours = {"backend": "flex", "side": side, "weights": material.generator, "pixels": pixels}
    onnx = {"provider": "wasm", "side": side, "model": material.onnx(side), "planes": planes}
    one = [
        # Without isolation there is no shared memory, so there are no threads.
        bench.page("ours (wasm)", "ours", **ours),
        bench.page("onnxruntime-web (wasm)", "onnxruntime", **onnx),
        bench.page("tfjs (wasm)", "tfjs", provider="wasm", side=side, weights=material.generator, planes=planes),
    ]
    two = []
    threaded = bench.page("ours (wasm)", "ours", threads=2, isolated=True, **ours)
    if re.search("thread", threaded.ready["device"], re.I):
        two = [threaded, bench.page("onnxruntime-web (wasm)", "onnxruntime", threads=2, isolated=True, **onnx)]
    for contender in one + two:
        contender.check(material.reference(side))
    disturbance = interleave(one + two, bench.turns(5))
    yield compared("browser wasm forward 256², 1 thread", one, one[1:2], 0.6, disturbance)
    if two:
        yield compared("browser wasm forward 256², 2 threads", two, two[1:], 0.6, disturbance)
    else:
        yield {"work": "browser wasm forward 256², 2 threads", "note": "this build of ours has no threads", "goal": 0.6}


def forward_webgpu(bench):
    """browser WebGPU forward 64² on the software adapter, against onnxruntime-web and tfjs"""
    side, material = 64, bench.material
    pixels, planes = material.picture(side)
    gpu = {"webgpu": True, "side": side}
    everyone = [
        bench.page("ours (WebGPU)", "ours", backend="wgpu", weights=material.generator, pixels=pixels, **gpu),
        bench.page("onnxruntime-web (WebGPU)", "onnxruntime", provider="webgpu", model=material.onnx(side), planes=planes, **gpu),
        bench.page("tfjs (WebGPU)", "tfjs", provider="webgpu", weights=material.generator, planes=planes, **gpu),
    ]
    for contender in everyone:
        contender.check(material.reference(side))
    disturbance = interleave(everyone, bench.turns(3))
    yield compared("WebGPU software adapter, forward 64²", everyone, everyone[1:], 0.3, disturbance)


# Large enough that arithmetic and not the number of launches decides, small enough for a software adapter.
SMALL = {"size": 64, "load_size": 64, "flip": False, "ngf": 16, "n_blocks": 6, "ndf": 16, "seed": 1, "preview_every": 0}


def step_browser(bench):
    """browser training step over six forward passes, WebGPU (software adapter) and wasm, 64², ngf 16, 6 blocks"""
    pictures = [bench.material.picture(SMALL["size"], seed)[0] for seed in (0, 1)]
    spec = {"config": SMALL, "pixels": pictures}
    gpu = bench.page("ours (WebGPU)", "training", backend="wgpu", webgpu=True, **spec)
    cpu = bench.page("ours (wasm)", "training", backend="flex", **spec)
    difference = same_losses(gpu.ready["losses"], cpu.ready["losses"], "the training steps on WebGPU and on wasm")
    disturbance = interleave([gpu, cpu], bench.turns(3))
    for where, contender, goal in (("WebGPU", gpu, 3.5), ("wasm", cpu, None)):
        yield {
            "work": f"{where} training step over six forwards",
            "contenders": [contender.record()],
            "forwards": round(statistics.median(answer["forwards"] for answer in contender.answers), 2),
            "ratio": round(statistics.median(a["milliseconds"] / a["forwards"] for a in contender.answers), 3),
            "over": "six forward passes",
            "goal": goal,
            "others": disturbance,
            "losses": difference,
        }


def cost_per_pixel(bench):
    """native cost per pixel from 64² to 512² (1024² with SIDES=64,…,1024), 2 threads"""
    sides = [int(side) for side in os.environ.get("SIDES", "64,128,256,512").split(",")]
    generator, everyone = bench.material.generator, []
    for side in sides:
        planes = bench.material.picture(side)[1]
        everyone.append(bench.native(f"ours {side}²", "forward", generator, planes, side, "OUTPUT", threads=2))
        if side <= 512:
            everyone[-1].check(bench.material.reference(side))
    # As many pixels a turn for everyone.
    disturbance = interleave(everyone, bench.turns(5), [max(sides) ** 2 // side**2 for side in sides])
    costs = [contender.median * 1e6 / side**2 for contender, side in zip(everyone, sides)]
    yield {
        "work": f"cost per pixel, {sides[0]}² to {sides[-1]}²: dearest over cheapest",
        "contenders": [contender.record() for contender in everyone],
        "nanoseconds_per_pixel": {side: round(cost) for side, cost in zip(sides, costs)},
        "ratio": round(max(costs) / min(costs), 3),
        "over": "the cheapest size",
        "goal": 1.15,
        "others": disturbance,
    }


def memory(bench):
    """peak memory of a native training step 256² over the tensors that must live"""
    side = 256
    pictures = [bench.material.picture(side, seed)[1] for seed in (0, 1)]
    command = [bench.programs["networks"], "memory", *pictures, side]
    environment = {**os.environ, "RAYON_NUM_THREADS": "2"}
    said = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, env=environment)
    found = json.loads(said.stdout)
    yield {
        "work": "peak memory of a training step 256² over what must live",
        "bytes": found,
        "ratio": round(found["peak"] / found["live"], 3),
        "over": "the tensors that must live",
        "goal": 1.3,
    }


def kernels(bench):
    """every layer of both networks at 256²: GFLOP/s against the gemm crate's best, 1 and 2 threads"""
    for threads in (1, 2):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        command = [bench.programs["kernels"], "--json"]
        before = others(1.0)
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        yield {
            "work": f"kernels, {threads} thread{'s' * (threads > 1)}",
            "others": round((before + others(1.0)) / 2, 2),
            "kernels": [json.loads(line) for line in said.stdout.splitlines()],
        }


def throughput(bench):
    """training steps a second 64², 2 threads: ours on flex, candle and wgpu (software Vulkan adapter) against PyTorch"""
    side, threads, material = 64, 2, bench.material
    pictures = [material.picture(side, seed)[1] for seed in (0, 1)]
    work = lambda backend: f"training steps {side}², {backend}, {threads} threads"
    # Vulkan's loader then offers nothing but Mesa's lavapipe, whatever else the machine has.
    places = {"flex": {}, "candle": {}, "wgpu": {"VK_LOADER_DRIVERS_SELECT": "*lvp*", "LP_NUM_THREADS": str(threads)}}
    drivers = [file for folder in ("/usr/share", "/usr/local/share", "/etc") for file in Path(folder, "vulkan/icd.d").glob("*lvp*")]
    if not drivers:
        del places["wgpu"]
        yield {"work": work("wgpu"), "note": "not measured: needs a software Vulkan adapter (Mesa's lavapipe)"}
    torch = bench.python("PyTorch", "peer_torch.py", "step", material.training, *pictures, side, threads=threads)
    ours, differences = {}, {}
    for backend, environment in places.items():
        name = f"ours ({backend})"
        ours[backend] = bench.native(
            name, "step", *pictures, side, threads=threads, backend=backend, environment=environment
        )
        differences[backend] = same_losses(ours[backend].ready["losses"], torch.ready["losses"], f"{name} and PyTorch")
    disturbance = interleave([*ours.values(), torch], bench.turns(5))
    for backend, contender in ours.items():
        found = compared(work(backend), [contender, torch], [torch], None, disturbance)
        yield {**found, "device": contender.ready["device"], "losses": differences[backend], "rate": "steps"}


# Largest difference from float64 of outputs in [-1, 1], and relative ones of loss terms in two steps. The narrower
# formats are shown, and checked against gross errors alone: TF32 and bfloat16 keep 10 and 7 bits of a factor.
PRECISIONS = {"f32": (1e-3, LOSS_TOLERANCES), "tf32": (2e-2, (2e-2, 2e-1)), "bf16": (3e-1, (2e-1, 5e-1))}


def wheels():
    """Environment of ours on CUDA: where no toolkit is installed, the compiler and the headers from PyTorch's wheels."""
    folders = sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/cu1[0-9]"))
    if "CUDA_PATH" in os.environ or Path("/usr/local/cuda").exists() or not folders:
        return {}
    libraries = [str(folders[-1] / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"CUDA_PATH": str(folders[-1]), "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}


def on_cuda(bench):
    """forward and training step 256² on a CUDA GPU, against PyTorch with cuDNN in f32, TF32 and bf16, eager and compiled"""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        device = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    except (FileNotFoundError, subprocess.CalledProcessError, IndexError):
        yield {"work": "forward and training step 256² on a CUDA GPU", "note": "not measured: needs an NVIDIA GPU"}
        return
    side, material, threads = 256, bench.material, min(16, os.cpu_count())
    pictures = [material.picture(side, seed)[1] for seed in (0, 1)]
    works = {
        "forward": [("forward", material.generator, pictures[0], side, "OUTPUT")] * 2,
        "step": [("step", *pictures, side), ("step", material.training, *pictures, side)],
    }
    chosen = lambda name, usual: os.environ.get(name, usual).replace(",", " ").split()
    kinds = {
        f"PyTorch {precision} {mode}": (precision, ["--device", "cuda", "--precision", precision, *extra])
        for precision in chosen("PRECISIONS", "f32,tf32,bf16")
        for mode, extra in (("eager", []), ("compiled", ["--compiled"]))
        if mode in chosen("MODES", "eager,compiled")
    }

    def peer(name, options, work):
        return bench.python(name, "peer_torch.py", *work, threads=threads, options=options)

    # torch.compile takes a minute each time: here all at once, into its cache on disk. The contenders that count start one
    # by one afterwards, so cuDNN tries out its algorithms on a GPU that does nothing else.
    wanted = chosen("WORKS", "forward,step")
    with ThreadPoolExecutor(8) as pool:
        for work in wanted:
            for name, (_, options) in kinds.items():
                if "--compiled" in options:
                    # One that fails here fails below, too.
                    pool.submit(peer, f"{name} {work} cache", options, works[work][1])
    bench.close()

    for work in wanted:
        ours, theirs = works[work]
        # Vulkan's loader then offers nothing but NVIDIA's driver, so no software adapter is taken for the GPU.
        places = {"cuda": wheels(), "wgpu": {"VK_LOADER_DRIVERS_SELECT": "*nvidia*"}}
        # Tensor cores are CUDA's alone here.
        precisions = [("cuda", precision) for precision in chosen("PRECISIONS", "f32,tf32,bf16")] + [("wgpu", "f32")]
        starts = {}
        for backend, precision in precisions:
            name = f"ours ({backend} {precision})"
            options = {"backend": backend, "environment": {**places[backend], "PRECISION": precision}}
            starts[name] = (precision, partial(bench.native, name, *ours, threads=threads, **options))
        starts |= {name: (precision, partial(peer, name, options, theirs)) for name, (precision, options) in kinds.items()}
        if work == "step":
            exact = peer("PyTorch f64", ["--precision", "f64"], theirs)
            exact.close()
        contenders, notes = [], []
        for name, (precision, start) in starts.items():
            try:
                found, (output, losses) = start(), PRECISIONS[precision]
                if work == "forward":
                    found.check(material.reference(side), output)
                else:
                    pair = (found.ready["losses"], exact.ready["losses"])
                    found.difference = same_losses(*pair, f"{name} and float64", losses)
                contenders.append(found)
            except Failed as error:
                # One that is not there or computes something else is named above the table, not in it.
                notes.append(str(error).split(" (/")[0])
        disturbance = interleave(contenders, bench.turns(10), repeat(5))
        title = {"forward": "forward 256²", "step": "training step 256²"}[work]
        rivals = [contender for contender in contenders if not contender.ours]
        yield {
            "work": f"{title} on {device}",
            "contenders": [contender.record() for contender in contenders],
            "versus": {
                one.name: {other.name: round(ratio(one, other), 3) for other in rivals} for one in contenders if one.ours
            },
            "notes": notes,
            "others": disturbance,
        }
        bench.close()
        if len(rivals) == len(contenders):
            raise Failed(f"{title}: ours ran on no backend")


ROWS = {
    "a": forward_native,
    "b": step_native,
    "c": forward_wasm,
    "d": forward_webgpu,
    "e": step_browser,
    "f": cost_per_pixel,
    "g": memory,
    "k": kernels,
    "t": throughput,
    "u": on_cuda,
}

# Backends that a row's programs need besides flex; without a GPU row u runs nothing.
FEATURES = {"t": ("candle", "wgpu"), "u": ("cuda", "wgpu") if shutil.which("nvidia-smi") else ()}

# The rows for which flex, which builds in a fraction of the time, is enough.
USUAL = [key for key in ROWS if key not in FEATURES]


def features(wanted):
    return ["flex", *sorted({feature for key in wanted for feature in FEATURES.get(key, ())})]
