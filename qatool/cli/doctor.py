"""``qatool doctor``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work
from qatool.errors import EnvironmentUnfitError
from qatool.logs import harmless
from qatool.options import DoctorOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def doctor(options: DoctorOptions) -> None:
    """Check the installation and measure the machine, and print the findings.

    :raises EnvironmentUnfitError: extraction would not work; raised after everything is printed
    """
    # Set before transformers is imported, so that the model is loaded without a network.
    os.environ["HF_HUB_OFFLINE"] = "1"
    with at_work(options) as observer:
        from qatool.commands.doctor import run

        found = run(options, observer=observer)
    if options.json:
        click.echo(json.dumps(found.told, indent=2))
    elif not options.quiet:
        for line in _lines(found.told):
            click.echo(harmless(line))
    if found.problem is not None:
        raise EnvironmentUnfitError(found.problem)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    versions, devices = told["versions"], told["devices"]
    yield f"qatool {versions['qatool']}, Python {versions['python']}, {versions['system']}"
    yield ", ".join(
        f"{name} {found or 'absent'}"
        for name, found in versions.items()
        if name not in {"qatool", "python", "system"}
    )
    yield ", ".join(f"{name} {found or 'absent'}" for name, found in told["extras"].items())
    yield ""
    memory = "" if devices["memory"] is None else f", {devices['memory'] / 2**30:.0f} GiB"
    vectors = devices["vector_instructions"] + (" with bf16" if devices["bf16"] else "")
    yield f"cpu   {devices['cores']} cores ({devices['threads']} threads){memory}, {vectors}"
    for number, card in enumerate(devices["cuda"]):
        yield f"cuda:{number}  {card['name']}, {card['memory'] / 2**30:.0f} GiB"
    yield from _model(told["model"])
    if told["speed"] is not None:
        yield from _speed(told["speed"])
    if told["advice"]:
        yield ""
        yield from told["advice"]


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    if "error" in model:
        yield "model does not load"
        return
    habit = ", always answers" if model["always_answers"] else ""
    yield (
        f"model {model['name']} ({model['fingerprint'][:8]}): loaded offline in {model['load_seconds']:.1f} s, "
        f"windows of {model['max_length']} tokens{habit}"
    )


def _speed(speed: Mapping[str, Any]) -> Iterator[str]:
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in speed["matmul_gigaflops"].items())
    yield f"torch multiplies matrices at (GFLOP/s): {rates}"
    yield ""
    yield f"{'':39}milliseconds a window, by stage"
    yield f"{'':17} windows/s  of matmul tokenise    model   decode    write"
    for way in speed["ways"]:
        head = f"{way['backend']}, {way['precision']}"
        if "error" in way:
            yield f"{head:<17} {way['error']}"
            continue
        share = "" if way["share_of_matmul"] is None else f"{way['share_of_matmul']:.0%}"
        stages = way["stages_milliseconds_a_window"]
        spent = "".join(f"{stages[name]:>9.2f}" for name in ("tokenise", "model", "decode", "write"))
        yield f"{head:<17} {way['windows_per_second']:>9,.1f} {share:>10}{spent}"


command = OptionsCommand(
    "doctor",
    options_class=DoctorOptions,
    callback=doctor,
    help="""Check what is installed, load the model offline and measure this machine for about a minute.

    The first line of the table is what extract does by default. Tokenising and writing happen while the model
    reads.
    """,
)
