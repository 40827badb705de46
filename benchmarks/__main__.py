"""`python -m benchmarks`: install what is compared, measure it, print the table."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import install, processes, report
from benchmarks.contenders import FAMILIES, OLD, OURS, ground
from benchmarks.figures import Figures
from benchmarks.measures import FULL, MEASURES, QUICK, Effort
from benchmarks.run import Run, say

RESULTS = install.HERE / "results"


def main(argv: Sequence[str]) -> int:
    """Run the benchmark: 0 when everything asked for was measured, 1 when something failed."""
    options = parse(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        venvs = install_all(options)
        return 0 if options.install_only else measure_all(options, venvs)
    except (install.CannotInstall, processes.Stuck) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        processes.end_all()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; `--contenders` and `--only` become lists in the table's order."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples, about two minutes")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds")
    parser.add_argument(
        "--only", metavar="MEASURE,…", default=",".join(MEASURES), help="of: %(default)s"
    )
    parser.add_argument(
        "--contenders", metavar="NAME,…", default=",".join(FAMILIES), help="of: %(default)s"
    )
    parser.add_argument("--old", type=Path, metavar="WHEEL", help="compare with this build of ours")
    parser.add_argument("--get", choices=["stream", "405"], default="stream", help="server's GET")
    parser.add_argument("--install-only", action="store_true", help="stop before measuring")
    options = parser.parse_args(argv)
    options.only = _chosen(parser, options.only, MEASURES)
    options.contenders = _chosen(parser, options.contenders, FAMILIES)
    if options.old:
        options.contenders.append(OLD)
    return options


def install_all(options: argparse.Namespace) -> dict[str, Path]:
    """Put what was chosen in place; our own environments by name."""
    say("installing")
    if "mcp-remote" in options.contenders or "supergateway" in options.contenders:
        install.install_npm()
    if "mcp-proxy" in options.contenders:
        install.install_mcp_proxy()
    venvs = {}
    if OURS in options.contenders:
        venvs[OURS] = install.install_ours()
    if options.old:
        venvs[OLD] = install.install_wheel(OLD, options.old.resolve())
    return venvs


def measure_all(options: argparse.Namespace, venvs: dict[str, Path]) -> int:
    """Measure and report."""
    figures = Figures()
    begun = time.monotonic()
    with ground(options.get) as standing:
        run = Run(standing, options.contenders, venvs, figures)
        with run:
            run.rounds(effort(options), options.only)
        names = [contender.name for contender in run.contenders]
    pairs = [(OURS, OLD), (f"{OURS} entry", f"{OLD} entry")] if options.old else []
    say(f"took {time.monotonic() - begun:.0f} s")
    print(report.markdown(figures, names, pairs))
    say(f"written to {write(report.as_json(figures, install.versions()))}")
    return 1 if figures.failures else 0


def effort(options: argparse.Namespace) -> Effort:
    """How much to do, by the options."""
    chosen = QUICK if options.quick else FULL
    return replace(chosen, rounds=options.rounds) if options.rounds else chosen


def write(contents: dict[str, Any]) -> Path:
    """Write the results beside earlier ones; the file."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())
    file.write_text(json.dumps(contents, indent=1) + "\n")
    return file.relative_to(install.PROJECT)


def _chosen(
    parser: argparse.ArgumentParser, text: str, known: Sequence[str] | dict[str, Any]
) -> list[str]:
    wanted = text.split(",")
    for name in wanted:
        if name not in known:
            parser.error(f"no such thing as {name!r}; there are {', '.join(known)}")
    return [name for name in known if name in wanted]


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
