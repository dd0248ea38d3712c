"""Make docs/benchmarks.md and its plots of the results in benchmarks/results: `python benchmarks/render.py`."""

import json
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
MEANING = {
    "trainer-default": "transformers' Trainer as `run_ner.py` leaves it: batch 8, fp32",
    "trainer-best": "Trainer at its best: batch 32, like lengths together, bf16 where the processor is fast at it",
    "marlin": "a padded recipe in the way of PyMarlin: every row 128 tokens, batch 32, fp32",
    "tunny": "`tunny train`, batch 32, learning rate 3e-4",
    "tunny-tokens": "`tunny train`, batches of 2,048 tokens, learning rate 3e-4",
    "tunny-fp32": "`tunny train` at `run_ner.py`'s batch of 8, fp32",
}
QUIET = 0.10


def table(head, rows):
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(map(str, row))} |" for row in rows)]
    return "\n".join(lines)


def middle(runs, value):
    """Return the median of a value over runs."""
    return statistics.median(value(one) for one in runs)


def rate(one):
    """Return tokens a second."""
    return one["tokens"] / one["seconds"]


def speeds(content):
    """Return the table of a part that trains: tokens/s, ratios, share of the ceiling, memory, runs that stayed void."""
    parameters = content["about"]["parameters"]
    rates = {side: middle(runs, rate) for side, runs in content["sides"].items()}
    rows = []
    for side, runs in content["sides"].items():
        share = middle(runs, lambda one: 6 * one.get("parameters", parameters) * rate(one) / one["ceiling"])
        ratios = [f"{rates[side] / rates[peer]:.2f}" for peer in ("trainer-default", "trainer-best", "marlin") if peer in rates]
        void = sum(one["moved"] > QUIET for one in runs)
        rows.append(
            [side, f"{rates[side]:,.0f}", *ratios, f"{share:.0%}", f"{middle(runs, lambda one: one['memory']):,.0f}", f"{void}/{len(runs)}"]
        )
    peers = [f"x {peer}" for peer in ("trainer-default", "trainer-best", "marlin") if peer in rates]
    return table(["side", "tokens/s", *peers, "of the ceiling", "MiB", "void runs"], rows)


def scored(content):
    """Return the table of scores with the difference from `trainer-best` and its standard error."""
    values = {side: [one["f1"] for one in runs] for side, runs in content["sides"].items()}
    base, rows = values["trainer-best"], []
    for side, found in values.items():
        error = (statistics.variance(found) / len(found) + statistics.variance(base) / len(base)) ** 0.5
        difference = statistics.mean(found) - statistics.mean(base)
        shown = "" if side == "trainer-best" else f"{difference:+.4f} (standard error {error:.4f})"
        rows.append([side, f"{statistics.mean(found):.4f}", f"{statistics.stdev(found):.4f}", len(found), shown])
    return table(["side", "mean F1", "deviation", "seeds", "difference"], rows)


def predicted(content):
    """Return the table of prediction."""
    rates = {side: middle(runs, lambda one: one["texts"] / one["seconds"]) for side, runs in content["sides"].items()}
    many = max(value for side, value in rates.items() if side.startswith("pipeline, batch"))
    rows = []
    for side, runs in content["sides"].items():
        base = rates["pipeline, one at a time"] if side.endswith("one at a time") else many
        rows.append(
            [
                side,
                f"{rates[side]:,.0f}",
                f"{rates[side] / base:.2f}",
                f"{runs[0]['agreement']:.2%}",
                f"{middle(runs, lambda one: one['memory']):,.0f}",
            ]
        )
    return table(["side", "texts/s", "x pipeline at its best", "spans as the pipeline's", "MiB"], rows)


def prepared(content):
    """Return the tables of preparation."""
    parts = []
    for data, sides in content["sides"].items():
        rows = [
            [
                side,
                f"{statistics.median(found):,.0f}",
                f"{statistics.median(own / one for own, one in zip(sides['tunny'], found, strict=True)):.2f}",
            ]
            for side, found in sides.items()
        ]
        parts += [f"**{data}**", table(["side", "rows/s", "Tunny is so many times as fast"], rows)]
    return "\n\n".join(parts)


def grown(content):
    """Return the table of growing data, and draw its two plots."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    for name, points in content["sides"].items():
        rows = [point["rows"] for point in points]
        left.loglog(rows, [point["seconds"] for point in points], "o-", label=name)
        right.semilogx(rows, [point["memory"] for point in points], "o-", label=name)
    left.set(xlabel="rows", ylabel="seconds", title="time")
    right.set(xlabel="rows", ylabel="MiB", title="peak memory", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, "growth")
    rows = []
    for name, points in content["sides"].items():
        for point in points:
            rows.append(
                [
                    name,
                    f"{point['rows']:,}",
                    f"{point['seconds']:.1f}",
                    f"{point['rows'] / point['seconds']:,.0f}",
                    f"{point['memory']:,.0f}",
                    f"{point['again']:.1f}" if "again" in point else "",
                ]
            )
    return "![Time and memory by rows](benchmarks-growth.svg)\n\n" + table(
        ["command", "rows", "seconds", "rows/s", "MiB", "second run, seconds"], rows
    )


def trained(content):
    """Return the table of training speeds, and draw them."""
    rates = {side: [rate(one) for one in runs] for side, runs in content["sides"].items()}
    figure, axes = pyplot.subplots(figsize=(7, 2.8))
    names = sorted(rates, key=lambda side: statistics.median(rates[side]))
    axes.barh(
        names,
        [statistics.median(rates[name]) for name in names],
        color=["#c8643c" if name.startswith("tunny") else "#8a9aa8" for name in names],
    )
    for at, name in enumerate(names):
        axes.plot(rates[name], [at] * len(rates[name]), "k|", markersize=8)
    axes.set(xlabel="tokens a second (bar: median; marks: runs)")
    save(figure, "training")
    return "![Training speed](benchmarks-training.svg)\n\n" + speeds(content)


def save(figure, name):
    """Write a plot; the same numbers give the same bytes."""
    matplotlib.rcParams["svg.hashsalt"] = name
    figure.tight_layout()
    figure.savefig(DOCS / f"benchmarks-{name}.svg", metadata={"Date": None})


PARTS = {
    "training": (
        "Training",
        "Whole epochs by the clock, each side at its own batch and learning rate, encoding and loading left out.",
        trained,
    ),
    "scores": ("Equal scores", "Entity F1 on the test file after 3 epochs.", scored),
    "long": (
        "Long texts",
        "Generated rows of 512 tokens, batches of 8.",
        speeds,
    ),
    "large": (
        "A larger encoder",
        "A random model of the size of roberta-base, 16 generated rows of 64 tokens: next to nothing is padded, products are nearly all, so here Tunny gains least.",
        speeds,
    ),
    "prediction": (
        "Prediction",
        "Raw texts to spans with the same model, single ones on the first 200. The pipeline makes words of its own and takes each one's likeliest label; Tunny's words and best valid sequence give other spans in places, from the same logits.",
        predicted,
    ),
    "preparation": ("Preparation", "Examples in Arrow to labelled windows in Arrow.", prepared),
    "growth": ("Growing data", "`tunny prepare` and `tunny predict` on generated texts of 5 to 20 words.", grown),
}


def main():
    """Write the page."""
    lines = ["# Benchmarks", "", "Made by `make bench`. How it is measured stands in `benchmarks/bench.py`; sides:", ""]
    lines += [f"- `{side}`: {meaning}" for side, meaning in MEANING.items()]
    for part, (title, meaning, render) in PARTS.items():
        path = HERE / "results" / f"{part}.json"
        if path.exists():
            content = json.loads(path.read_text())
            about = content["about"]
            where = f"{about['machine']['processor']}, {about['machine']['threads']} threads, {'bf16' if about['machine']['bf16'] else 'no bf16: all sides in fp32'}, torch {about['machine']['versions']['torch']}, {about['date']}"
            data = f" Data: {about['data']}." if part in ("training", "scores", "prediction") else ""
            lines += ["", f"## {title}", "", f"{meaning}{data} Machine: {where}.", "", render(content)]
    (DOCS / "benchmarks.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
