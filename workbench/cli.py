"""`python -m workbench …`: what outlives a kernel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run one command; user errors become one line on stderr and exit status 2."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        print(f"workbench {arguments.command}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workbench", description="Look inside CLIP-like models.")
    commands = parser.add_subparsers(dest="command", required=True)

    probe = commands.add_parser("probe", help="what this machine has, and how fast it multiplies")
    probe.add_argument("--seconds", type=float, default=2.0, help="time spent measuring; 0 measures nothing")
    probe.set_defaults(run=_probe)

    models = commands.add_parser("models", help="the models that load here, and what the others need")
    models.add_argument("--folder", help="a folder that holds model folders (default: $WORKBENCH_MODELS or ./models)")
    models.set_defaults(run=_models)

    plan = commands.add_parser("plan", help="predict memory, measure it, say the ratio; before a model is loaded")
    plan.add_argument("model")
    plan.add_argument("--batch", type=int, default=32)
    plan.add_argument("--training", action="store_true", help="with gradients and AdamW's states")
    plan.add_argument("--tokens", action="store_true", help="with patch and text tokens")
    plan.set_defaults(run=_plan)

    extract = commands.add_parser("extract", help="features of many pictures or captions, kept and resumed")
    extract.add_argument("model")
    extract.add_argument(
        "source", help="a folder, a .csv, .tsv or .parquet with a path column, a .tar or 'shards/*.tar'"
    )
    extract.add_argument("--modality", default="image", choices=("image", "text"))
    extract.add_argument("--kinds", default="post", help="comma-separated: pre,post,tokens (and mask for text)")
    extract.add_argument("--layer", type=int, default=-1)
    extract.add_argument("--dense", default="raw")
    extract.add_argument("--image-size", type=int)
    extract.add_argument("--batch", type=int, default=32)
    extract.add_argument("--store", help="a folder (default: $WORKBENCH_STORE or the user's cache)")
    extract.add_argument("--out", type=Path, help="a folder for ids.json, failed.json and one .npy for each kind")
    extract.add_argument("--engine", default="local", choices=("local", "ray"))
    extract.add_argument("--workers", type=int, help="processes on Ray (default: GPUs, else cores)")
    extract.set_defaults(run=_extract)

    train = commands.add_parser("train", help="train a head on embeddings that `extract` wrote; also under torchrun")
    train.add_argument("what", choices=("sail",), help="sail: light heads on two frozen towers")
    train.add_argument(
        "--config", type=Path, required=True, help="a JSON file: images, texts, out, and the run's fields"
    )
    train.set_defaults(run=_train)

    reproduce = commands.add_parser(
        "reproduce", help="run every notebook headless, store its outputs, print the claims and write CLAIMS.md"
    )
    reproduce.add_argument("notebooks", nargs="*", type=Path, help="default: notebooks/*.ipynb")
    reproduce.set_defaults(run=_reproduce)

    claims = commands.add_parser("claims", help="the table of claims and verdicts")
    claims.set_defaults(run=_claims)
    return parser


def _probe(arguments) -> None:
    from workbench.hardware import probe_hardware

    print(probe_hardware(measure_seconds=arguments.seconds))


def _models(arguments) -> None:
    from workbench.models.registry import list_models

    print(list_models(arguments.folder))


def _plan(arguments) -> None:
    from workbench.memory import plan_memory

    print(plan_memory(arguments.model, arguments.batch, tokens=arguments.tokens, training=arguments.training))


def _extract(arguments) -> None:
    from workbench.data.samples import read_samples
    from workbench.extract import embeddings
    from workbench.models.registry import load_model
    from workbench.store import EmbeddingStore

    samples = read_samples(arguments.source, modality=arguments.modality)  # before anything large is loaded
    store = EmbeddingStore(arguments.store)
    found = embeddings(
        load_model(arguments.model),
        samples,
        modality=arguments.modality,
        kinds=tuple(arguments.kinds.split(",")),
        layer=arguments.layer,
        dense=arguments.dense,
        image_size=arguments.image_size,
        batch_size=arguments.batch,
        store=store,
        engine=arguments.engine,
        workers=arguments.workers,
    )
    written = "" if arguments.out is None else f"\nwritten to {found.save(arguments.out)}"
    print(f"{found}\nkept in {store.root}{written}")


def _train(arguments) -> None:
    from workbench.aligning import run_job

    run_job(arguments.config, say=print)


def _reproduce(arguments) -> None:
    import time

    from nbclient.exceptions import CellExecutionError

    from workbench.notebooks import run_notebook

    notebooks = arguments.notebooks or sorted(Path("notebooks").glob("*.ipynb"))
    if not notebooks:
        raise FileNotFoundError("no notebooks/*.ipynb here; run this in the checkout, or name the notebooks")
    for notebook in notebooks:
        start = time.perf_counter()
        try:
            run_notebook(notebook)
        except CellExecutionError as error:
            raise ValueError(f"a cell of {notebook} failed, the file stays as it was:\n{error}") from error
        print(f"{notebook}: {time.perf_counter() - start:.0f} s")
    _claims(arguments)
    if not arguments.notebooks:  # the checkout's own
        write_claims(Path("CLAIMS.md"))


def _claims(_) -> None:
    from workbench.claims import ledgers
    from workbench.paths import assets

    for ledger in ledgers(assets() / "results"):
        print(f"{ledger}\n{ledger.counts()}\n")


def write_claims(file: Path) -> None:
    """The page of all claims that are stored."""
    from workbench.claims import ledgers, markdown
    from workbench.files import write_whole
    from workbench.paths import assets

    write_whole(file, markdown(ledgers(assets() / "results")).encode())
