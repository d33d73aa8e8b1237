"""Bundles of tiny untrained agents, each converted once a process: conversion takes seconds."""

import atexit
import contextlib
import functools
import shutil
import tempfile
from pathlib import Path

import torch
from wmctrl_export.bundle import write_bundle

from tests.tiny_run import tiny
from wmctrl.commands import exporting, observations, training
from wmctrl.learning.agent import Agent
from wmctrl.runtime.controller import Controller

CHEETAH = ("HalfCheetah-v5", "agent.objective.particles=3", "agent.objective.value=1", "agent.objective.risk=0.5")
"""A planner with proposals, values and drawn futures, where any will do: one process converts it once."""


def home() -> Path:
    """A folder for as long as the process lives."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def made(task: str, *overrides: str) -> tuple[Agent, Path]:
    """An untrained agent on a task, no network of which is silent, and its bundle; neither is to be changed."""
    config = tiny(task, *overrides)
    with contextlib.closing(training.make_task(config.task)) as plant:
        spec = plant.task_spec
    torch.manual_seed(0)
    agent = Agent.for_task(spec, config.agent)
    with torch.no_grad():
        for parameter in (*agent.model.parameters(), *agent.behavior.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape))
    folder, shown = home() / "bundle", observations.invented(spec, 5)
    write_bundle(agent, exporting.task_of(spec, config.task), shown, folder, {"steps": "0"})
    return agent, folder


def controller(task: str, *overrides: str, policy_only: bool = False) -> Controller:
    """A controller of `made`'s bundle."""
    return Controller.load(made(task, *overrides)[1], provider="cpu", in_time=False, policy_only=policy_only)


def copied(folder: Path, target: Path) -> Path:
    """A copy of a bundle that may be damaged."""
    return Path(shutil.copytree(folder, target / "copy"))
