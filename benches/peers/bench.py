#!/usr/bin/env python3
"""Our networks against their peers, in one run: `make bench`, or `make bench ROWS=a,c`.

Rows:
{rows}

Prints a table and writes target/bench.json and target/bench.md. README.md beside this file says how it is measured.
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


def build():
    """Paths of our benchmark programs: optimised, with the processor backend alone, which builds in a fraction of the time."""
    command = "cargo bench --locked --no-default-features --features flex --bench networks --bench kernels --no-run --message-format=json-render-diagnostics"
    messages = subprocess.run(command.split(), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    programs = {}
    for message in map(json.loads, messages.splitlines()):
        if message["reason"] == "compiler-artifact" and "bench" in message["target"]["kind"]:
            programs[message["target"]["name"]] = message["executable"]
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
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip()


def main():
    listed = "\n".join(f"  {key}  {row.__doc__.splitlines()[0]}" for key, row in rows.ROWS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.format(rows=listed), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(rows.ROWS), help="letters with commas between (%(default)s)")
    parser.add_argument("--rounds", type=int, help="turns of every contender, instead of each row's own number")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="the built page (%(default)s)")
    arguments = parser.parse_args()
    wanted = [key for key in arguments.rows.replace(",", " ").split()]
    unknown = [key for key in wanted if key not in rows.ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(rows.ROWS)}")

    bench = rows.Bench(ROOT, build(), arguments.dist.resolve(), arguments.rounds)
    started = datetime.datetime.now(datetime.timezone.utc)
    report = {"date": f"{started:%Y-%m-%d %H:%M} UTC", "commit": commit(), "machine": machine(), "results": []}
    failed = 0
    for key in wanted:
        print(f"row {key}: {rows.ROWS[key].__doc__.splitlines()[0]}", file=sys.stderr)
        try:
            for result in rows.ROWS[key](bench):
                report["results"].append({"row": key, **result})
        except (Failed, subprocess.CalledProcessError) as error:
            failed += 1
            report["results"].append({"row": key, "failed": str(error)})
            print(f"row {key} FAILED: {error}", file=sys.stderr)
        finally:
            bench.close()
    report["versions"] = bench.versions
    report["minutes"] = round((datetime.datetime.now(datetime.timezone.utc) - started).total_seconds() / 60, 1)
    (ROOT / "target/bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (ROOT / "target/bench.md").write_text(markdown(report))
    print(table(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
