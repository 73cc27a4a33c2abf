"""Commands for a model that is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scrimp.cli.options import EndpointUrl, Json, app, use_endpoint
from scrimp.cli.settings import runtime_of
from scrimp.cli.showing import print_explanation, print_export, say, seen, show


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    images: Annotated[list[str] | None, typer.Argument(help="Image files to look at, beside those of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="HTML page to write; explanation.html in RUN by default.")] = None,
    endpoint_url: EndpointUrl = None,
    json_: Json = False,
) -> None:
    """Show why a trained model is right or wrong: heat maps, mistakes, calibration, worse images.

    The exit code is 1 where an image could not be read.
    """
    use_endpoint(endpoint_url)
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.explaining import explain
    from scrimp.report import EXPLANATION, write_explanation

    found = explain(run, images)
    page = write_explanation(found, out or run / EXPLANATION)
    if json_:
        print(json.dumps({**found.to_json(), "page": str(page)}, ensure_ascii=False))
    else:
        print_explanation(found, page)
    if found.unreadable:
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    format_: Annotated[str, typer.Option("--format", help="onnx, onnx-int8, torchscript or safetensors.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="Folder for the file; the run folder by default.")] = None,
    most_lost: Annotated[float, typer.Option(help="Points of accuracy, mAP or R² that may be lost on test.")] = 1.0,
    json_: Json = False,
) -> None:
    """Write a trained model as a file for other programs, and try that file on the test images.

    A file that cannot be run by itself, or is worse than said, is an error, and nothing is left of it.
    """
    from typing import cast

    from scrimp.serving import export

    made = export(run, format=cast("Any", format_), out=out, most_lost=most_lost)
    if json_:
        tried = {"model": made.model._asdict(), "exported": made.exported._asdict()}
        print(json.dumps({**made._asdict(), **tried, "path": str(made.path), "lost": made.lost}, ensure_ascii=False))
    else:
        print_export(made)


Onnx = Annotated[bool, typer.Option("--onnx", help="Run model.onnx, which 'scrimp export' writes, not PyTorch.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Run model.int8.onnx, which 'scrimp export' writes.")]


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    onnx: Onnx = False,
    int8: Int8 = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a copy of the model.")] = 1,
    queue: Annotated[int | None, typer.Option(help="Images that may wait in a process; 256 by default.")] = None,
    upload_mb: Annotated[float | None, typer.Option(help="Largest request in MB; 20 by default.")] = None,
    megapixels: Annotated[float | None, typer.Option(help="Largest image; 50 by default.")] = None,
    json_: Json = False,
) -> None:
    """Serve a trained model: a page where images can be dropped, and a JSON API beside it.

    Ctrl-C, or SIGTERM, answers what was taken and ends.
    """
    from scrimp.serving import serve

    def tell(url: str) -> None:
        print(json.dumps({"url": url, "run": str(run)}), flush=True)

    given = {"queue": queue, "upload_mb": upload_mb, "megapixels": megapixels}
    serve(
        run,
        host=host,
        port=port,
        runtime=runtime_of(onnx, int8),
        workers=workers,
        limits={name: value for name, value in given.items() if value is not None},
        tell=tell if json_ else None,
    )


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    images: Annotated[list[str], typer.Argument(help="Image files, or folders of them, here or at a URI.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a table to this file, one line an image.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes, each with a copy of the model.")] = 1,
    onnx: Onnx = False,
    int8: Int8 = False,
    endpoint_url: EndpointUrl = None,
    json_: Json = False,
) -> None:
    """Say what a trained model sees in some images; the exit code is 1 where one could not be read."""
    use_endpoint(endpoint_url)
    from scrimp.serving import predict

    answers = predict(run, images, processes=processes, runtime=runtime_of(onnx, int8), tell=say)
    unread = sum(answer.error is not None for answer in answers)
    if csv:
        from scrimp.serving.predicting import to_csv
        from scrimp.store import write_whole

        write_whole(csv, to_csv(answers).encode())
    if json_:
        print(json.dumps([answer._asdict() for answer in answers], ensure_ascii=False))
    elif csv:
        show(f"{len(answers):,} images, of which {unread:,} could not be read: {csv}")
    else:
        from rich.table import Table

        table = Table("image", "seen", "probability")
        for answer in answers:
            table.add_row(answer.image, *seen(answer))
        show(table)
    if unread:
        raise typer.Exit(1)
