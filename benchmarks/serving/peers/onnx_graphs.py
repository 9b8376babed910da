"""The peers' networks as ONNX graphs around the LSTM operator, in float32."""

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET, IR_VERSION = 17, 10


class Graph:
    """Nodes and constants of a graph that is being written."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def takes(self, name: str, kind: int, shape: list[str | int]) -> None:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def gives(self, name: str, kind: int, shape: list[str | int]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def lstm_constants(self, lstm: nn.LSTM, layer: int) -> list[str]:
        """Weights of all directions of a layer, in the operator's order of the gates."""
        suffixes = ("", "_reverse") if lstm.bidirectional else ("",)

        def part(name: str) -> np.ndarray:
            stacked = []
            for suffix in suffixes:
                value = lstm.get_parameter(f"{name}_l{layer}{suffix}").detach().numpy()
                in_part, forget_part, cell_part, out_part = np.split(value, 4)
                stacked.append(np.concatenate([in_part, out_part, forget_part, cell_part]))
            return np.stack(stacked)

        biases = np.concatenate([part("bias_ih"), part("bias_hh")], axis=1)
        return [
            self.constant(f"w{layer}", part("weight_ih")),
            self.constant(f"r{layer}", part("weight_hh")),
            self.constant(f"b{layer}", biases),
        ]

    def session(self, threads: int) -> onnxruntime.InferenceSession:
        made = helper.make_graph(self.nodes, "network", self.inputs, self.outputs, self.constants)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def classifier(model: Any, threads: int) -> onnxruntime.InferenceSession:
    """Tokens [T, B] and lengths [B] to outputs [T, B, both directions]."""
    graph, lstm = Graph(), model.lstm
    width = 2 * lstm.hidden_size
    graph.takes("tokens", TensorProto.INT64, ["T", "B"])
    graph.takes("lengths", TensorProto.INT32, ["B"])
    graph.constant("embedding", model.embedding.weight.detach().numpy())
    graph.constant("shape", np.array([0, 0, width]))
    x = graph.node("Gather", ["embedding", "tokens"], ["x"])
    for layer in range(lstm.num_layers):
        names = graph.lstm_constants(lstm, layer)
        graph.node(
            "LSTM",
            [x, *names, "lengths"],
            [f"y{layer}"],
            hidden_size=lstm.hidden_size,
            direction="bidirectional",
        )
        # From [T, directions, B, H] to [T, B, directions * H].
        graph.node("Transpose", [f"y{layer}"], [f"turned{layer}"], perm=[0, 2, 1, 3])
        x = graph.node("Reshape", [f"turned{layer}", "shape"], [f"x{layer}"])
    graph.gives(x, TensorProto.FLOAT, ["T", "B", width])
    return graph.session(threads)


def step(model: Any, threads: int) -> onnxruntime.InferenceSession:
    """Tokens [T, B] and states [1, B, H] to the likeliest next token [B] and the new states."""
    graph, lstm = Graph(), model.lstm
    state: list[str | int] = [1, "B", lstm.hidden_size]
    graph.takes("tokens", TensorProto.INT64, ["T", "B"])
    graph.gives("next", TensorProto.INT64, ["B"])
    graph.constant("embedding", model.embedding.weight.detach().numpy())
    graph.constant("directions", np.array([1]))
    graph.constant("first", np.array([0]))
    x = graph.node("Gather", ["embedding", "tokens"], ["x"])
    for layer in range(lstm.num_layers):
        h, c = f"h{layer}", f"c{layer}"
        for name in (h, c):
            graph.takes(name, TensorProto.FLOAT, state)
            graph.gives(f"new_{name}", TensorProto.FLOAT, state)
        graph.node(
            "LSTM",
            [x, *graph.lstm_constants(lstm, layer), "", h, c],
            [f"y{layer}", f"new_{h}", f"new_{c}"],
            hidden_size=lstm.hidden_size,
        )
        x = graph.node("Squeeze", [f"y{layer}", "directions"], [f"x{layer}"])
    last = graph.node("Squeeze", [f"new_h{lstm.num_layers - 1}", "first"], ["last"])
    graph.constant("out", model.out.weight.detach().numpy().T)
    graph.constant("bias", model.out.bias.detach().numpy())
    graph.node("MatMul", [last, "out"], ["products"])
    graph.node("Add", ["products", "bias"], ["scores"])
    graph.node("ArgMax", ["scores"], ["next"], axis=1, keepdims=0)
    return graph.session(threads)
