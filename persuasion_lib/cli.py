"""The command `persuasion`: run the pipeline, see its state, open the labelling app."""

import argparse
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from persuasion_lib.core import runner
from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.family import MODELS
from persuasion_lib.core.manifest import (
    conditions,
    open_items,
    read_manifest,
    will_change,
)
from persuasion_lib.core.pipeline import STAGES, Stage, path_of
from persuasion_lib.core.rehearsal import banner_of, rehearsed
from persuasion_lib.core.runs import all_runs, settings_shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 done, 1 failed or something is open, 2 wrong usage, 128 and a signal's number: stopped by it.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.name is not None and not options.name.strip():
        parser.error("--name needs a name")
    options.overrides += [] if options.name is None else [f"name={options.name}"]
    options.overrides += ["replace=true"] if getattr(options, "replace", False) else []
    with _signals() as came:
        try:
            # A study has the profile that its file names.
            is_named = options.profile is not None
            config = load_config(options.profile, options.overrides) if is_named else None
            for note in config.notes if config else ():
                print(f"note: {note}", file=sys.stderr)
            return options.command(options, config)
        except PersuasionError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:     # `persuasion status | head`
            sys.stdout = None
            return 1
        except OSError as error:    # a disk, a folder or a limit, wherever it was met
            where = f"{error.filename}: " if error.filename else ""
            print(f"error: {where}{error.strerror or error}. Free some disk space, or mend the "
                  "rights or limits, and run again.", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            with suppress(OSError):     # the terminal may be what has gone
                print("\nstopped. What was finished is saved; the same command goes on from "
                      "there.", file=sys.stderr)
            return 128 + (came[0] if came else signal.SIGINT)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The end of a session or a machine is like Ctrl-C; the list says which signal it was."""
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    names = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    taken = [number for number in names if number and signal.getsignal(number) is signal.SIG_DFL
             and threading.current_thread() is threading.main_thread()]     # not under nohup
    for number in taken:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="persuasion", description=__doc__)
    ours = f"persuasion {version('persuasion')}"
    parser.add_argument("--version", action="version", version=ours)
    commands = parser.add_subparsers(required=True, metavar="command")
    run = _add(commands, "run", _run, "execute the notebooks whose results are missing or stale")
    stages = ", ".join(STAGES)
    run.add_argument("--from", dest="first", metavar="STAGE", help=f"first stage: {stages}")
    run.add_argument("--to", dest="last", metavar="STAGE", help="last stage")
    run.add_argument("--only", metavar="STAGE", help="just this stage")
    run.add_argument("--force", action="store_true", help="run stages that are up to date, too")
    run.add_argument("--replace", action="store_true", help="replace results of other settings")
    _add(commands, "runs", _runs, "all runs: day, what differs from the profile, state, headline")
    shown = _add(commands, "show-config", _show_config, "every setting, and where it is from")
    shown.add_argument("keys", nargs="*", metavar="KEY", help="only these, or sections")
    _add(commands, "status", _status, "per stage: done, stale because of what, or missing")
    check = _add(commands, "check", _check, "could the judges of these settings work?")
    check.add_argument("--ping", action="store_true", help="ask each real judge three questions")
    _add(commands, "label", _label, "open the labelling notebook as an app in the browser")
    audit = _add(commands, "audit", _audit, "run every check that files allow; status 1: it stops")
    audit.add_argument("paths", type=Path, nargs="*", metavar="FOLDER|FILE", help="else the run's")
    study = _add(commands, "study", _study, "one question over many trainings: plan it, and run "
                 "the cells that are missing; --name keeps one of other settings apart")
    study.set_defaults(profile=None)
    study.add_argument("study", nargs="?", default="human_labels", metavar="NAME|FILE",
                       help="of configs/studies (human_labels), or a file of your own")
    study.add_argument("--plan", action="store_true", help="only say what it would take")
    study.add_argument("--replace", action="store_true", help="replace cells of other settings")
    study.add_argument("--cells", metavar="K/M", help="only part K of M of the cells, say 3/8")
    _add_compare(commands)
    export = _add(commands, "export", _export, "write a model, merged, for plain transformers")
    export.add_argument("model", choices=MODELS)
    data = _add(commands, "export-data", _export_data, "write rows and labels for other tools")
    data.add_argument("--to", choices=("trl", "hf", "argilla", "label-studio"), default="trl")
    for each in (export, data):
        each.add_argument("folder", type=Path, help="a new folder")
        each.add_argument("--push", metavar="REPO", help="upload it to the hub, with its card")
    return parser


def _add_compare(commands: argparse._SubParsersAction) -> None:
    beside = _add(commands, "compare", _compare, "runs beside each other, as far as they may be")
    beside.add_argument("runs", nargs="+", metavar="RUN", help="names of runs, or result folders")
    beside.add_argument("--anchor", choices=("oracle", *MODELS), help="whose replies all others "
                        "are compared with (the one that a study compared them with, sft)")
    beside.add_argument("--ask", action="store_true", help="ask the judge what nobody compared yet")


def _add(commands: argparse._SubParsersAction, name: str, command: object,
         description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(command=command)
    parser.add_argument("--profile", default="demo", help="a file of configs/profiles (demo)")
    parser.add_argument("--name", help="a run of its own, whose models and results stand apart")
    parser.add_argument("--set", dest="overrides", action="append", default=[],
                        metavar="KEY=VALUE", help="a setting, for example dpo.beta=0.2; repeatable")
    return parser


def _run(options: argparse.Namespace, config: Config) -> int:
    stages = runner.chosen_stages(options.first, options.last, options.only)
    before_it_begins(config, stages)
    executed = runner.run(options.profile, options.overrides, first=options.first,
                          last=options.last, only=options.only, force=options.force)
    if not executed:
        print("Nothing changed: no notebook was executed.")
    print_summary(config)
    left = [f"{stage.notebook}: {text}" for stage in stages
            for text in open_items(read_manifest(config, stage.name) or {})]
    if left:
        print(f"\nopen: {'; '.join(left)}. The same command asks once more; the other stages used "
              "what is there.", file=sys.stderr)
    return 1 if left else 0


def before_it_begins(config: Config, stages: Sequence[Stage]) -> None:
    """Say what is rehearsed, and refuse now what would fail for want of a judge hours later.

    Raises:
        ConfigError: a judge of a stage that will run cannot work.
    """
    roles = rehearsed(config)
    if roles and stages:
        show(f"{banner_of(config)} Everything that they have a part in goes below trial/, and no "
             "real run reads it.")
    conditions_now = conditions(config)
    asking = [stage for stage in stages if stage.name in ("label_ai", "evaluate")
              and will_change(conditions_now[stage.name])]
    if asking:
        from persuasion_lib.judging.check import refuse_unable
        refuse_unable(config, asking)


def show(text: str) -> None:
    """Print a paragraph that stands out."""
    print(textwrap.fill(text, 100), flush=True)


def _status(_: argparse.Namespace, config: Config) -> int:
    found = conditions(config)
    for name, (condition, reasons) in found.items():
        line = f"{STAGES[name].notebook:15s} {condition:8s}{'; '.join(map(str, reasons))}"
        print(textwrap.fill(line, 100, subsequent_indent=" " * 24))
        runner.show_notes(config, STAGES[name])
    return 0


def _runs(_: argparse.Namespace, config: Config) -> int:
    for row in all_runs(config):
        print(f"{row['run']:28s} {row['finished'][:16].replace('T', ' ')}  {row['state']}")
        for name in ("differs", "headline"):
            print(textwrap.fill(f"{name}: {row[name]}", 100, initial_indent="    ",
                                subsequent_indent="      "))
    return 0


def _show_config(options: argparse.Namespace, config: Config) -> int:
    print("\n".join(settings_shown(config, options.keys)))
    return 0


def _check(options: argparse.Namespace, config: Config) -> int:
    from persuasion_lib.judging.check import check
    from persuasion_lib.models.check import check_model
    found = check(config, ping=options.ping)
    found["model"], notes = check_model(config)
    for role, problem in found.items():
        print(f"{role:10s} {problem or 'ok'}")
    for note in notes:
        print(f"note: {note}.")
    if roles := rehearsed(config):
        show(f"These settings are a rehearsal, since stand-ins play: {', '.join(roles)}. It goes "
             "below trial/, and no real run reads it.")
    return 1 if any(found.values()) else 0


def _label(_: argparse.Namespace, config: Config) -> int:
    from persuasion_lib.labeling.app import open_app
    return open_app(config)


def _audit(options: argparse.Namespace, config: Config) -> int:
    from persuasion_lib.analysis import audited
    findings, table = audited(config, options.paths)
    print(table)
    return 1 if any(found.state == "stop" for found in findings) else 0


def _study(options: argparse.Namespace, _: None) -> int:
    from persuasion_lib.study.command import study
    return study(options)


def _compare(options: argparse.Namespace, config: Config) -> int:
    from persuasion_lib.study.compare import compare
    print(compare(config, options.runs, anchor=options.anchor, ask=options.ask))
    return 0


def _export(options: argparse.Namespace, config: Config) -> int:
    from persuasion_lib.models.export import export, rounding
    folder = export(config, options.model, options.folder.resolve(), push=options.push)
    print(f"{rounding(folder)}\n{folder}")
    return 0


def _export_data(options: argparse.Namespace, config: Config) -> int:
    from persuasion_lib.data.exported import export_data
    print(export_data(config, options.folder.resolve(), to=options.to, push=options.push))
    return 0


def print_summary(config: Config) -> None:
    """Planned against done of what has finished once, the table of models, report and figures.

    Results that do not belong to the settings or to newer models are marked as such.
    """
    print()
    manifests = {name: read_manifest(config, name) for name in STAGES}
    states = conditions(config)
    for name, manifest in manifests.items():
        if manifest:
            planned, done = (manifest["counts"].get(key) for key in ("planned", "done"))
            condition, reasons = states[name]
            what = "OUT OF DATE" if will_change(states[name]) else "OPEN"
            old = "" if condition == "done" else f"   {what}: {reasons[0]}"
            print(f"{STAGES[name].notebook:15s} planned {planned}, done {done}{old}")
    if manifests["analysis"] is None or not path_of(config, "analysis").exists():
        return
    if states["analysis"][0] != "done":
        print("\nWhat follows is from before these changes. Run all stages to renew it.")
    from persuasion_lib.analysis import scores_table
    from persuasion_lib.core.store import read_json
    result = read_json(path_of(config, "analysis"), made_by="notebooks/06_analysis.ipynb")
    print(f"\nEVALUATION SUMMARY (score with {config.analysis.confidence:.0%} interval)")
    print(scores_table(result).to_string())
    if config.analysis.input_file:
        print("\n".join(result["answer"]["sentences"]))
    elif config.data.source == "demo":
        print("Gold utility is the truth of the demo world, which no judge sees.")
    for name in ("report", "report_html", "figures"):
        print(f"{name.replace('_', ' '):12s} {path_of(config, name)}")
    if above := banner_of(config):
        show(above)


if __name__ == "__main__":
    sys.exit(main())
