"""Trained models in one file: safetensors, with JSON that tells how to build the model again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Set
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import DescentError
from ..families import image_observation
from ..files import save_tensors
from ..model import DescentModel
from ..names import MODELS, OBSERVATIONS, PROBLEMS
from ..observation import Concat, Frozen, ImageObservation, Observation
from ..observations import ScaledEquations
from ..problem import LeastSquares, Problem
from ..registry import builtin_class, configured, name_of
from .description import describe, described_observation
from .stored import (
    KEY,
    StoredModel,
    check_arguments,
    made_within,
    read_stored,
)

_STORED = {torch.float16, torch.bfloat16}
"""Precisions in which weights are stored and no model computes; one that looks at images, in single
precision, has no other."""


def save_model(
    model: DescentModel, path: str | Path, *, training: Mapping[str, Any] | None = None
) -> None:
    """Writes a model as one safetensors file, atomically.

    The metadata hold the names and the settings of the problem, the observation and the model,
    which :func:`load_model` needs, and ``training``. Nothing is pickled.

    Args:
        model: a learned model; it, its problem and its observation may be anybody's. One that is
            not built in is read again by :func:`load_model` with its class as ``model``, or by
            :func:`load_weights`.
        path: the file.
        training: where the weights come from (seed, settings, fingerprint of the data, ...), as
            JSON.

    Raises:
        DescentError: if the model has nothing to learn, or a setting is nothing that JSON can hold.

    Example:
        >>> import tempfile
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(Cascade.for_problem(Analytic("cube"), num_steps=3), path,
        ...     training={"seed": 1})
        >>> load_model(path).num_steps, read_stored(path).training
        (3, {'seed': 1})
    """
    tensors, text = _packed(model, training)
    save_tensors(path, tensors, {KEY: text})


def check_storable(model: DescentModel) -> None:
    """Refuses a model that :func:`save_model` could not write, before anything is trained.

    Raises:
        DescentError: as :func:`save_model` does.
    """
    tensors, text = _packed(model, None)
    save(tensors, {KEY: text})


def _packed(
    model: DescentModel, training: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a weights file, and its description as JSON."""
    description = {**describe(model), "training": None if training is None else dict(training)}
    try:
        text = json.dumps(description)
    except (TypeError, ValueError) as error:
        raise DescentError(f"training: expected JSON: {error}") from error
    return {
        key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()
    }, text


def annotate(weights: str | Path | StoredModel, section: str, value: Any) -> StoredModel:
    """Adds a section to what a weights file says about itself, atomically; its tensors stay as they
    are.

    Args:
        weights: the file, or what was read of it.
        section: its name, such as ``"calibration"``; what it held is replaced.
        value: its content, as JSON.

    Returns:
        What the file holds now.

    Raises:
        DescentError: as :func:`load_model` does for a file that is no model.

    Example:
        >>> import tempfile
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(Cascade.for_problem(Analytic("cube")), path)
        >>> annotate(path, "calibration", {"scale": 2.0}).description["calibration"]
        {'scale': 2.0}
    """
    stored = read_stored(weights)
    stored = replace(stored, description={**stored.description, section: value})
    save_tensors(stored.path, stored.tensors, {KEY: json.dumps(stored.description)})
    return stored


def pack(weights: str | Path | StoredModel, target: str | Path) -> None:
    """Writes a copy to hand on: half the size, by half precision, without the folders that faces
    and start were read from.

    Args:
        weights: the weights file, or what was read of it.
        target: the copy.

    Raises:
        DescentError: as :func:`load_model` does for a file that is no model.
    """
    stored = read_stored(weights)
    description = deepcopy(dict(stored.description))
    training = description.get("training")
    while training:
        settings = training.get("settings") or {}
        settings.pop("init", None)
        for folder in ("root", "boxes"):
            (settings.get("problem") or {}).pop(folder, None)
        training = training.get("init")
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in stored.tensors.items()
    }
    save_tensors(target, half, {KEY: json.dumps(description)})


def load_model(
    weights: str | Path | StoredModel,
    *,
    problem: Problem | None = None,
    model: type[DescentModel] | None = None,
) -> DescentModel:
    """A model on the CPU, in evaluation mode, as :func:`save_model` wrote it.

    The file is data: it can name built-in problems, observations and models, and no code is
    imported on its word.

    Args:
        weights: the file, or what :func:`~learned_descent.checkpoint.read_stored` read of it.
        problem: the problem of the model; needed where that is not a built-in one. It receives the
            buffers of the file. An observation that is not built in must be the one that
            ``problem.observation()`` returns.
        model: the class of the model; needed where that is not a built-in one.

    Raises:
        DescentError: if the file is missing, truncated, of another kind or of another version; if
            the problem is needed or is another one; if the observation cannot be built; if a tensor
            is missing, unknown or of another shape.
    """
    stored = read_stored(weights)
    path, description = stored.path, stored.description
    if problem is None:
        problem = stored_problem(
            path, problem_class(description, path=path), description["problem"]["settings"]
        )
    try:
        _check_problem(problem, description, path)
        return _assembled(description, stored.tensors, problem, model).eval()
    except DescentError as error:
        raise (
            error if str(error).startswith(str(path)) else DescentError(f"{path}: {error}")
        ) from error
    except (
        Exception
    ) as error:  # made of what a file says, a part can fail in any way: it is the file's fault
        raise DescentError(
            f"{path}: expected the description of a model, could not use it: {error!r}"
        ) from error


def _assembled(
    description: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    problem: Problem,
    given: type[DescentModel] | None,
) -> DescentModel:
    """The model that a description tells of, with the tensors of the file; no larger than they
    are.
    """
    observation = _build_observation(description["observation"], problem, tensors)
    spec = description["model"]
    cls = _model_class(spec["name"], given)
    check_arguments(cls, spec["settings"])
    model: DescentModel = made_within(
        lambda: cls(problem, observation, **spec["settings"]), tensors, "model"
    )
    own = model.state_dict()
    kinds = _STORED | (
        {torch.float64}
        if any(isinstance(part, ImageObservation) for part in observation.modules())
        else set()
    )
    laid = {
        name: _laid_out(value, own[name], kinds) if name in own else value
        for name, value in tensors.items()
    }
    _check_sizes(laid, own)
    try:
        model.load_state_dict(laid, strict=True, assign=True)
    except RuntimeError as error:
        raise DescentError(
            f"the weights do not fit the model that the file describes: {error}"
        ) from error
    return model


def _check_sizes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuses what the file holds of its problem where the problem that it is loaded for is of
    another size.
    """
    for name, value in tensors.items():
        if name.startswith("problem.") and name in own and own[name].shape != value.shape:
            raise DescentError(
                f"the weights were trained for a problem whose {name.removeprefix('problem.')} is "
                f"{tuple(value.shape)}, this one has {tuple(own[name].shape)}: leave the setting "
                "out that makes it another one, such as --problem.schema (labels of another markup "
                "are read into that of the weights)"
            )


def _model_class(name: str, given: type[DescentModel] | None) -> type[DescentModel]:
    """The class of a stored model: a built-in one by its name, or the one that was given, of the
    same name.
    """
    if name in MODELS or not name.startswith("custom:"):
        cls: type[DescentModel] = builtin_class(name, MODELS, "model")
        return cls
    if given is None or name_of(given, MODELS) != name:
        wrong = "" if given is None else f", got {given.__name__}"
        raise DescentError(
            f"made with the model {_plain(name)}, which is not built in{wrong}: give its class "
            f"(model=..., or on the command line --model file.py:{_plain(name)})"
        )
    return given


def stored_problem(path: str | Path, cls: type[Problem], settings: Mapping[str, Any]) -> Problem:
    """A problem made as a weights file says.

    Args:
        path: the file, for messages.
        cls: the class.
        settings: what the file gives for it.

    Raises:
        DescentError: if it cannot be made with these settings.
    """
    try:
        check_arguments(cls, settings)
        return configured(cls, settings)
    except DescentError as error:
        raise (
            error if str(error).startswith(str(path)) else DescentError(f"{path}: {error}")
        ) from error
    except Exception as error:
        raise DescentError(
            f"{path}: {cls.__name__} cannot be made as the file says: {error!r}"
        ) from error


def load_weights(model: DescentModel, weights: str | Path | StoredModel) -> None:
    """Puts the weights of a file into a model of the same kind; the model's problem stays as it is.

    Args:
        model: the model, with the observation, the sizes and the number of steps of the stored one.
        weights: the file, or what was read of it.

    Raises:
        DescentError: if the file holds another kind of model.
    """
    stored = read_stored(weights)
    path = stored.path
    own = json.loads(json.dumps(describe(model)))
    for part, made in (("model", model), ("observation", model.observation)):
        found = _completed(stored.description.get(part), own[part], type(made))
        if found != own[part]:
            raise DescentError(f"{path}: expected the {part} {own[part]}, the file holds {found}")
    problem = {
        key: value for key, value in model.state_dict().items() if key.startswith("problem.")
    }
    learned = {
        key: value for key, value in stored.tensors.items() if not key.startswith("problem.")
    }
    try:
        model.load_state_dict({**learned, **problem}, strict=True)
    except RuntimeError as error:
        raise DescentError(f"{path}: the weights do not fit the model: {error}") from error


def problem_class(description: Mapping[str, Any], *, path: str | Path = "weights") -> type[Problem]:
    """The class of the built-in problem that a weights file describes.

    Args:
        description: what the file says about itself.
        path: the file, for messages.

    Raises:
        DescentError: if the problem is not a built-in one.
    """
    name = description["problem"]["name"]
    if name not in PROBLEMS:
        raise DescentError(
            f"{path}: made for the problem {_plain(name)}, which is not built in: give the problem "
            f"(problem=..., or on the command line --problem-file file.py:{_plain(name)})"
        )
    cls: type[Problem] = builtin_class(name, PROBLEMS, "problem")
    return cls


def _completed(found: Any, own: Mapping[str, Any], cls: type) -> Any:
    """What a file says of a part, with the defaults of the settings that came after it was
    written.
    """
    if not isinstance(found, dict) or found.get("name") != own["name"]:
        return found
    settings = found.get("settings", {})
    known = {
        name: argument.default
        for name, argument in inspect.signature(cls).parameters.items()
        if name in own["settings"]
    }
    added = {
        name: value
        for name, value in known.items()
        if name not in settings and value is not inspect.Parameter.empty
    }
    return {**found, "settings": {**settings, **json.loads(json.dumps(added))}}


def _laid_out(value: Tensor, own: Tensor, kinds: Set[torch.dtype]) -> Tensor:
    """A tensor of a file as the model's own is laid out, which decides how it rounds; ``kinds`` are
    but ways to store it.
    """
    kind = own.dtype if value.dtype in kinds else value.dtype
    return torch.empty_like(own, dtype=kind).copy_(value) if own.shape == value.shape else value


def _build_observation(
    spec: Mapping[str, Any], problem: Problem, tensors: Mapping[str, Tensor]
) -> Observation:
    """The problem's own observation where that is the one described, else a built-in one around the
    problem's points.
    """
    own = problem.observation()
    found = json.loads(json.dumps(described_observation(own)))
    if found == spec:
        return own
    name = spec["name"]
    if name == "frozen":
        return Frozen(_build_observation(spec["inner"], problem, tensors))
    if name == "concat":
        return Concat(*(_build_observation(part, problem, tensors) for part in spec["parts"]))
    if name == "scaled-equations":
        return ScaledEquations(problem)
    if name not in OBSERVATIONS:
        raise DescentError(
            f"the observation {_plain(name)} with the settings {spec['settings']} is not built in, "
            f"and {type(problem).__name__}.observation() gives {_plain(str(found))} instead: give "
            "the problem as it was in training"
        )
    cls: type[ImageObservation] = builtin_class(name, OBSERVATIONS, "observation")
    check_arguments(cls, spec["settings"])
    return made_within(
        lambda: image_observation(cls, problem, spec["settings"]), tensors, "observation"
    )


def _check_problem(problem: Problem, description: Mapping[str, Any], path: str | Path) -> None:
    wanted, found = description["problem"]["name"], name_of(type(problem), PROBLEMS)
    alike = {wanted, found} <= set(PROBLEMS) and _kind(type(problem)) is _kind(
        problem_class(description)
    )
    if wanted != found and not alike:
        raise DescentError(
            f"{path}: made for the problem {_plain(wanted)}, got {_plain(found)}: give the one it "
            "was made for"
        )


def _kind(problem: type[Problem]) -> type:
    """What problems with the same parameters derive from: real faces and synthetic ones from
    landmarks.
    """
    bases = (base for base in problem.__mro__ if base.__base__ in (Problem, LeastSquares))
    return next(bases, problem)


def _plain(name: str) -> str:
    return name.replace("custom:", "")
