"""How far the landmarks of a fit lie from the true ones, over a distance that is always named."""

from __future__ import annotations

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DescentError, check_choice, check_shape
from .schema import LandmarkSchema
from .schema import Normaliser as Normaliser


def normalisers(schema: LandmarkSchema) -> tuple[Normaliser, ...]:
    """The distances that a markup has: those of the box always, those between the eyes where it has
    eyes.

    Example:
        >>> normalisers(LandmarkSchema("hinge", num_points=12))
        ('box', 'box_diagonal', 'centroid_size')
    """
    known = {
        "inter_ocular": schema.outer_eye_corners,
        "inter_pupil": schema.left_eye,
        "two_points": schema.two_points,
        "centroid_size": schema.num_points > 1,
    }
    return tuple(name for name in get_args(Normaliser) if known.get(name, True))


def reported_normalisers(schema: LandmarkSchema) -> tuple[Normaliser, ...]:
    """The distances that errors are reported over: of faces those of the literature, else all.

    Example:
        >>> from learned_descent.landmarks.schema import schema
        >>> reported_normalisers(schema("ibug68"))
        ('inter_ocular', 'inter_pupil', 'box')
    """
    known = normalisers(schema)
    return known[: known.index("box") + 1] if schema.left_eye else known


def usual_normaliser(schema: LandmarkSchema) -> Normaliser:
    """The distance that errors of a markup are divided by unless another one is asked for: that of
    the schema, else that between the eyes, else the centroid size; of a single point the box.

    Example:
        >>> usual_normaliser(LandmarkSchema("hinge", num_points=12))
        'centroid_size'
    """
    if schema.outer_eye_corners or schema.num_points == 1:
        return schema.normaliser or normalisers(schema)[0]
    return schema.normaliser or "centroid_size"


def check_normaliser(schema: LandmarkSchema, normaliser: Normaliser) -> None:
    """Refuses the name of a distance that is none, or that a markup does not have.

    Raises:
        DescentError: with those that it has.
    """
    check_choice(normaliser, Normaliser, name="normaliser")
    if normaliser not in normalisers(schema):
        missing = {
            "inter_ocular": "outer_eye_corners",
            "inter_pupil": "left_eye and right_eye",
            "two_points": "two_points",
        }.get(normaliser, "second point")
        known = ", ".join(map(repr, normalisers(schema)))
        raise DescentError(
            f"normaliser: {normaliser!r} needs the {missing} of the schema, and {schema.name!r} "
            f"has none: expected {known}"
        )


def landmark_errors(
    predicted: Float[Tensor, "B L 2"],
    target: Float[Tensor, "B L 2"],
    schema: LandmarkSchema,
    normaliser: Normaliser,
    box: Float[Tensor, "B 4"] | None = None,
    subset: str | None = None,
    weights: Float[Tensor, "B L"] | None = None,
) -> Float[Tensor, " B"]:
    """Mean distance from point to point, as a fraction of the named distance.

    Args:
        predicted: landmarks of the fits, in px.
        target: true landmarks, in px.
        schema: the markup of both.
        normaliser: the distance to divide by; there is no default, for figures under different ones
            cannot be compared.
        box: the detector's boxes ``x0 y0 x1 y1`` in px, for the normaliser ``box``.
        subset: the landmarks to average over, by the name that the schema gives them; all of them
            by default. The normaliser always has all landmarks at hand.
        weights: how much each landmark counts, 0 where its truth is missing; the distance to divide
            by still takes it from ``target``. A face that has none of the subset has the error of
            those that it has.

    Returns:
        The error of each face. A prediction that is not finite has an error that is not finite.

    Raises:
        ShapeError: if a shape differs.
        DescentError: if the normaliser or subset is unknown, the boxes are missing, the distance of
            a face is not positive and finite, or a face has no landmark that counts.

    Example:
        >>> from learned_descent.landmarks.schema import schema
        >>> markup = schema("ibug68")
        >>> points = torch.rand(3, markup.num_points, 2) * 100
        >>> box = torch.tensor([[0.0, 0.0, 50.0, 50.0]]).expand(3, 4)
        >>> landmark_errors(points + torch.tensor([3.0, 4.0]), points, markup, "box", box)
        tensor([0.1000, 0.1000, 0.1000])
    """
    sizes = check_shape(target, "B L 2", {"L": schema.num_points}, name="target")
    check_shape(predicted, "B L 2", sizes, name="predicted")
    distance = normalising_distance(target, schema, normaliser, box)
    chosen = list(schema.indices(subset))
    lengths: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    if weights is None:
        return lengths[:, chosen].mean(1) / distance
    check_shape(weights, "B L", sizes, name="weights")
    return _weighted_mean(lengths, weights, chosen) / distance


def _weighted_mean(lengths: Tensor, weights: Tensor, chosen: list[int]) -> Tensor:
    """The mean over the chosen landmarks by their weights; over all where none of those counts."""
    inside = torch.zeros_like(weights)
    inside[:, chosen] = weights[:, chosen]
    counted = torch.where(inside.sum(1, keepdim=True) > 0, inside, weights)
    total = counted.sum(1)
    none = (total <= 0).nonzero().flatten().tolist()
    if none:
        raise DescentError(
            f"weights: no landmark of sample {none[0]} of the batch counts, expected a weight "
            f"above 0 ({len(none)} of {len(total)} samples); leave such ones out"
        )
    return (counted * lengths.where(counted > 0, 0)).sum(1) / total


def measured_between(schema: LandmarkSchema, normaliser: Normaliser) -> tuple[int, ...]:
    """The landmarks that a distance is measured with; none for that of the box.

    Example:
        >>> from learned_descent.landmarks.schema import schema
        >>> measured_between(schema("ibug68"), "inter_ocular")
        (36, 45)
    """
    eyes = (*schema.left_eye, *schema.right_eye)
    known = {
        "inter_ocular": schema.outer_eye_corners or (),
        "inter_pupil": eyes,
        "two_points": schema.two_points or (),
        "centroid_size": schema.indices(),
    }
    return known.get(normaliser, ())


def normalising_distance(
    target: Float[Tensor, "B L 2"],
    schema: LandmarkSchema,
    normaliser: Normaliser,
    box: Float[Tensor, "B 4"] | None = None,
) -> Float[Tensor, " B"]:
    """The named distance of each face, in px.

    * ``inter_ocular``: between the outer corners of the eyes, as in the competitions of 300-W;
    * ``inter_pupil``: between the means of the outlines of the eyes, as in the older papers (about
      0.71 of the former);
    * ``two_points``: between the ``two_points`` of the markup;
    * ``centroid_size``: the root of the sum of the squared distances of all landmarks to their
      mean, as in morphometrics;
    * ``box_diagonal``: the diagonal of the box;
    * ``box``: the geometric mean of the sides of the detector's box.

    Args:
        target: true landmarks, in px.
        schema: their markup.
        normaliser: the name of the distance.
        box: the detector's boxes ``x0 y0 x1 y1`` in px, for ``box`` and ``box_diagonal``.

    Raises:
        ShapeError: if a shape differs.
        DescentError: if the normaliser is unknown, the boxes are missing, or a distance is not
            positive and finite.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces
        in-the-wild challenge: database and results. Image and Vision Computing 47, 2016.
    """
    sizes = check_shape(target, "B L 2", {"L": schema.num_points}, name="target")
    distance: Tensor
    check_normaliser(schema, normaliser)
    if normaliser == "inter_ocular":
        left, right = schema.outer_eye_corners or (0, 0)  # which it has
        distance = torch.linalg.vector_norm(target[:, left] - target[:, right], dim=-1)
    elif normaliser == "inter_pupil":
        left_pupil, right_pupil = (
            target[:, list(eye)].mean(1) for eye in (schema.left_eye, schema.right_eye)
        )
        distance = torch.linalg.vector_norm(left_pupil - right_pupil, dim=-1)
    elif normaliser == "two_points":
        first, second = schema.two_points or (0, 0)  # which it has
        distance = torch.linalg.vector_norm(target[:, first] - target[:, second], dim=-1)
    elif normaliser == "centroid_size":
        distance = (target - target.mean(1, keepdim=True)).square().sum((1, 2)).sqrt()
    else:
        if box is None:
            raise DescentError(
                f"box: the normaliser {normaliser!r} needs the boxes (B, 4), got None"
            )
        check_shape(box, "B 4", {"B": sizes["B"]}, name="box")
        sides = (box[:, 2:] - box[:, :2]).clamp(min=0)
        diagonal = torch.linalg.vector_norm(sides, dim=1)
        distance = diagonal if normaliser == "box_diagonal" else sides.prod(1).sqrt()
    bad = (~((distance > 0) & distance.isfinite())).nonzero().flatten().tolist()
    if bad:
        mend = "box" if normaliser.startswith("box") else "true landmarks"
        raise DescentError(
            f"normaliser: the {normaliser} distance of sample {bad[0]} of the batch is "
            f"{distance[bad[0]]:g} px, expected a positive number ({len(bad)} of {len(distance)} "
            f"samples); mend its {mend}"
        )
    return distance
