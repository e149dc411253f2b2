#!/usr/bin/env python3
"""Translates a folder or a bucket of pictures on a Ray cluster, each exactly once.

    translate.py --model horse-to-zebra.safetensors --out s3://bucket/zebras s3://bucket/horses

Ray Data shards the list of files into batches; each batch is one run of the `cyclegan` program on some node. A result
takes its place only when it is whole, and never twice, so a batch whose worker was killed can be given to another one,
and a job that was stopped goes on when it is started again. The exit status is 1 when a picture could not be translated.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path, PurePosixPath

import ray
from pyarrow import fs

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class Store:
    """A folder, or a prefix of an object store: anything that pyarrow has a file system for."""

    def __init__(self, place):
        if "://" not in place:
            place = str(Path(place).absolute())
        self.files, self.root = fs.FileSystem.from_uri(place)

    def names(self):
        """Paths of all files below, relative to it."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        found = self.files.get_file_info(selector)
        return sorted(str(PurePosixPath(file.path).relative_to(self.root)) for file in found if file.is_file)

    def has(self, name):
        return self.files.get_file_info(f"{self.root}/{name}").type != fs.FileType.NotFound

    def read(self, name=""):
        with self.files.open_input_stream(f"{self.root}/{name}".rstrip("/")) as stream:
            return stream.read()

    def put_new(self, name, data):
        """Writes a file that is not there yet; false when somebody else was first. Whoever looks sees all of it or none."""
        path = f"{self.root}/{name}"
        if not isinstance(self.files, fs.LocalFileSystem):
            # An object appears when its upload ends. Who comes second would write the same bytes.
            if self.has(name):
                return False
            with self.files.open_output_stream(path) as stream:
                stream.write(data)
            return True
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        try:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a link does not replace what is there.
            os.link(beside, path)
            return True
        except FileExistsError:
            return False
        finally:
            beside.unlink(missing_ok=True)


def target(name):
    """Where the result of a picture goes."""
    return str(PurePosixPath(name).with_suffix(".png"))


def translate_batch(batch, source, out, model, program, arguments, threads):
    """One run of the program. Answers what became of each picture."""
    source, out = Store(source), Store(out)
    names, states, messages = [str(name) for name in batch["name"]], {}, {}
    with tempfile.TemporaryDirectory(prefix="cyclegan-") as folder:
        folder = Path(folder)
        weights, inputs = folder / "model.safetensors", {}
        weights.write_bytes(ray.get(model[0]))
        for index, name in enumerate(names):
            # An earlier attempt at this batch may have come this far.
            if out.has(target(name)):
                states[name] = "there already"
                continue
            file = folder / f"{index}{PurePosixPath(name).suffix}"
            file.write_bytes(source.read(name))
            inputs[str(file)] = name
        if inputs:
            command = [program, "translate", "--model", str(weights), "--out", str(folder / "out"), "--json"]
            with open(folder / "complaints", "w+b") as complaints:
                run = subprocess.Popen(
                    [*command, *arguments, *inputs],
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env={**os.environ, "RAYON_NUM_THREADS": str(threads)},
                )
                # A line a picture, as soon as it is done: what is in its place by then is not lost with the worker.
                for line in run.stdout:
                    done = json.loads(line)
                    name = inputs[done["input"]]
                    is_new = out.put_new(target(name), Path(done["output"]).read_bytes())
                    states[name] = "written" if is_new else "there already"
                status = run.wait()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace")
            for file, name in inputs.items():
                if name not in states:
                    about = [line.replace(file, name) for line in said.splitlines() if file in line]
                    states[name] = "failed"
                    messages[name] = "; ".join(about) or f"{program} ended with {status}: {said.strip()}"
    return {
        "name": names,
        "state": [states[name] for name in names],
        "message": [messages.get(name, "") for name in names],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder or URI (file, s3, gs, …) with the pictures, at any depth")
    parser.add_argument("--model", required=True, help="the generator's weight file, a path here or a URI")
    parser.add_argument("--out", required=True, help="folder or URI for the results, PNG files in the same folders")
    parser.add_argument("--batch", type=int, default=32, help="pictures of one run of the program [32]")
    parser.add_argument("--workers", type=int, help="runs at a time over the whole cluster [as many as fit]")
    parser.add_argument("--cpus", type=int, default=1, help="processors, and threads, of a run [1]")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a run, with `-- --backend cuda` [0]")
    parser.add_argument("--cyclegan", default="cyclegan", help="the program, at the same path on every node [cyclegan]")
    parser.add_argument("--address", help="the cluster [RAY_ADDRESS, else this machine alone]")
    options, arguments = parser.parse_known_args()
    arguments = [argument for argument in arguments if argument != "--"]

    names = [name for name in Store(options.source).names() if PurePosixPath(name).suffix.lower() in ENDINGS]
    targets = {}
    for name in names:
        if target(name) in targets:
            sys.exit(f"{targets[target(name)]} and {name} would both become {target(name)}: rename one")
        targets[target(name)] = name
    there = set(Store(options.out).names())
    todo = [name for name in names if target(name) not in there]
    print(f"{len(names)} pictures, {len(names) - len(todo)} of them done already", file=sys.stderr)
    if not todo:
        return

    ray.init(address=options.address, log_to_driver=False)
    weights = ray.put(Store(options.model).read())
    blocks = math.ceil(len(todo) / options.batch)
    rows = ray.data.from_items([{"name": name} for name in todo], override_num_blocks=blocks).map_batches(
        translate_batch,
        batch_size=options.batch,
        concurrency=options.workers,
        num_cpus=options.cpus,
        num_gpus=options.gpus,
        # A task whose worker died is started again, on this node or another.
        max_retries=5,
        fn_kwargs={
            "source": options.source,
            "out": options.out,
            # In a list, or Ray would hand over the bytes with every batch.
            "model": [weights],
            "program": options.cyclegan,
            "arguments": arguments,
            "threads": options.cpus,
        },
    )
    counts = {}
    for row in rows.iter_rows():
        counts[row["state"]] = counts.get(row["state"], 0) + 1
        if row["message"]:
            print(row["message"], file=sys.stderr)
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    sys.exit(1 if "failed" in counts else 0)


if __name__ == "__main__":
    main()
