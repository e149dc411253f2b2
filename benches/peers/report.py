"""The report as text: for a terminal, and as Markdown for the README."""

from contender import QUIET


def times(result):
    """`ours 870, onnxruntime 410 ms`"""
    if "bytes" in result:
        return ", ".join(f"{name} {result['bytes'][name] / 1e9:.2f}" for name in ("peak", "live")) + " GB"
    if "nanoseconds_per_pixel" in result:
        return ", ".join(f"{side}² {cost}" for side, cost in result["nanoseconds_per_pixel"].items()) + " ns a pixel"
    if "rate" in result:
        rates = (f"{found['name']} {1e3 / found['median']:.3g}" for found in result["contenders"])
        return f"{', '.join(rates)} {result['rate']} a second"
    parts = [f"{found['name']} {found['median']:,.0f}" for found in result.get("contenders", [])]
    if "forwards" in result:
        parts.append(f"six forwards {result['forwards']:,.0f}")
    return ", ".join(parts) + " ms" if parts else ""


def disturbed(result):
    return f"disturbed: others took {result['others']:.1f} cores"


def figures(report):
    """(row, work, ratio, goal, times) of every result that is a ratio."""
    for result in report["results"]:
        if "kernels" in result or "versus" in result:
            continue
        if "failed" in result:
            yield result["row"], "failed", "", "", result["failed"]
            continue
        goal = f"≤ {result['goal']}" if result.get("goal") else "–"
        if "ratio" not in result:
            yield result["row"], result["work"], "–", goal, result["note"]
            continue
        over = f"over {result['over']}: {times(result)}"
        if result.get("device", "CPU") != "CPU":
            over += f" on {result['device']}"
        if result.get("others", 0) > QUIET:
            # Neither reached nor missed: threads suffer unequally from others.
            mark, over = " ?", f"{over} ({disturbed(result)})"
        else:
            mark = " ✗" if result.get("goal") and result["ratio"] > result["goal"] else ""
        yield result["row"], result["work"], f"{result['ratio']:.2f}{mark}", goal, over


def speeds(report):
    """(work, columns, lines) of every table of kernels."""
    passes = ("forward", "input grad", "weight grad")
    for result in report["results"]:
        if "kernels" not in result:
            continue
        layers = {}
        for kernel in result["kernels"]:
            speed = f"{kernel['gflops']:.0f}" if "gflops" in kernel else f"{kernel['gigabytes']:.1f} GB/s"
            layers.setdefault(kernel["layer"], {})[kernel["pass"]] = f"{speed} ({kernel['share']:.0%})"
        lines = [[layer, *(found.get(name, "") for name in passes)] for layer, found in layers.items()]
        ceiling = max(kernel["ceiling"] for kernel in result["kernels"] if "gflops" in kernel)
        title = f"{result['work']}: GFLOP/s and share of gemm's {ceiling:.0f}; GB/s and share of a copy's"
        if result["others"] > QUIET:
            title += f" ({disturbed(result)})"
        yield title, ["layer", *passes], lines


def duels(report):
    """(work, columns, lines) of every table where several of ours meet several rivals."""
    for result in report["results"]:
        if "versus" not in result:
            continue
        versus, lines = result["versus"], []
        for found in result["contenders"]:
            off = found["difference"] if isinstance(found["difference"], list) else [found["difference"]]
            ratios = [f"{ratios[found['name']]:.2f}" if found["name"] in ratios else "" for ratios in versus.values()]
            speed = [f"{found['median']:,.1f}", f"{1e3 / found['median']:,.2f}"]
            lines.append([found["name"], *speed, *ratios, ", ".join(f"{part:.0e}" for part in off)])
        title = result["work"] + (f" ({disturbed(result)})" if result["others"] > QUIET else "")
        title = "; ".join([title, *(f"not measured: {note}" for note in result["notes"])])
        yield title, ["", "ms", "a second", *(f"{name} over it" for name in versus), "off float64 by"], lines


def heading(report):
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"{report['date']}, {report['machine']['processor']}; commit {report['commit']}" + (f"; {versions}" if versions else "")


def columns(lines, gap="  "):
    """Lines of cells, padded to columns."""
    widths = [max(len(line[cell]) for line in lines) for cell in range(len(lines[0]))]
    return [gap.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def table(report):
    text = [heading(report), ""]
    lines = [list(line) for line in figures(report)]
    if lines:
        text += columns([["row", "work", "ratio", "goal", ""], *lines])
    for title, head, found in (*duels(report), *speeds(report)):
        text += ["", title, *columns([head, *found])]
    return "\n".join(text)


def markdown(report):
    rows = lambda head, lines: [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(line) + " |" for line in lines),
    ]
    text = [f"Measured {heading(report)}.", ""]
    lines = [list(line[1:]) for line in figures(report)]
    if lines:
        text += rows(["work", "ratio", "goal", "medians"], lines)
    for title, head, found in (*duels(report), *speeds(report)):
        text += ["", title, "", *rows(head, found)]
    return "\n".join(text) + "\n"
