"""Figures of models that are done: explained, exported, served."""

from __future__ import annotations

from statistics import median

from figures.recorded import results, where


def explain() -> str:
    """Whether heat lies on what decides, and goes away with the knowledge."""
    found = results("explain")
    rows, summary = found["rows"], found["summary"]
    lines = [
        "Planted objects: on a ground of noise, a disc whose colour decides the class, and two of the same size that",
        "say nothing. Is the hottest point of the true class on the disc that decides, or within 7 % of the side",
        f"of it? Part of {rows[0]['images']} test images, where chance would hit {100 * summary['area']:.0f} %;",
        "in brackets without that tolerance. And the same with random weights, whose maps should know nothing:",
        "",
        "| model, learnt from scratch | grid | accuracy | Grad-CAM hits | occlusion hits | random weights hit |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        accuracy, cam, strict, occlusion, random = (
            f"{100 * row[figure]:.0f} %" for figure in ("accuracy", "grad_cam", "strict", "occlusion", "random")
        )
        cells = (f"{row['grid']} x {row['grid']}", accuracy, f"{cam} ({strict})", occlusion, random)
        lines.append(f"| `{row['model']}` | {' | '.join(cells)} |")
    lines += [
        "",
        "Pixel by pixel, the maps of the trained and of the random weights correlate by",
        f"{summary['correlation_random']:.2f} at most, on average over the images. {where(found)}. Raw figures:",
        "[explain.json](../benchmarks/results/explain.json).",
    ]
    return "\n".join(lines)


def exporting() -> str:
    """What each format brought, model by model: medians over the rounds."""
    found = results("export")
    lines = [
        "| model | file | MB | ms/image | times PyTorch | images/s | test accuracy | points lost | agreement |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys((row["model"], row["format"]) for row in found["rows"])
    for model, format in kinds:
        rows = [row for row in found["rows"] if (row["model"], row["format"]) == (model, format)]
        tried = [row["exported"] for row in rows]
        ms, speed = (median(one[key] for one in tried) for key in ("ms_per_image", "images_per_second"))
        faster = median(row["pytorch"]["ms_per_image"] / row["exported"]["ms_per_image"] for row in rows)
        lost = median(row["lost_points"] for row in rows)
        lines.append(
            f"| {model} | {format} | {tried[0]['mb']:.1f} | {ms:.2f} | {faster:.1f} | {speed:,.0f} | "
            f"{tried[0]['merit']:.1%} | {lost:.2f} | {tried[0]['agreement']:.1%} |"
        )
    source = "[export.json](../benchmarks/results/export.json)."
    return "\n".join([*lines, "", f"{where(found)}. Raw figures:", source])


def serving() -> str:
    """How the server did beside the model alone, and under too much load."""
    found = results("serving")
    summary = found["summary"]
    rows = {row["what"]: row for row in found["rows"]}
    load, over = rows["load"], rows["overload"]
    busy = f"{summary['overload_503_ms']:.0f} ms" if summary["overload_503_ms"] is not None else "none came"
    lines = [
        "mobilenet_v3_small at 224 px, JPEGs of about 300 x 250 pixels, clients on the same machine:",
        "",
        "| | |",
        "|---|---|",
        f"| images/s, 32 clients | {load['per_second']:,.0f}, {summary['images_per_second_per_core']:,.0f} a core |",
        f"| of the model alone at its best batch size | {summary['throughput_vs_loop']:.0%} |",
        f"| one image through the idle server | {1000 * rows['single']['median_s']:.1f} ms |",
        f"| 99 of 100 answers with 32 clients within | {load['ms']['200']['p99']:.0f} ms |",
        f"| failed requests of {sum(load['answers'].values()):,} in {load['seconds']:,.0f} s | "
        f"{summary['failed_requests']:,} |",
        f"| memory at the end of that, less at its beginning | {summary['rss_growth_mb']:+.1f} MB |",
        f"| 99 of 100 refusals with {over['clients']} clients and room for {over['queue']} within | {busy} |",
    ]
    setting = f"{load['workers']} workers, runtime {load['runtime']}"
    source = "[serving.json](../benchmarks/results/serving.json)."
    return "\n".join([*lines, "", f"{setting}; {where(found)}. Raw figures:", source])
