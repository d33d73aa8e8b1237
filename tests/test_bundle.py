"""Damaged and hostile bundles are refused by one line that names the file, before any of it is used."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load, save
from wmctrl_export import signing

from tests.tiny_bundle import CHEETAH, copied, made
from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.golden import error, plan_error, proposal_error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound bundle, to be damaged."""
    return copied(made(*CHEETAH)[1], tmp_path)


def sealed(folder: Path) -> None:
    """Let the manifest vouch for the files as they are now, as somebody would who made the bundle so."""
    path = folder / manifest.NAME
    told = json.loads(path.read_bytes())
    for name in told["files"]:
        content = (folder / name).read_bytes()
        told["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    path.write_text(json.dumps(told))


def refusal(folder: Path) -> str:
    """Why a bundle is not loaded, in one line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # each caller holds what is said to what it expects
        bundle.load(folder)
    said, remedy = str(caught.value).rsplit("; ", 1)
    assert "\n" not in said
    assert remedy == bundle.REMEDY
    return said


def outcome(folder: Path) -> str:
    """Why a bundle is not driven; nothing where it is."""
    try:
        Controller.load(folder, provider="cpu", in_time=False)
    except ValueError as error:
        return str(error)
    return ""


def test_a_missing_file_is_refused_by_name_with_what_to_do(folder: Path) -> None:
    for name in (*names(folder), manifest.NAME):  # `refusal` holds each to what to do
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert refusal(folder) == f"{folder / name}: is missing"
        (folder / name).write_bytes(content)


def names(folder: Path) -> list[str]:
    return [*json.loads((folder / manifest.NAME).read_bytes())["files"]]


def test_a_sound_bundle_is_loaded(folder: Path) -> None:
    assert bundle.load(folder).manifest.task.id == "HalfCheetah-v5"


def test_every_file_cut_short_anywhere_is_refused_by_its_name(folder: Path) -> None:
    generator, tried = np.random.default_rng(0), 0
    for name in [*names(folder), manifest.NAME]:
        content = (folder / name).read_bytes()
        for length in generator.integers(0, len(content), 40):
            (folder / name).write_bytes(content[:length])
            assert name in refusal(folder)
            tried += 1
        (folder / name).write_bytes(content)
    assert tried >= 1000


def test_every_file_with_a_byte_flipped_is_refused_by_its_name(folder: Path) -> None:
    generator, tried = np.random.default_rng(1), 0
    for name in names(folder):
        content = (folder / name).read_bytes()
        for place in generator.integers(0, len(content), 40):
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(generator.integers(8))
            (folder / name).write_bytes(flipped)
            assert name in refusal(folder)
            tried += 1
        (folder / name).write_bytes(content)
    assert tried >= 1000


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every field and item of a JSON value is."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


FREE = ("made_by", "config", "weights")
"""Parts whose entries are not fields: leaving one out is another bundle, not a damaged one."""


def test_every_field_of_the_manifest_that_is_left_out_is_refused_by_name(folder: Path) -> None:
    path = folder / manifest.NAME
    whole, tried = path.read_bytes(), 0
    for place in places(json.loads(whole)):
        told = json.loads(whole)
        holder = at(told, place[:-1])
        if not isinstance(holder, dict) or place[-2:-1] in [(name,) for name in FREE] or place[0] == "files":
            continue
        if place == ("graphs", "policy"):  # a planner drives without one
            continue
        del holder[place[-1]]
        path.write_text(json.dumps(told))
        assert str(place[-1]) in refusal(folder)
        tried += 1
    assert tried >= 150


@pytest.mark.parametrize("wrong", [None, True, -1, 1e400, "x" * 5000, [], {}, "../x", "\u0000"], ids=repr)
def test_every_field_of_the_manifest_with_another_value_is_refused_or_means_something(folder: Path, wrong: Any) -> None:
    path = folder / manifest.NAME
    whole = path.read_bytes()
    for place in [place for place in places(json.loads(whole)) if place[0] != "made_by"][::5]:
        told = json.loads(whole)
        at(told, place[:-1])[place[-1]] = wrong
        path.write_text(json.dumps(told))
        assert "\n" not in outcome(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a//b", "", ".", "a\u0000b", "~/x", "a\\b"])
def test_a_path_that_leads_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    path = folder / manifest.NAME
    told = json.loads(path.read_bytes())
    told["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    path.write_text(json.dumps(told))
    assert re.search("is not a path within the bundle|is no name of", refusal(folder))


def test_links_pipes_and_folders_in_place_of_files_are_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((folder / "observe.onnx").read_bytes())
    (folder / "observe.onnx").unlink()
    (folder / "observe.onnx").symlink_to(outside)
    assert "observe.onnx: is a link" in refusal(folder)
    (folder / "observe.onnx").unlink()
    os.mkfifo(folder / "observe.onnx")
    assert "observe.onnx: is a named pipe" in refusal(folder)
    (folder / "observe.onnx").unlink()
    (folder / "observe.onnx").mkdir()
    assert "observe.onnx: is a folder" in refusal(folder)


def test_a_manifest_that_is_too_long_or_too_deep_is_refused(folder: Path) -> None:
    (folder / manifest.NAME).write_bytes(b" " * (bundle.LARGEST_MANIFEST + 1))
    assert manifest.NAME in refusal(folder)
    (folder / manifest.NAME).write_bytes(b"[" * 100_000)
    assert manifest.NAME in refusal(folder)


def test_a_bundle_of_another_schema_says_what_converts_it(folder: Path) -> None:
    path = folder / manifest.NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"schema": 7}))
    assert refusal(folder) == "manifest.json: has schema 7, this runtime reads 4"
    assert "export the run again with `wm export RUN`" in bundle.REMEDY


@pytest.mark.parametrize("name", ["noise.safetensors", "golden.safetensors"])
def test_a_pickle_in_place_of_tensors_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(
        b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
    )
    sealed(folder)
    assert refusal(folder).startswith(name)


def resealed(folder: Path, name: str, model: onnx.ModelProto) -> str:
    """Why a bundle with another graph in the place of one, vouched for by its manifest, is not loaded."""
    (folder / name).write_bytes(model.SerializeToString())
    sealed(folder)
    return refusal(folder)


def loaded(folder: Path, name: str) -> onnx.ModelProto:
    return onnx.load_from_string((folder / name).read_bytes())


def test_a_graph_with_an_operator_that_no_graph_of_ours_has_is_refused(folder: Path) -> None:
    model = loaded(folder, "observe.onnx")
    model.graph.node.append(helper.make_node("RandomNormal", [], ["extra"], shape=[3]))
    assert re.match(r"observe\.onnx: .*RandomNormal", resealed(folder, "observe.onnx", model))


def test_a_graph_that_reads_other_files_is_refused(folder: Path) -> None:
    model = loaded(folder, "observe.onnx")
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    assert refusal_names(resealed(folder, "observe.onnx", model), "observe.onnx", "external")


def refusal_names(said: str, *words: str) -> bool:
    assert all(word in said for word in words), said
    return True


def test_a_graph_that_would_fill_the_memory_is_refused(folder: Path) -> None:
    model = loaded(folder, "observe.onnx")
    shape = numpy_helper.from_array(np.array([1 << 14, 1 << 14], np.int64), "huge")
    one = numpy_helper.from_array(np.ones(1, np.float32), "one_element")
    model.graph.initializer.extend([shape, one])
    model.graph.node.append(helper.make_node("Expand", ["one_element", "huge"], ["filled"]))
    said = resealed(folder, "observe.onnx", model)
    assert refusal_names(said, "observe.onnx", "'filled' needs 1,073,741,824 bytes, expected at most")


def test_ports_that_the_manifest_tells_otherwise_are_refused(folder: Path) -> None:
    path = folder / manifest.NAME
    told = json.loads(path.read_bytes())
    told["graphs"]["observe"]["inputs"].reverse()
    path.write_text(json.dumps(told))
    assert "observe.onnx: inputs differ from graphs.observe" in refusal(folder)


def test_graphs_mutated_anywhere_and_vouched_for_are_refused_or_pass_their_golden_steps(folder: Path) -> None:
    generator, outcomes = np.random.default_rng(2), {"refused": 0, "driven": 0}
    for name in ("observe.onnx", "refine.onnx", "noise.safetensors", "golden.safetensors"):
        content = (folder / name).read_bytes()
        for place in generator.integers(0, len(content), 60):
            mutated = bytearray(content)
            mutated[place] ^= 1 << int(generator.integers(8))
            (folder / name).write_bytes(mutated)
            sealed(folder)
            said = outcome(folder)
            assert "\n" not in said
            outcomes["refused" if said else "driven"] += 1
        (folder / name).write_bytes(content)
    assert outcomes["refused"] >= 20


def test_golden_steps_that_do_not_come_out_again_are_refused(folder: Path) -> None:
    golden = load((folder / bundle.GOLDEN).read_bytes())
    golden["observe.next_deter"][3, 0] += 0.01
    (folder / bundle.GOLDEN).write_bytes(save(golden))
    sealed(folder)
    with pytest.raises(ValueError, match=r"cpu: golden\.safetensors: step 3: observe is 0\.\d+ off"):
        Controller.load(folder, provider="cpu", in_time=False)


@pytest.mark.parametrize("name", ["observe", "propose", "refine", "policy"])
def test_every_output_of_every_golden_step_counts(folder: Path, name: str) -> None:
    content = (folder / bundle.GOLDEN).read_bytes()
    for output in manifest.OUTPUTS[name]:
        golden = load(content)
        golden[f"{name}.{output}"] = golden[f"{name}.{output}"] * -3.0 + 5.0
        (folder / bundle.GOLDEN).write_bytes(save(golden))
        sealed(folder)
        assert re.search(rf"step 0: {name} is (\d\S*|inf) off", outcome(folder)), output


def plan(*elites: float, best: float = 1.0, mean: float = 0.0) -> dict[str, NDArray[Any]]:
    """A refined plan of one step and one action."""
    return {
        "next_plan_mean": np.full((1, 1), mean),
        "next_plan_std": np.full((1, 1), 0.5),
        "next_plan_elites": np.array(elites).reshape(-1, 1, 1),
        "health": np.array([best, 0.0, 1.0, 0.5]),
    }


def test_golden_elites_may_be_exchanged_where_they_are_worth_the_same_and_most_are_there() -> None:
    kept = plan(0.1, 0.2, 0.3, 0.4)
    assert plan_error(kept, kept, 1e-3) == 0.0
    assert plan_error(plan(0.2, 0.1, 0.4, 0.3), kept, 1e-3) == 0.0
    assert plan_error(plan(0.1, 0.2, 0.9, 0.4, mean=0.5), kept, 1e-3) <= 0.0  # one of four may move it by a half
    assert plan_error(plan(0.1, 0.2, 0.3, 0.3, mean=0.5), kept, 1e-3) <= 0.0  # the third twice, for the fourth
    assert plan_error(plan(0.1, 0.2, 0.9, 0.4, mean=0.6), kept, 1e-3) == pytest.approx(0.1)
    assert plan_error(plan(0.1, 0.2, 0.9, 0.4, best=2.0), kept, 1e-3) == pytest.approx(0.5)
    assert plan_error(plan(0.9, 0.8, 0.7, 0.4), kept, 1e-3) == np.inf
    flat = plan(0.1, 0.2, 0.3, 0.4, best=0.0)
    assert plan_error(plan(0.9, 0.8, 0.7, 0.6, best=0.0, mean=0.5), flat, 1e-3) == 0.0  # all are worth the same
    assert plan_error(plan(0.9, 0.8, 0.7, 0.6, best=1.0), flat, 1e-3) == pytest.approx(1.0)
    assert plan_error(plan(0.1, 0.2, 0.3, 0.4, mean=0.3), kept, 1e-3) == pytest.approx(0.3)
    assert np.isnan(plan_error(plan(0.1, 0.2, 0.3, 0.4, mean=np.nan), kept, 1e-3))


def test_half_of_the_proposals_may_branch_off_after_their_first_actions() -> None:
    kept = np.zeros((4, 3, 2), np.float32)
    came = kept.copy()
    assert proposal_error(came, kept) == 0.0
    came[:2, 1:] = 0.7
    assert proposal_error(came, kept) == 0.0
    came[2, 2, 0] = -0.6
    assert proposal_error(came, kept) == pytest.approx(0.6)
    assert proposal_error(came[:1], kept[:1]) == pytest.approx(0.7)  # there is no other half
    first = kept.copy()
    first[3, 0, 1] = 0.2
    assert proposal_error(first, kept) == pytest.approx(0.2)
    first[3, 0, 1] = np.nan
    assert np.isnan(proposal_error(first, kept))


def test_golden_steps_are_few(folder: Path) -> None:
    golden = load((folder / bundle.GOLDEN).read_bytes())
    (folder / bundle.GOLDEN).write_bytes(save({name: np.repeat(array, 9, 0) for name, array in golden.items()}))
    sealed(folder)
    assert "golden.safetensors: holds 72 steps, expected from 1 to 64" in outcome(folder)


def test_golden_steps_are_met_relative_to_their_size() -> None:
    kept = np.array([0.5, -39.0], np.float32)
    assert error(kept + np.array([0.3, 0.0], np.float32), kept) == pytest.approx(0.3 / 1.5)
    assert error(kept - np.array([0.0, 2.0], np.float32), kept) == pytest.approx(2.0 / 40.0)
    assert error(np.array([3.0, -39.0], np.float32), kept) == pytest.approx(2.5 / 1.5)


def test_golden_steps_that_are_no_numbers_are_refused(folder: Path) -> None:
    golden = load((folder / bundle.GOLDEN).read_bytes())
    golden["observe.next_stoch"] = np.full_like(golden["observe.next_stoch"], np.nan)
    (folder / bundle.GOLDEN).write_bytes(save(golden))
    sealed(folder)
    with pytest.raises(ValueError, match="step 0: observe is nan off"):
        Controller.load(folder, provider="cpu", in_time=False)


def test_a_provider_that_is_not_here_is_refused() -> None:
    with pytest.raises(ValueError, match="tensorrt: "):
        Controller.load(made(*CHEETAH)[1], provider="tensorrt")


def test_no_provider_named_takes_one_that_repeats_the_golden_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmctrl.runtime.controller.present", lambda: ["tensorrt", "cpu"])
    assert Controller.load(made(*CHEETAH)[1], in_time=False).engine.provider == "cpu"


def signed(folder: Path) -> str:
    """Sign a bundle with a new key; the public one."""
    return signing.sign(folder, Ed25519PrivateKey.generate()).hex()


def test_a_signed_bundle_is_driven_where_a_signature_is_required(folder: Path) -> None:
    assert (
        Controller.load(folder, provider="cpu", in_time=False, public_key_hex=signed(folder)).engine.provider == "cpu"
    )


def test_unsigned_altered_and_strangers_bundles_are_refused_where_a_signature_is_required(folder: Path) -> None:
    public = signed(folder)
    with pytest.raises(ValueError, match=r"manifest\.sig: is not this key's signature"):
        Controller.load(folder, public_key_hex="11" * 32)
    path = folder / manifest.NAME
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"manifest\.sig: is not this key's signature"):
        Controller.load(folder, public_key_hex=public)
    (folder / bundle.SIGNATURE).unlink()
    with pytest.raises(ValueError, match=r"a signature is required, which .* makes: .*manifest\.sig: is missing; copy"):
        Controller.load(folder, public_key_hex=public)
    with pytest.raises(ValueError, match="a public key is 64 hexadecimal digits, came 'abc'"):
        Controller.load(folder, public_key_hex="abc")


@pytest.mark.parametrize("name", ["numpy.py", "wmctrl/runtime/more.py", "onnxruntime"])
def test_what_nobody_signed_is_refused_where_a_signature_is_required(folder: Path, name: str) -> None:
    public, stranger = signed(folder), folder / name
    if name == "onnxruntime":
        stranger.symlink_to("/tmp")
    else:
        stranger.write_text("print('mine now')")
    with pytest.raises(ValueError, match=f"{name}: is not in manifest.json, so nobody signed it; delete it"):
        Controller.load(folder, provider="cpu", public_key_hex=public)
    stranger.unlink()
    Controller.load(folder, provider="cpu", in_time=False, public_key_hex=public)


def pem(key: Ed25519PrivateKey | X25519PrivateKey, lock: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


@pytest.mark.parametrize(
    "content",
    [
        b"not a key",
        pem(X25519PrivateKey.generate(), NoEncryption()),
        pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")),
    ],
    ids=["no key", "another kind", "locked"],
)
def test_a_file_that_is_no_private_key_signs_nothing_and_says_how_to_make_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"key\.pem must hold an Ed25519 private key") as refused:
        signing.read_key(path)
    assert str(refused.value).endswith("; make one with `openssl genpkey -algorithm ed25519 -out KEY.pem`")
    path.write_bytes(pem(Ed25519PrivateKey.generate(), NoEncryption()))
    assert isinstance(signing.read_key(path), Ed25519PrivateKey)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("objective", "weights"), {}, r"graphs\.refine: weights has shape \(\d,\), expected \(0,\)"),
        (("planning", "horizon"), 9, r"planning: randomness\.horizon must be the horizon, 9, came 3"),
        (("planning", "elites"), 9, r"graphs\.refine: plan_elites has shape \(4, 3, 6\), expected \(9, 3, 6\)"),
        (("planning", "randomness", "samples"), -5, r"randomness\.samples must be from 1 to 100,000, came -5"),
        (("objective", "weights", "risk"), 0.0, r"risk must be from 0\.001 to 1, came 0"),
        (("objective", "weights", "reward"), 1e39, r"reward must be from 0 to 1e\+06, came 1e\+39"),
        (("objective", "weights", "a\nb"), 1.0, r"weights: 'a\\nb' is no name of at most 200 printable characters"),
        (("objective", "failure_reward"), -1e39, r"failure_reward must be at most 1e\+06 in size"),
        (("task", "id"), "a\x1b[31m", r"id must be of printable characters alone, came 'a\\x1b\[31m'"),
        (("graphs", "policy", "outputs", 0, "dtype"), "bool", "dtype must be float32 or uint8, came 'bool'"),
        (("files", "observe.onnx", "bytes"), 2**63, "bytes must be from 0 to"),
        (("golden_tolerance",), 1e9, r"golden_tolerance must be above 0 and at most 0\.05, came 1e\+09"),
        (("graphs", "observe", "outputs"), [], r"graphs\.observe: makes nothing, expected next_deter, next_stoch"),
        (
            ("planning", "randomness", "samples"),
            5,
            r"graphs\.refine: noise has shape \(12, 3, 6\), expected \(5, 3, 6\)",
        ),
        (("planning", "randomness", "stoch"), 5, r"future_values has shape \(3, 3, 8\), expected \(3, 3, 5\)"),
        (("task", "proprio"), [], "a task observes proprio, a camera or both, came neither"),
        (("graphs", "observe", "inputs"), [], r"graphs\.observe: must take deter and stoch"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_manifest_that_contradicts_itself_is_refused(
    folder: Path, path: tuple[str, ...], value: Any, said: str
) -> None:
    file = folder / manifest.NAME
    told = json.loads(file.read_bytes())
    at(told, path[:-1])[path[-1]] = value
    file.write_text(json.dumps(told))
    assert re.search(said, refusal(folder))
