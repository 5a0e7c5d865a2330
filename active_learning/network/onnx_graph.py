"""An ONNX graph, written node by node; its values are calculated with as in a formula.

A number of Python stands for a constant: an int for int64, a float for float32. What is wanted in another type is a
constant of that type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# Of the year 2022: old enough for OpenVINO and TensorRT, new enough for RoiAlign that is aligned to pixels.
OPSET = 17
IR_VERSION = 8  # of the file, as old as the opset: readers refuse a newer one than they know

BOOL, UINT8, INT64 = TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT64
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


@dataclass(frozen=True, eq=False)
class Value:
    """What a node calculates, an input or a constant."""

    graph: Graph
    name: str

    def __add__(self, other: Operand) -> Value:
        return self.graph.add("Add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return self.graph.add("Add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.add("Sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return self.graph.add("Sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.add("Mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return self.graph.add("Mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        """Of integers the whole part of the quotient."""
        return self.graph.add("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return self.graph.add("Div", other, self)

    def __lt__(self, other: Operand) -> Value:
        return self.graph.add("Less", self, other)

    def __gt__(self, other: Operand) -> Value:
        return self.graph.add("Greater", self, other)

    def __ge__(self, other: Operand) -> Value:
        return self.graph.add("GreaterOrEqual", self, other)

    def equals(self, other: Operand) -> Value:
        return self.graph.add("Equal", self, other)

    def cast(self, kind: int) -> Value:
        return self.graph.add("Cast", self, to=kind)

    def reshape(self, *shape: int) -> Value:
        """One side may be -1, for what is left; 0 keeps a side."""
        return self.graph.add("Reshape", self, self.graph.constant(np.array(shape, np.int64)))

    def transpose(self, *axes: int) -> Value:
        return self.graph.add("Transpose", self, perm=axes)

    def unsqueeze(self, *axes: int) -> Value:
        return self.graph.add("Unsqueeze", self, self.graph.constant(np.array(axes, np.int64)))

    def rows(self, indices: Operand, axis: int = 0) -> Value:
        """Those of a vector of indices, or without that axis the one of a single index."""
        return self.graph.add("Gather", self, indices, axis=axis)

    def part(self, start: Operand, end: Value, axis: int = 0) -> Value:
        """From `start` () up to `end` () along an axis."""
        first = start.reshape(1) if isinstance(start, Value) else np.array([start])
        return self.graph.add("Slice", self, first, end.reshape(1), np.array([axis]))

    def halves(self) -> list[Value]:
        """The two halves of the last axis, such as the corners of boxes."""
        return self.graph.add_all("Split", 2, self, axis=-1)

    def side(self, axis: int) -> Value:
        """Length of an axis: () int64."""
        return self.graph.add("Shape", self).rows(axis)

    def smallest(self, axis: int) -> Value:
        """Along an axis, which goes."""
        return self.graph.add("ReduceMin", self, axes=[axis], keepdims=0)


Operand: TypeAlias = Value | int | float | npt.NDArray[Any] | np.generic | None


@dataclass
class Graph:
    """Nodes and constants in the order in which they were added; `scope` is in front of the names of new nodes."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    scope: str = ""
    _count: int = 0

    def add(self, kind: str, *inputs: Operand, **attributes: Any) -> Value:
        """The output of a new node of an ONNX operator; an input of None is left out."""
        return self.add_all(kind, 1, *inputs, **attributes)[0]

    def add_all(self, kind: str, outputs: int, *inputs: Operand, **attributes: Any) -> list[Value]:
        """The outputs of a node that has several."""
        names = ["" if one is None else self._value(one).name for one in inputs]
        self._count += 1
        name = f"{self.scope}{kind}_{self._count}"
        made = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name, **attributes))
        return [Value(self, one) for one in made]

    def _value(self, operand: Operand) -> Value:
        if isinstance(operand, Value):
            return operand
        if type(operand) is float:  # NumPy's float64 is one, too
            return self.constant(np.float32(operand))
        return self.constant(np.asarray(operand))

    def constant(self, values: npt.NDArray[Any] | np.generic, name: str = "") -> Value:
        """`name`: of weights, which bear that of the network; they are asked for once."""
        name, values = name or f"constant_{len(self.constants)}", np.asarray(values)
        values = values.astype(np.int64) if values.dtype.kind == "i" else values  # Windows may have made it int32
        self.constants.append(numpy_helper.from_array(values, name))
        return Value(self, name)

    def join(self, values: Sequence[Value], axis: int = 0) -> Value:
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=axis)

    def stack(self, *values: Value) -> Value:
        """Numbers () as a vector."""
        return self.join([value.reshape(1) for value in values])

    def count(self, start: Value | int, end: Value) -> Value:
        """start to end - 1, int64."""
        return self.add("Range", start, end, np.int64(1))

    def where(self, condition: Value, yes: Operand, no: Operand) -> Value:
        return self.add("Where", condition, yes, no)

    def choose(self, condition: Value, yes: Callable[[], Value], no: Callable[[], Value]) -> Value:
        """What one of the two adds, float32 of the same axes; only that one is calculated."""
        return self.add("If", condition, then_branch=self._branch("yes", yes), else_branch=self._branch("no", no))

    def _branch(self, name: str, add: Callable[[], Value]) -> onnx.GraphProto:
        outer, self.nodes = self.nodes, []
        output = helper.make_tensor_value_info(add().name, FLOAT, None)
        inner, self.nodes = self.nodes, outer
        return helper.make_graph(inner, name, [], [output])

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[tuple[Value, onnx.ValueInfoProto]],
        description: str,
        version: str,
    ) -> onnx.ModelProto:
        """The checked model; each output gets the name that stands beside it."""
        renamed = [helper.make_node("Identity", [value.name], [wanted.name], wanted.name) for value, wanted in outputs]
        nodes, wanted = [*self.nodes, *renamed], [wanted for _, wanted in outputs]
        graph = helper.make_graph(nodes, "MaskRCNN", inputs, wanted, self.constants, doc_string=description)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="MaskAL", producer_version=version
        )
        onnx.checker.check_model(model)
        return model
