"""What a file changes in one layer, by kind.

| kind | weight |
|---|---|
| LoRA (arXiv 2106.09685) | `W + alpha / rank * B A` |
| LoHa (arXiv 2108.06098) | `W + alpha / rank * (B1 A1) o (B2 A2)`, elementwise |
| LoKr (arXiv 2309.14859) | `W + alpha / rank * kron(W1, W2)`, either of them maybe a product |
| full difference | `W + D` |

With a magnitude (DoRA, arXiv 2402.09353) the result's rows, or columns, are scaled to its lengths.
Tensors are torch's or NumPy's: nothing is done here that both cannot do.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Change", "Difference", "Hadamard", "Kronecker", "LowRank", "change_of"]


@dataclass(frozen=True)
class Change(ABC):
    """A change of one layer's weight `(out, in)`."""

    tensors: "Mapping[str, Tensor]" = field(repr=False)
    """By the ends of the names that programs give them; of a LoRA `lora_A.weight` (rank, in) and
    `lora_B.weight` (out, rank)."""
    alpha: float | None = None
    """None: the rank, a factor of 1."""
    magnitude: "Tensor | None" = field(default=None, repr=False)
    """Lengths of the rows `(out, 1)` or of the columns `(1, in)`."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is called."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """`(out, in)`."""

    @property
    def rank(self) -> int | None:
        """The rank that alpha is divided by; None where there is none."""
        return None

    @property
    def factor(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank if self.alpha is not None and self.rank else 1.0

    @abstractmethod
    def delta(self) -> "Tensor":
        """What is added to the weight before a magnitude scales it, float32 `(out, in)`."""

    @abstractmethod
    def norm(self) -> float:
        """The Frobenius norm of `delta`."""

    def rows(self, rows: "slice | list[int]") -> "Change":
        """The change of some rows of the layer.

        Raises:
            ValueError: a magnitude of the columns, which are those of all rows together.
        """
        return Difference({"diff": self.delta()[rows]}, magnitude=self._magnitude_of(rows))

    def applied(self, weight: "Tensor", scale: float = 1.0) -> "Tensor":
        """The weight with `scale` times its change, float32; 0 leaves it as it is."""
        if self.magnitude is None:
            return weight + scale * self.delta()
        changed = weight + self.delta()
        axis = 1 if self.magnitude.shape[0] == weight.shape[0] else 0
        lengths = ((changed * changed).sum(axis) ** 0.5).reshape(self.magnitude.shape)
        return weight + scale * (changed * (_float(self.magnitude) / lengths) - weight)

    def _magnitude_of(self, rows: "slice | list[int]") -> "Tensor | None":
        if self.magnitude is None:
            return None
        if self.magnitude.shape[0] != self.shape[0]:
            raise ValueError(
                "its DoRA scales columns of a layer that is several in one here, whose lengths "
                "are those of all together"
            )
        return self.magnitude[rows]


class LowRank(Change):
    """LoRA, and with a magnitude DoRA."""

    @property
    def kind(self) -> str:
        return "LoRA" if self.magnitude is None else "DoRA"

    @property
    def down(self) -> "Tensor":
        """A `(rank, in)`."""
        return self.tensors["lora_A.weight"]

    @property
    def up(self) -> "Tensor":
        """B `(out, rank)`."""
        return self.tensors["lora_B.weight"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.up.shape[0], self.down.shape[1]

    @property
    def rank(self) -> int:
        """Rows of A."""
        return int(self.down.shape[0])

    def delta(self) -> "Tensor":
        return self.factor * (_float(self.up) @ _float(self.down))

    def norm(self) -> float:
        up, down = _float(self.up), _float(self.down)
        # |B A|^2 = tr(B'B A A'): matrices of the rank's size.
        square = float(((up.T @ up) * (down @ down.T)).sum())
        return self.factor * math.sqrt(max(square, 0.0))

    def rows(self, rows: "slice | list[int]") -> Change:
        tensors = {"lora_A.weight": self.down, "lora_B.weight": self.up[rows]}
        return replace(self, tensors=tensors, magnitude=self._magnitude_of(rows))


class Hadamard(Change):
    """LoHa."""

    @property
    def kind(self) -> str:
        return "LoHa"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensors["hada_w1_a"].shape[0], self.tensors["hada_w1_b"].shape[1]

    @property
    def rank(self) -> int:
        """Of each of both products."""
        return int(self.tensors["hada_w1_b"].shape[0])

    def delta(self) -> "Tensor":
        first, second = (
            _float(self.tensors[f"hada_w{n}_a"]) @ _float(self.tensors[f"hada_w{n}_b"])
            for n in (1, 2)
        )
        return self.factor * (first * second)

    def norm(self) -> float:
        return _norm(self.delta())

    def rows(self, rows: "slice | list[int]") -> Change:
        tensors = {
            name: tensor[rows] if name.endswith("_a") else tensor
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=tensors, magnitude=self._magnitude_of(rows))


class Kronecker(Change):
    """LoKr."""

    @property
    def kind(self) -> str:
        return "LoKr"

    @property
    def shape(self) -> tuple[int, ...]:
        (out1, in1), (out2, in2) = (self._shape(number) for number in (1, 2))
        return out1 * out2, in1 * in2

    @property
    def rank(self) -> int | None:
        """Of the product, if one of the two is a product."""
        inner = [self.tensors[n] for n in ("lokr_w2_b", "lokr_w1_b") if n in self.tensors]
        return int(inner[0].shape[0]) if inner else None

    def delta(self) -> "Tensor":
        first, second = self._matrix(1), self._matrix(2)
        blocks = first[:, None, :, None] * second[None, :, None, :]
        return self.factor * blocks.reshape(self.shape)

    def norm(self) -> float:
        return self.factor * _norm(self._matrix(1)) * _norm(self._matrix(2))

    def rows(self, rows: "slice | list[int]") -> Change:
        name = "lokr_w1" if "lokr_w1" in self.tensors else "lokr_w1_a"
        height = self._shape(2)[0]
        if isinstance(rows, list) or rows.start % height or rows.stop % height:
            return super().rows(rows)
        blocks = slice(rows.start // height, rows.stop // height)
        tensors = {**self.tensors, name: self.tensors[name][blocks]}
        return replace(self, tensors=tensors, magnitude=self._magnitude_of(rows))

    def _shape(self, number: int) -> tuple[int, int]:
        whole = self.tensors.get(f"lokr_w{number}")
        if whole is not None:
            return int(whole.shape[0]), int(whole.shape[1])
        first, second = (self.tensors[f"lokr_w{number}_{each}"] for each in "ab")
        return int(first.shape[0]), int(second.shape[1])

    def _matrix(self, number: int) -> "Tensor":
        whole = self.tensors.get(f"lokr_w{number}")
        if whole is not None:
            return _float(whole)
        first, second = (_float(self.tensors[f"lokr_w{number}_{each}"]) for each in "ab")
        return first @ second


class Difference(Change):
    """The whole difference, of a weight of any shape."""

    @property
    def kind(self) -> str:
        return "full difference"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensors["diff"].shape)

    def delta(self) -> "Tensor":
        return _float(self.tensors["diff"])

    def norm(self) -> float:
        return _norm(self.delta())


_KINDS: dict[str, tuple[type[Change], tuple[tuple[str, ...], ...]]] = {
    "lora_": (LowRank, (("lora_A.weight",), ("lora_B.weight",))),
    "hada_": (Hadamard, tuple((f"hada_w{n}_{each}",) for n in (1, 2) for each in "ab")),
    "lokr_": (
        Kronecker,
        tuple((f"lokr_w{n}", f"lokr_w{n}_a lokr_w{n}_b") for n in (1, 2)),
    ),
    "diff": (Difference, (("diff",),)),
}
"""By the beginning of the tensors' names: the class, and what has to be there, in either way."""


def change_of(
    tensors: "Mapping[str, Tensor]",
    *,
    alpha: float | None = None,
    magnitude: "Tensor | None" = None,
) -> Change:
    """The change that the tensors of a layer are.

    Raises:
        ValueError: one is missing, does not fit the others, or holds something that is no number;
            a rank or an alpha of 0.
    """
    begins = [begin for begin in _KINDS if any(name.startswith(begin) for name in tensors)]
    if len(begins) != 1:
        found = ", ".join(sorted(tensors)) or "no weights"
        raise ValueError(f"has {found}, which is not one LoRA, LoHa, LoKr or difference")
    kind, needed = _KINDS[begins[0]]
    for ways in needed:
        if not any(all(name in tensors for name in way.split()) for way in ways):
            there = next(iter(sorted(tensors)))
            missing = next((n for n in ways[-1].split() if n not in tensors), ways[0])
            raise ValueError(f"has {_short(there)}, but no {_short(missing)}")
    for name, tensor in tensors.items():
        check_tensor(name, tensor, two=kind is not Difference)
    change = kind(tensors, alpha, magnitude)
    _check_products(tensors)
    if alpha is not None and not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"has alpha {alpha:g}: allowed is a number above 0")
    if magnitude is not None:
        change = replace(change, magnitude=_checked_magnitude(magnitude, change.shape))
    return change


def check_tensor(name: str, tensor: "Tensor", *, two: bool) -> None:
    """Refuse a tensor of a rank of 0, with numbers that are not finite, or of other dimensions."""
    if two and tensor.ndim != 2:
        dimensions = "1 dimension" if tensor.ndim == 1 else f"{tensor.ndim} dimensions"
        raise ValueError(f"{_short(name)} has {dimensions}, allowed are 2")
    if 0 in tensor.shape:
        raise ValueError(f"{_short(name)} is empty {tuple(tensor.shape)}: its rank is 0")
    # What is neither infinite nor NaN gives 0.
    if not bool((tensor - tensor == 0).all()):
        raise ValueError(f"{_short(name)} holds numbers that are not finite")


def _check_products(tensors: "Mapping[str, Tensor]") -> None:
    pairs = [("lora_B.weight", "lora_A.weight")]
    pairs += [(f"{kind}_w{n}_a", f"{kind}_w{n}_b") for kind in ("hada", "lokr") for n in (1, 2)]
    for left, right in pairs:
        if left in tensors and tensors[left].shape[1] != tensors[right].shape[0]:
            raise ValueError(
                f"{_short(right)} has rank {tensors[right].shape[0]}, {_short(left)} "
                f"{tensors[left].shape[1]}"
            )
    if "hada_w1_a" in tensors:
        for each, side in (("a", 0), ("b", 1)):
            if tensors[f"hada_w1_{each}"].shape[side] != tensors[f"hada_w2_{each}"].shape[side]:
                raise ValueError(f"hada_w1_{each} and hada_w2_{each} are of different sizes")


def _checked_magnitude(magnitude: "Tensor", shape: tuple[int, ...]) -> "Tensor":
    check_tensor("dora_scale", magnitude, two=False)
    out, inner = shape
    if tuple(magnitude.shape) in ((out,), (out, 1)):
        return magnitude.reshape(out, 1)
    if tuple(magnitude.shape) == (1, inner):
        return magnitude
    raise ValueError(
        f"dora_scale has shape {tuple(magnitude.shape)}: allowed are {(out, 1)} and {(1, inner)}"
    )


def _short(name: str) -> str:
    return name.removesuffix(".weight")


def _float(tensor: "Tensor") -> "Tensor":
    # NumPy's are float32 already.
    return tensor.float() if hasattr(tensor, "float") else tensor


def _norm(matrix: "Tensor") -> float:
    return math.sqrt(float((matrix * matrix).sum()))
