"""`keras-det weights …`: public weights, where they are, and their hashes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import Command, echo, echo_json
from keras_det.cli.group import Commands
from keras_det.errors import DataError

if TYPE_CHECKING:
    from keras_det.weights.catalogue import Entry
    from keras_det.weights.download import Found

ROW = "{:<28}{:<10}{:>6}  {:<13}{}"  # at most 80 columns
HEAD = ("name", "state", "MB", "licence", "hash")
MISSING = "missing"
MD5_DIGITS = 32

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.group(cls=Commands)
def weights() -> None:
    """Lists, downloads and checks public weights.

    To train from them, give `keras-det train` --weights auto, imagenet or coco.
    docs/checkpoints.md lists the addresses.
    """


@click.command(
    cls=Command,
    name="list",
    examples=("keras-det weights list", "keras-det weights list --json > weights.json"),
)
@as_json_option
def list_weights(as_json: bool) -> None:
    """Lists the public weights and where they are.

    State: installed (in a package), cached, or missing (not downloaded yet). Hash: SHA-256 or MD5,
    if published; kept, if only the SHA-256 of the first download is known; none, if none is known.
    """
    from keras_det.weights.catalogue import CATALOGUE

    rows = [row_of(entry) for entry in CATALOGUE.values()]
    show(rows, HEAD, as_json)


@click.command(cls=Command, examples=("keras-det weights fetch imagenet/efficientnet_b0",))
@click.argument("name")
@as_json_option
def fetch(name: str, as_json: bool) -> None:
    """Downloads the weights called NAME in the list.

    Nothing is downloaded if they are installed or cached.
    """
    from keras_det.weights.download import obtain

    found = obtain(name)
    row = {"name": name, "state": found.place, "path": str(found.path), "sha256": found.sha256}
    row["note"] = found.note
    if as_json:
        echo_json(row)
        return
    echo(f"{name} is {found.place}: {found.path}\nSHA-256 {found.sha256}")
    if found.note:
        echo(f"Note: {found.note}")


@click.command(
    cls=Command,
    examples=("keras-det weights check", "keras-det weights check coco/efficientdet_d0"),
)
@click.argument("name", required=False)
@as_json_option
@click.pass_context
def check(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Checks the hashes of installed and cached files.

    Without NAME, all files are checked. Hash: right, wrong, or unknown if there is none to compare
    with. The exit code is 1 if a hash is wrong.
    """
    from keras_det.weights.catalogue import CATALOGUE, entry_of

    entries = CATALOGUE.values() if name is None else [entry_of(name)]
    rows = [row for entry in entries for row in checked(entry)]
    if not rows:
        if name is not None:
            raise DataError(
                f"The weights to check must be installed or cached. Received: {name}, which is "
                f"missing. To get them: keras-det weights fetch {name}"
            )
        echo("[]" if as_json else "No public weights are installed or cached.")
        return
    show(rows, HEAD, as_json)
    wrong = [row for row in rows if row["hash"] == "wrong"]
    for row in wrong:
        echo(f"Wrong hash: {row['path']}. Delete the file and download it again.", err=True)
    ctx.exit(1 if wrong else 0)


def show(rows: list[dict[str, Any]], head: tuple[str, ...], as_json: bool) -> None:
    """Prints rows as a table or as JSON."""
    if as_json:
        echo_json(rows)
        return
    echo(ROW.format(*head))
    for row in rows:
        size = "?" if row["megabytes"] is None else f"{row['megabytes']:.1f}"
        echo(ROW.format(row["name"], row["state"], size, row["licence"], row["hash"]))


def row_of(entry: "Entry") -> dict[str, Any]:
    """A line of the list: the preferred file of an entry, or the one to download."""
    from keras_det.weights.download import on_this_computer

    found = next(iter(on_this_computer(entry)), None)
    row = {
        "name": entry.name,
        "state": found.place if found else MISSING,
        "megabytes": megabytes(found) if found else entry.files[0].megabytes,
        "licence": entry.licence,
        "hash": kind_of_hash(found.digest, found.published)
        if found
        else kind_of_hash(entry.files[0].digest, True),
        "fills": entry.fills,
        "path": str(found.path) if found else None,
        "addresses": [file.address for file in entry.files],
        "package": entry.package.distribution if entry.package else None,
    }
    return row


def checked(entry: "Entry") -> Iterator[dict[str, Any]]:
    """A line for each file of an entry on this computer, with the result of the check."""
    from keras_det.weights.download import on_this_computer

    for found in on_this_computer(entry):
        outcome = "right" if found.is_intact else "wrong"
        yield {
            "name": entry.name,
            "state": found.place,
            "megabytes": megabytes(found),
            "licence": entry.licence,
            "hash": "unknown" if found.digest is None else outcome,
            "path": str(found.path),
            "sha256": found.sha256,
        }


def megabytes(found: "Found") -> float:
    """Size of a file in 10^6 bytes."""
    return round(found.file.stat().st_size / 1e6, 1)


def kind_of_hash(digest: str | None, published: bool) -> str:
    """What is known about a file's hash: "SHA-256", "MD5", "kept" or "none"."""
    if digest is None:
        return "none"
    if not published:
        return "kept"
    return "MD5" if len(digest) == MD5_DIGITS else "SHA-256"


for command in (list_weights, fetch, check):
    weights.add_command(command)
