"""The `wm` command line: arguments in, a command's answer called, one line on stderr where something is wrong."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import wmctrl
from wmctrl.commands import answers, deployment, evidence
from wmctrl.commands.typed import typed
from wmctrl.config_files import nearest
from wmctrl.runtime.records import in_a_line

LARGEST_SEED = 2**32 - 1
"""Numpy's older generators, which some environments use, take no larger one."""
BUNDLE = "folder of a bundle, or of the run that holds it, a packed one, or a name of wm controllers"
STRANGE = "the task, where the bundle names one of a module that is not ours"
OTHERWISE = "override a setting of the planner or its objective, such as agent.objective.action_rate=0.1"
DRIVEN = ("latency", "faults", "delay", "punctuality")
"""What `wm bench` measures of something that drives."""


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit, so that every error of the command looks the same."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for a mistake of the user's, 130 for Ctrl-C."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's own threads would take time from the loop that drives
    if "" not in sys.path:
        sys.path.append("")  # plants of one's own are modules where the command is typed
    given = sys.argv[1:] if argv is None else argv
    arguments = [word for word in given if word != "--debug"]
    debug = len(arguments) < len(given)
    command = next((word for word in arguments if not word.startswith("-")), "")
    try:
        code = parsed(command, arguments)()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read has seen enough; what is still to be flushed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, ValueError, OSError) as error:
        if debug:
            raise
        print(f"wm {command}".rstrip() + f": {typed(one_line(error))}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks and error numbers."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "stopped"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return in_a_line(error)


def parsed(command: str, arguments: list[str]) -> Callable[[], int]:
    """The call that the command line asks for."""
    parser, commands = parsers()
    if command and command not in commands:
        raise ValueError(f"not a command; {nearest(command, commands)}")
    options, unknown = parser.parse_known_args(arguments)
    values = vars(options)
    run: Callable[..., int] = values.pop("run")
    if run is answers.test:
        return partial(answers.test, unknown)
    if unknown:
        known = re.findall(r"--[a-z][a-z-]*", commands.get(command, parser).format_help())
        raise ValueError(f"{unknown[0]} is not an argument here; {nearest(unknown[0], dict.fromkeys(known))}")
    return partial(run, **values)


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and its commands by name."""
    parser = Parser(prog="wm", description=wmctrl.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"wm {wmctrl.__version__}")
    # Taken out by `main` before parsing, so that it may stand anywhere; here for the help.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    parser.set_defaults(run=partial(show_help, parser))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")

    def command(name: str, run: Callable[..., int], what: str) -> Parser:
        added = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    envs = command("envs", answers.show_envs, "list the tasks, or tell everything about one")
    envs.add_argument("task", metavar="ID", nargs="?", help="a task of the list, or any Gymnasium id with a box action")
    add_train_arguments(
        command("train", answers.train, "teach a controller to drive a plant, or go on with an earlier run")
    )
    add_lookers(command)
    add_bench_arguments(
        command("bench", evidence.show_costs, "what planning and learning cost, against this machine's limit")
    )
    add_evidence(command)
    doctor = command(
        "doctor", answers.show_findings, "look for what is wrong with this installation, and say how to mend it"
    )
    doctor.add_argument("--json", dest="as_json", action="store_true", help="print JSON instead of a table")
    completion = command("completion", partial(complete, parser), "print what has a shell complete what is typed")
    completion.add_argument("shell", choices=("bash", "zsh"), help="as in: source <(./wm completion bash)")
    checking = command("check-env", answers.check_env, "tell whether a plant can be learned, and what it does not say")
    checking.add_argument("task", metavar="ID", help="a Gymnasium id, such as my_package.my_module:MyEnv-v0")
    checking.add_argument("--json", dest="as_json", action="store_true", help="print JSON instead of a table")
    command("test", answers.test, "lint, type-check and test the source tree; further arguments go to pytest")
    return parser, dict(commands.choices)


def complete(parser: Parser, shell: str) -> int:
    """Print a shell's completions of the whole command line."""
    import shtab

    print(shtab.complete(parser, shell))
    return 0


def add_train_arguments(parser: Parser) -> None:
    """What a run is made of, or which run goes on."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--env", metavar="ID", help="start a run on this task; see wm envs")
    what.add_argument("--resume", metavar="RUN", type=Path, help="go on with this run's folder where it stopped")
    parser.add_argument(
        "--steps", metavar="N", type=count, help="environment steps in all, such as 20000 or 2e4; --resume takes more"
    )
    parser.add_argument("--seed", metavar="S", type=seed, help="the same seed gives the same run (default 0)")
    parser.add_argument("--offline", metavar="FOLDER", type=Path, help="learn from this run's recorded replay alone")
    add_settings(parser)
    parser.add_argument("--device", help="where PyTorch computes: cpu (default) or cuda")
    parser.add_argument("--envs", metavar="K", type=count, help="plants that run side by side")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder of runs (default runs)")


def add_settings(parser: Parser) -> None:
    """What differs from the task's own settings."""
    parser.add_argument("--config", metavar="F", type=Path, help="YAML of settings instead of the task's own")
    add_overrides(parser, "one setting")


def add_overrides(parser: Parser, what: str) -> None:
    """Settings given one by one."""
    parser.add_argument(
        "--set", metavar="A.B=C", dest="overrides", action="append", default=[], help=f"{what}; may be repeated"
    )


def threads(text: str) -> int | None:
    """A number of threads; None is to be measured."""
    return None if text == "auto" else count(text)


def count(text: str) -> int:
    """A positive whole number, `2e4` and `20_000` included."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 1 or value % 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, came {text!r}")
    return int(value)


def seed(text: str) -> int:
    """What random numbers start from: a whole number that numpy, torch and every simulator take."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {LARGEST_SEED}, came {text!r}")
    return value


def add_lookers(command: Callable[..., Parser]) -> None:
    """The commands that look at what was learned."""
    evaluate = command("eval", answers.evaluate, "drive what a run has learned; write figures, films and a report")
    evaluate.epilog = (
        "Kept in RUN/eval. What is asked otherwise is in the folder's name, such as eval-policy-20-episodes, so that it"
        " replaces nothing but the same evaluation. A bundle is driven as it is, and nothing is kept; a controller that"
        " comes along must drive as its card tells."
    )
    evaluate.add_argument(
        "folder", type=Path, nargs="?", metavar="RUN", help=f"folder of the run; or a bundle: {BUNDLE}"
    )
    evaluate.add_argument("--all", dest="every", action="store_true", help="every controller that comes along")
    evaluate.add_argument("--card", action="store_true", help="overwrite the card of a shipped controller")
    evaluate.add_argument("--episodes", type=count, metavar="N", help="how many (100, or those of a card)")
    evaluate.add_argument("--seed", type=seed, default=0, help="episode i starts from this plus i (0)")
    evaluate.add_argument("--policy", dest="policy_only", action="store_true", help="the reactive policy, no planning")
    evaluate.add_argument(
        "--torch", dest="beside_torch", action="store_true", help="the same episodes in PyTorch beside the bundle"
    )
    add_overrides(evaluate, OTHERWISE)
    evaluate.add_argument("--env", metavar="ID", help=STRANGE)
    evaluate.add_argument("--json", dest="as_json", action="store_true", help="print JSON instead of a table")
    export = command(
        "export", deployment.export_run, "write what a run has learned as a folder that drives without PyTorch"
    )
    export.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument("--states", type=count, default=200, metavar="N", help="decisions held against PyTorch (200)")
    export.add_argument("--learn", action="store_true", help="add what goes on learning while it drives; takes minutes")
    export.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="of the networks (fp32)")
    export.add_argument(
        "--target",
        choices=("generic", "x86", "jetson-jp6", "jetson-jp7"),
        default="generic",
        help="machine that its page, BOARD.md, tells how to drive on (generic)",
    )
    export.add_argument("--sign", type=Path, metavar="KEY", help="PEM file of an Ed25519 key to sign with")
    add_overrides(export, OTHERWISE)
    add_run_arguments(
        command("run", deployment.run_bundle, "drive a plant with a bundle, through the same runtime as on a board")
    )
    live = command("live", deployment.show_live, "drive on the wall clock, and watch and change it in a browser")
    live.add_argument("folder", type=Path, metavar="BUNDLE", help=BUNDLE)
    live.add_argument("--adapt", action="store_true", help="learn meanwhile; the bundle must be able to")
    live.add_argument("--budget-ms", type=float, metavar="MS", help="for a decision (half the control period)")
    live.add_argument("--seed", type=seed, default=0, metavar="S", help="of the first episode (0)")
    live.add_argument("--port", type=int, default=0, metavar="P", help="TCP port of the page (a free one)")
    live.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen at (127.0.0.1)")
    live.add_argument("--env", metavar="ID", help=STRANGE)
    pack = command("pack", deployment.pack_bundle, "write a bundle as one file, which drives like its folder")
    pack.add_argument("folder", type=Path, metavar="BUNDLE", help=BUNDLE)
    pack.add_argument("file", type=Path, metavar="FILE", help="where to, such as my-arm.tar.xz")
    cards = command(
        "controllers", deployment.show_controllers, "the trained controllers that come along, or one's card"
    )
    cards.add_argument("name", metavar="NAME", nargs="?", help="one of the list, to have its card shown")
    demo = command("demo", answers.show_demo, "an arm and a car change while they are driven, and are learned anew")
    demo.add_argument(
        "--from-nothing", action="store_true", help="an arm and a car teach themselves to drive, in under five minutes"
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="FOLDER", help="where to (runs/demo)")


def add_run_arguments(run: Parser) -> None:
    """What drives, for how long, and how time is kept."""
    run.add_argument("folder", type=Path, metavar="BUNDLE", help=BUNDLE)
    run.add_argument("--episodes", type=count, default=1, metavar="N", help="how many (1)")
    run.add_argument("--seed", type=seed, default=0, help="episode i starts from this plus i (0)")
    run.add_argument("--policy", dest="policy_only", action="store_true", help="the reactive policy, no planning")
    run.add_argument("--provider", choices=("tensorrt", "cuda", "cpu"), help="what computes (the first that works)")
    run.add_argument("--threads", type=threads, default=1, metavar="N", help="of ONNX Runtime; auto measures (1)")
    run.add_argument("--require-signature", metavar="HEX", help="refuse unless signed by this Ed25519 public key")
    run.add_argument("--env", metavar="ID", help=STRANGE)
    run.add_argument(
        "--rate", type=float, metavar="HZ", help="real time: the plant steps so often, whether or not a command came"
    )
    run.add_argument("--budget-ms", type=float, metavar="MS", help="with --rate: time for a command (nearly all)")
    run.add_argument("--beside", action="store_true", help="with --rate: plan in a thread of its own")
    run.add_argument("--fifo", action="store_true", help="with --rate: ask for real-time priority (SCHED_FIFO)")
    run.add_argument("--core", type=int, metavar="N", help="with --rate: stay on this processor core")
    run.add_argument("--cycles", type=count, metavar="N", help="with --rate: stop after so many control periods")
    run.add_argument(
        "--delay", type=int, default=0, metavar="N", help="control periods until a command has an effect (0)"
    )
    run.add_argument("--measure-delay", action="store_true", help="measure the delay while driving, from --delay on")
    run.add_argument("--adapt", action="store_true", help="with --rate: learn while driving, as the plant changes")
    run.add_argument("--adapt-cpu", type=float, metavar="SHARE", help="with --adapt: of a processor core (0.5)")
    run.add_argument(
        "--memory", type=Path, metavar="FOLDER", help="with --adapt: where to keep what is learned (RUN/adapted)"
    )
    run.add_argument(
        "--plant",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="with --rate: set a physical parameter, such as ground_friction=0.2 (see wm envs ID); may be repeated",
    )
    run.add_argument("--film", type=Path, metavar="FILE", help="animated WebP of the last episode (FILE.webp)")


def add_evidence(command: Callable[..., Parser]) -> None:
    """The commands that stand behind the tables."""
    trials = command(
        "trials", evidence.show_trials, "train and evaluate a task over several seeds; the evidence behind a table"
    )
    trials.add_argument("--env", metavar="ID", required=True, help="the task; see wm envs")
    trials.add_argument(
        "--seeds", metavar="S", type=seed, nargs="+", default=[0, 1, 2], help="one after another (0 1 2)"
    )
    trials.add_argument("--episodes", type=count, default=100, metavar="N", help="of each seed's evaluation (100)")
    add_settings(trials)
    trials.add_argument("--json", metavar="FILE", type=Path, help="also write every episode to this file")
    trials.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help="folder of runs (default runs)")
    trials.add_argument(
        "--look-every", type=count, default=0, metavar="N", help="steps between looks, of as many episodes"
    )
    trials.add_argument("--resume", action="store_true", help="go on with the newest runs of these settings and seeds")
    stress = command(
        "stress", evidence.show_stress, "change the plant while it is driven, with and without learning, and compare"
    )
    stress.add_argument("bundle", type=Path, metavar="BUNDLE", help=f"{BUNDLE}; it must be able to learn")
    stress.add_argument(
        "--suite", default="quick", metavar="FILE", help="YAML of shifts, or one of: quick, robotics, driving (quick)"
    )
    stress.add_argument("--seeds", metavar="S", type=seed, nargs="+", help="other seeds than the suite's")
    stress.add_argument("--arms", metavar="ARM", nargs="+", help="other arms than the suite's")
    stress.add_argument(
        "--rival",
        dest="rivals",
        metavar="NAME=RUN",
        action="append",
        default=[],
        help="another controller of the task, driven as it is, NAME@SHIFT=RUN for one shift; an oracle, trained on the"
        " changed plant, tells what there is to recover; may be repeated",
    )
    stress.add_argument("--processes", metavar="N", type=count, default=2, help="courses at a time (2)")
    stress.add_argument("--env", metavar="ID", help=STRANGE)
    endure = command(
        "endure", evidence.show_endurance, "kill a training again and again, and compare it with one left alone"
    )
    endure.add_argument("--env", metavar="ID", required=True, help="the task; see wm envs")
    endure.add_argument("--steps", metavar="N", type=count, default=1000, help="of both runs (1000)")
    endure.add_argument("--kills", metavar="N", type=count, default=10, help="by SIGKILL, at random moments (10)")
    endure.add_argument("--seed", metavar="S", type=seed, default=0, help="of both runs, and of the moments (0)")
    endure.add_argument("--out", metavar="DIR", type=Path, default=Path("runs/endure"), help="folder of both runs")


def add_bench_arguments(parser: Parser) -> None:
    """What is measured, and how."""
    parser.add_argument(
        "part",
        nargs="?",
        choices=("update", "planning", "iteration", "compiled", "gradient", "continual", "peers", "all", *DRIVEN),
        default="all",
        help="what to measure (all, the first three). continual: digits learned task after task, with and without"
        " consolidation and replay; peers: --env by other methods; of what --run drives, latency: by time for a"
        " decision, faults: with failing sensors and planners, delay: with late commands, punctuality: in real time",
    )
    parser.add_argument(
        "--run", dest="trained", type=Path, metavar="RUN", help=f"with the last four, what drives: {BUNDLE}"
    )
    parser.add_argument(
        "--episodes",
        type=count,
        metavar="N",
        help="with latency, faults, delay: under each condition (20); with peers: of each method and seed (100)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="with the last four: episode i starts from this plus i (0)"
    )
    parser.add_argument(
        "--cycles", type=count, default=3000, metavar="N", help="with punctuality: commands beside busy cores (3000)"
    )
    parser.add_argument("--beside", action="store_true", help="with punctuality: plan in a thread of its own")
    parser.add_argument(
        "--seeds",
        metavar="S",
        type=seed,
        nargs="+",
        default=[0, 1, 2],
        help="with continual and peers, one by one (0 1 2)",
    )
    parser.add_argument(
        "--methods", metavar="M", nargs="+", help="with peers: some of random, sac, tqc, tqc+her, simulator (all)"
    )
    parser.add_argument(
        "--steps", metavar="N", type=count, help="with peers: to learn from (as many as wm train takes)"
    )
    parser.add_argument(
        "--env", metavar="ID", help=f"task whose sizes count, or of peers (HalfCheetah-v5); with --run, {STRANGE}"
    )
    parser.add_argument("--width", metavar="N", type=count, default=128, help="width of every layer (128)")
    parser.add_argument("--threads", metavar="N", type=count, nargs="+", default=[1, 2], help="one after another (1 2)")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write everything measured to this file; peers go on with it"
    )


def show_help(parser: Parser) -> int:
    """What `wm` alone prints."""
    parser.print_help()
    return 0
