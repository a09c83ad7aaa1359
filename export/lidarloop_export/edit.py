"""An ONNX graph for the passes that rewrite it: which node makes a tensor, which read it, what is constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


class Editor:
    """A graph being rewritten; ``finish`` puts it in order and gives its bytes.

    Nodes may be added in any order and left without readers. Lookups walk the graph: a hundred nodes, once per model.
    """

    def __init__(self, network: bytes) -> None:
        self.model = onnx.load_from_string(network)
        self.graph = self.model.graph
        inferred = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        self._shapes = {info.name: info.type.tensor_type.shape.dim for info in inferred.value_info}
        typed = (*inferred.value_info, *inferred.input, *inferred.output)
        self._float32 = {info.name for info in typed if info.type.tensor_type.elem_type == TensorProto.FLOAT}
        del self.graph.value_info[:]  # stale after the first change

    def nodes(self, *kinds: str) -> list[Any]:
        """Nodes of these operators, all where none is named."""
        return [node for node in self.graph.node if not kinds or node.op_type in kinds]

    def producer(self, tensor: str) -> Any | None:
        """The node that makes a tensor; None for inputs and stored weights."""
        return next((node for node in self.graph.node if tensor in node.output), None)

    def made_by(self, tensor: str, kind: str) -> Any | None:
        """The node that makes a tensor, if it is of this operator."""
        node = self.producer(tensor)
        return node if node is not None and node.op_type == kind else None

    def consumers(self, tensor: str) -> list[Any]:
        return [node for node in self.graph.node if tensor in node.input]

    def is_output(self, tensor: str) -> bool:
        return any(output.name == tensor for output in self.graph.output)

    def constant(self, tensor: str) -> npt.NDArray[Any] | None:
        """The value of a weight or a Constant, shaped like its tensor; None if it depends on the inputs."""
        for stored in self.graph.initializer:
            if stored.name == tensor:
                return np.array(numpy_helper.to_array(stored))
        node = self.made_by(tensor, "Constant")
        if node is not None and node.attribute[0].name == "value":
            return np.array(numpy_helper.to_array(node.attribute[0].t))
        return None

    def image_size(self, tensor: str) -> tuple[int, int]:
        """Height and width of an inner (1, C, H, W) map of the graph as it came in."""
        _, _, height, width = self._shapes[tensor]
        assert height.dim_value
        assert width.dim_value
        return height.dim_value, width.dim_value

    def is_float32(self, tensor: str) -> bool:
        """Whether an inner tensor, an input or an output of the graph as it came in is float32."""
        return tensor in self._float32

    def add_constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Stores a weight (…) of any shape, in place of one with that name; returns the name."""
        stored = numpy_helper.from_array(np.asarray(value, order="C"), name)  # a scalar stays one
        for existing in self.graph.initializer:
            if existing.name == name:
                existing.CopyFrom(stored)
                return name
        self.graph.initializer.append(stored)
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node with one output; returns its name."""
        self.graph.node.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}:{output}", **attributes))
        return output

    def reshape(self, tensor: str, shape: Sequence[int], output: str) -> str:
        size = self.add_constant(f"{output}:size", np.array(shape, np.int64))
        return self.add("Reshape", [tensor, size], output)

    def remove(self, node: Any) -> None:
        self.graph.node.remove(node)

    def reroute(self, old: str, new: str, readers: Sequence[Any] | None = None) -> None:
        """Makes readers (all of them where none are named) take ``new`` instead of ``old``."""
        for node in self.consumers(old) if readers is None else readers:
            node.input[:] = [new if tensor == old else tensor for tensor in node.input]

    def expose(self, tensors: Sequence[str]) -> None:
        """Makes inner tensors outputs too, for runs that examine them."""
        for tensor in tensors:
            if not self.is_output(tensor):
                self.graph.output.append(helper.make_empty_tensor_value_info(tensor))

    def finish(self) -> bytes:
        """The graph without unread tensors, each node after those it reads from; checked if no tensor was exposed."""
        ordered: list[Any] = []
        made_by = {tensor: node for node in self.graph.node for tensor in node.output}
        done: set[str] = set()

        def visit(tensor: str) -> None:
            stack = [(tensor, False)]
            while stack:
                name, inputs_done = stack.pop()
                node = made_by.get(name)
                if node is None or name in done:
                    continue
                if inputs_done:
                    ordered.append(node)
                    done.update(node.output)
                else:
                    stack.append((name, True))
                    stack.extend((source, False) for source in node.input)

        for output in self.graph.output:
            visit(output.name)
        used = {tensor for node in ordered for tensor in node.input}
        stored = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(ordered)
        self.graph.initializer.extend(stored)
        if all(output.HasField("type") for output in self.graph.output):  # the checker wants shapes of all outputs
            onnx.checker.check_model(self.model)
        return bytes(self.model.SerializeToString())


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
