#!/usr/bin/env python3
"""Our networks against their peers, in one run: `make bench`, or `make bench ROWS=a,c`.

Rows:
{rows}

Prints a table and writes bench.json and bench.md into target/. README.md beside this file says how it is measured.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import rows
from contender import Failed
from report import markdown, table

ROOT = Path(__file__).resolve().parents[2]


def build(features):
    """Paths of our benchmark programs: optimised, with the backends that the rows need (flex alone builds in a fraction of
    the time)."""
    command = "cargo bench --locked --no-default-features --bench networks --bench kernels --no-run"
    command += f" --message-format=json-render-diagnostics --features {','.join(features)}"
    # burn-cuda builds without a toolkit when it is told the version.
    environment = {"CUDARC_CUDA_VERSION": "13000", **os.environ}
    found = subprocess.run(command.split(), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    programs = {}
    for message in map(json.loads, found.stdout.splitlines()):
        if message["reason"] == "compiler-artifact" and "bench" in message["target"]["kind"]:
            programs[message["target"]["name"]] = message["executable"]
    return programs


def built(folder):
    """Programs built elsewhere: `networks` and, for row k, `kernels`; cargo's names with a hash will do."""
    programs = {}
    for name in ("networks", "kernels"):
        files = [file for file in folder.glob(f"{name}*") if os.access(file, os.X_OK) and file.is_file()]
        if files:
            programs[name] = max(files, key=lambda file: file.stat().st_mtime)
    return programs


def machine():
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    simd = "AVX-512" if "avx512f" in Path("/proc/cpuinfo").read_text() else "AVX2"
    return {
        "processor": f"{model[1] if model else platform.processor()}, {os.cpu_count()} threads, {simd}",
        "system": platform.system(),
        "load": os.getloadavg()[0],
    }


def commit():
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        return found.stdout.strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def main():
    listed = "\n".join(f"  {key}  {row.__doc__.splitlines()[0]}" for key, row in rows.ROWS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.format(rows=listed), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(rows.USUAL), help="letters with commas between (%(default)s)")
    parser.add_argument("--rounds", type=int, help="turns of every contender, instead of each row's own number")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="the built page (%(default)s)")
    parser.add_argument("--programs", type=Path, help="folder of the benches built elsewhere: nothing is built")
    parser.add_argument("--out", type=Path, default=ROOT / "target", help="folder of bench.json and bench.md (%(default)s)")
    arguments = parser.parse_args()
    wanted = [key for key in arguments.rows.replace(",", " ").split()]
    unknown = [key for key in wanted if key not in rows.ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(rows.ROWS)}")

    if arguments.programs:
        programs = built(arguments.programs.resolve())
        if "networks" not in programs:
            parser.error(f"{arguments.programs} holds no program called networks")
    else:
        programs = build(rows.features(wanted))
    bench = rows.Bench(ROOT, programs, arguments.dist.resolve(), arguments.rounds)
    started = datetime.datetime.now(datetime.timezone.utc)
    report = {"date": f"{started:%Y-%m-%d %H:%M} UTC", "commit": commit(), "machine": machine(), "results": []}

    def keep(result):
        """Written after every result: a run that is cut off leaves what it has."""
        report["results"].append(result)
        report["versions"] = bench.versions
        report["minutes"] = round((datetime.datetime.now(datetime.timezone.utc) - started).total_seconds() / 60, 1)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
        (arguments.out / "bench.md").write_text(markdown(report))

    failed = 0
    for key in wanted:
        print(f"row {key}: {rows.ROWS[key].__doc__.splitlines()[0]}", file=sys.stderr)
        try:
            for result in rows.ROWS[key](bench):
                keep({"row": key, **result})
        except (Failed, subprocess.CalledProcessError) as error:
            failed += 1
            keep({"row": key, "failed": str(error)})
            print(f"row {key} FAILED: {error}", file=sys.stderr)
        finally:
            bench.close()
    print(table(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
