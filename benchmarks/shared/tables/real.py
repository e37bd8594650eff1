"""Real data and models: how fast images go through training, memory, and what others measure of an exported model."""

from __future__ import annotations

from metaft.report.tables import markdown
from shared.rows import Row, committed


def loops() -> str:
    """Images a second in fine-tuning, beside a bare loop of PyTorch."""
    rows = [row for row in committed("throughput") if row["what"] == "loop"]
    return markdown(["model", "batch", "images / s", "of a bare loop's"], [_loop(row) for row in rows])


def loading() -> str:
    """What loading costs, by where JPEGs are kept."""
    rows = [row for row in committed("throughput") if row["what"] == "loading"]
    head = ["JPEGs of 500 x 375, kept in", "model", "batch", "loader alone, images / s", "speed lost to loading"]
    return markdown(head, [_loading(row) for row in rows])


def opening() -> str:
    """A sentence on opening many small files."""
    (row,) = (row for row in committed("throughput") if row["what"] == "opening")
    memory = f"{row['peak_gib']:.1f} GiB, of which {row['least_gib']:.1f} are there without them"
    return f"{row['files']:,} files of 32 pixels are opened in {row['seconds']:.0f} s and {memory}"


def zero_shot() -> str:
    """Accuracy by metaft and by CLIP_benchmark, and the largest difference of logits."""
    head = ["exported model", "images", "metaft, %", "CLIP_benchmark, %", "logits differ by"]
    return markdown(head, [_zero_shot(row) for row in committed("zero_shot")])


def memory() -> str:
    """The peak memory that is forecast, and what was taken."""
    head = ["what", "model", "way", "forecast, MiB", "taken, MiB", "forecast / taken"]
    rows = sorted(committed("memory"), key=lambda row: (row["what"], row["model"].lower()))
    return markdown(head, [_memory(row) for row in rows])


def _memory(row: Row) -> list[str]:
    sizes = [f"{row[what]:,.0f}" for what in ("forecast", "taken")]
    return [row["what"], row["model"], row["way"], *sizes, f"{row['ratio']:.2f}"]


def _loop(row: Row) -> list[str]:
    return [row["model"], str(row["batch"]), f"{row['images_per_second']:,}", f"{100 * row['ratio']:.0f} %"]


def _loading(row: Row) -> list[str]:
    lost = f"{100 * row['lost']:.0f} %"
    return [row["kept"], row["model"], str(row["batch"]), f"{row['images_per_second']:,}", lost]


def _zero_shot(row: Row) -> list[str]:
    ours, theirs = (f"{100 * row[who]['accuracy']:.1f}" for who in ("ours", "theirs"))
    return [row["model"], str(row["images"]), ours, theirs, f"{row['logits']:.0e}"]
