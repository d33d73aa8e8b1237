"""Bundles of tiny untrained agents, each converted once for all processes: conversion takes seconds."""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from wmctrl_envs.task import TaskSpec
from wmctrl_export.bundle import write_bundle

from tests.tiny_run import tiny
from wmctrl.commands import exporting, nominal, observations, training
from wmctrl.learning.agent import Agent
from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.controller import Controller

CHEETAH = (
    *("HalfCheetah-v5", "agent.objective.particles=3", "agent.objective.value=1", "agent.objective.risk=0.5"),
    "agent.planner.reopening=0.5",
)
"""A planner with proposals, values and drawn futures, whose search opens up little by little, where any will do."""


def home() -> Path:
    """An empty folder for as long as the tests run."""
    return Path(tempfile.mkdtemp(dir=os.environ["WMCTRL_TESTS"]))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep the other processes of the tests from a folder meanwhile."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def untrained(task: str, *overrides: str) -> tuple[Agent, TaskSpec]:
    """An untrained agent on a task, no network of which is silent; it is not to be changed."""
    config = tiny(task, *overrides)
    with contextlib.closing(training.make_task(config.task)) as plant:
        spec = plant.task_spec
    torch.manual_seed(0)
    agent = Agent.for_task(spec, config.agent)
    with torch.no_grad():
        for parameter in (*agent.model.parameters(), *agent.behavior.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return agent, spec


@functools.cache
def made(task: str, *overrides: str) -> tuple[Agent, Path]:
    """Such an agent and its bundle, which is not to be changed either."""
    (agent, spec), config = untrained(task, *overrides), tiny(task, *overrides)
    folder = place("driving", task, *overrides)
    with alone(folder):
        if not (folder / manifest.NAME).exists():  # which is written last
            told, seen = exporting.task_of(spec, config.task), observations.invented(spec, 5)
            write_bundle(agent, told, seen, folder, {"steps": "0"})
    return agent, folder


@functools.cache
def taught(task: str, *overrides: str) -> Path:
    """The bundle of such an agent that can go on learning; it is not to be changed."""
    (agent, spec), config = untrained(task, *overrides), tiny(task, *overrides)
    folder = place("taught", task, *overrides)
    with alone(folder):
        if not (folder / bundle.IMPORTANCE).exists():  # which is written last
            told, seen = exporting.task_of(spec, config.task), observations.invented(spec, 5)
            write_bundle(agent, told, seen, folder, {"steps": "0"}, config.replay)
            driving = Controller.load(folder, provider="cpu", in_time=False)
            nominal.add_memories(folder, agent, config, driving, steps=600)
    return folder


def place(*what: str) -> Path:
    """Where all processes find a bundle."""
    return Path(os.environ["WMCTRL_TESTS"]) / f"bundle-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"


def controller(task: str, *overrides: str, policy_only: bool = False) -> Controller:
    """A controller of `made`'s bundle."""
    return Controller.load(made(task, *overrides)[1], provider="cpu", in_time=False, policy_only=policy_only)


def copied(folder: Path, target: Path) -> Path:
    """A copy of a bundle that may be damaged."""
    return Path(shutil.copytree(folder, target / "copy"))
