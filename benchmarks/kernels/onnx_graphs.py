"""The networks of these benchmarks as ONNX graphs, in float32 and quantised, for ONNX Runtime."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from benchmarks.kernels.networks import Classifier, Forecaster
from rnn.cells import CellWeights
from rnn.generation.network import GenerationNetwork
from rnn.stack import RecurrentStack

OPSET, IR_VERSION = 17, 10  # what the quantiser knows


class Graph:
    """Collects nodes and constants by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, value: Tensor | np.ndarray) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def input(self, name: str, kind: int, shape: list[str | int]) -> None:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def output(self, name: str, kind: int, shape: list[str | int]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def session(self, threads: int, *, int8: bool) -> onnxruntime.InferenceSession:
        """Quantised, products are scaled by output channel; the LSTM operator takes one scale."""
        made = helper.make_graph(
            self.nodes, "network", self.inputs, self.outputs, list(self.constants.values())
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            onnx.save(model, path)
            if int8:
                path = _quantised(path, per_channel=all(n.op_type != "LSTM" for n in self.nodes))
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _quantised(path: Path, *, per_channel: bool) -> Path:
    quantised = path.with_name("int8.onnx")
    logging.disable(logging.WARNING)  # it recommends a preparation that changes nothing here
    try:
        quantize_dynamic(
            path,
            quantised,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            op_types_to_quantize=["MatMul", "LSTM", "Gemm"],
        )
    finally:
        logging.disable(logging.NOTSET)
    return quantised


def step_graph(network: GenerationNetwork, *, operator: bool, logits: bool = False) -> Graph:
    """One greedy step: tokens [B] and states in, tokens and states out.

    Args:
        operator: through the LSTM operator; otherwise through matrix products and gates, with the
            embedding folded into the first layer.
        logits: also gives the scores [B, V].
    """
    graph = Graph()
    graph.input("tokens", TensorProto.INT64, ["B"])
    graph.output("next", TensorProto.INT64, ["B"])
    x = ""
    for index, layer in enumerate(network.stack.recurrent_layers()):
        weights, size = layer.weights().detach(), layer.output_size
        shape: list[str | int] = [1, "B", size] if operator else ["B", size]
        if index == 0 and operator:
            x = graph.constant("embedding", network.embedding.weight)
            x = graph.node("Gather", [x, "tokens"], ["x"])
        if operator:
            x = _operator_layer(graph, index, x, weights, size)
        else:
            x = _product_layer(graph, index, x, weights, network.embedding.weight.detach())
        for state in ("h", "c"):
            graph.input(f"{state}{index}", TensorProto.FLOAT, shape)
            graph.output(f"new_{state}{index}", TensorProto.FLOAT, shape)
    graph.constant("out_weight", network.head.weight.T)
    graph.constant("out_bias", network.head.bias)
    graph.node("MatMul", [x, "out_weight"], ["scores"])
    graph.node("Add", ["scores", "out_bias"], ["logits"])
    graph.node("ArgMax", ["logits"], ["next"], axis=1, keepdims=0)
    if logits:
        graph.output("logits", TensorProto.FLOAT, ["B", network.head.out_features])
    return graph


def _operator_layer(graph: Graph, index: int, x: str, weights: CellWeights, size: int) -> str:
    axis = graph.constant("time_axis", np.array([0], np.int64))
    names = _lstm_constants(graph, index, [weights])
    sequence = graph.node("Unsqueeze", [x, axis], [f"x{index}"])
    graph.node(
        "LSTM",
        [sequence, *names, "", f"h{index}", f"c{index}"],
        ["", f"new_h{index}", f"new_c{index}"],
        hidden_size=size,
    )
    return graph.node("Squeeze", [f"new_h{index}", axis], [f"y{index}"])


def _product_layer(
    graph: Graph, index: int, x: str, weights: CellWeights, embedding_vd: Tensor
) -> str:
    assert weights.recurrent_weight_gh is not None
    assert weights.recurrent_bias_g is not None
    bias_g = weights.input_bias_g + weights.recurrent_bias_g
    weight = f"weight{index}"
    if index == 0:
        graph.constant("table", embedding_vd @ weights.input_weight_gd.T + bias_g)
        graph.constant(weight, weights.recurrent_weight_gh.T)
        addend = graph.node("Gather", ["table", "tokens"], ["looked_up"])
        joined = "h0"
    else:
        both = np.concatenate([weights.input_weight_gd, weights.recurrent_weight_gh], axis=1)
        graph.constant(weight, both.T)
        addend = graph.constant(f"bias{index}", bias_g)
        joined = graph.node("Concat", [x, f"h{index}"], [f"joined{index}"], axis=1)
    product = graph.node("MatMul", [joined, weight], [f"product{index}"])
    gates = graph.node("Add", [product, addend], [f"gates{index}"])
    parts = [f"{gate}{index}" for gate in ("in", "forget", "cell", "out")]
    size = weights.recurrent_weight_gh.shape[1]
    split = graph.constant(f"split{index}", np.array([size] * 4, np.int64))
    graph.node("Split", [gates, split], parts, axis=1)
    in_gate, forget_gate, out_gate = (
        graph.node("Sigmoid", [parts[gate]], [f"opened_{parts[gate]}"]) for gate in (0, 1, 3)
    )
    cell_gate = graph.node("Tanh", [parts[2]], [f"tanh_{parts[2]}"])
    kept = graph.node("Mul", [forget_gate, f"c{index}"], [f"kept{index}"])
    added = graph.node("Mul", [in_gate, cell_gate], [f"added{index}"])
    cell = graph.node("Add", [kept, added], [f"new_c{index}"])
    shown = graph.node("Tanh", [cell], [f"shown{index}"])
    return graph.node("Mul", [out_gate, shown], [f"new_h{index}"])


def _lstm_constants(graph: Graph, index: int, directions: list[CellWeights]) -> list[str]:
    """Names of input weights, recurrent weights and biases, with ONNX's order of the gates."""

    def reordered(weight: Tensor | None) -> np.ndarray:
        assert weight is not None
        in_part, forget_part, cell_part, out_part = np.split(weight.detach().numpy(), 4)
        return np.concatenate([in_part, out_part, forget_part, cell_part])

    input_weights = np.stack([reordered(d.input_weight_gd) for d in directions])
    recurrent_weights = np.stack([reordered(d.recurrent_weight_gh) for d in directions])
    biases = np.stack(
        [
            np.concatenate([reordered(d.input_bias_g), reordered(d.recurrent_bias_g)])
            for d in directions
        ]
    )
    return [
        graph.constant(f"input_weight{index}", input_weights),
        graph.constant(f"recurrent_weight{index}", recurrent_weights),
        graph.constant(f"bias{index}", biases),
    ]


def classifier_graph(model: Classifier) -> Graph:
    """Padded tokens [T, B] and lengths [B] to scores [B, 2]."""
    graph = Graph()
    graph.input("tokens", TensorProto.INT64, ["T", "B"])
    graph.input("lengths", TensorProto.INT32, ["B"])
    graph.output("scores", TensorProto.FLOAT, ["B", model.LABELS])
    graph.constant("embedding", model.embedding.weight)
    x = graph.node("Gather", ["embedding", "tokens"], ["x"])
    width = 2 * model.HIDDEN
    graph.constant("sequence_shape", np.array([0, 0, width], np.int64))
    graph.constant("row_shape", np.array([0, width], np.int64))
    last = ""
    for index, layer in enumerate(model.stack.recurrent_layers()):
        names = _lstm_constants(graph, index, [layer.weights(), layer.weights(backwards=True)])
        last = f"last{index}"
        graph.node(
            "LSTM",
            [x, *names, "lengths"],
            [f"y{index}", last],
            hidden_size=model.HIDDEN,
            direction="bidirectional",
        )
        # From [T, directions, B, H] to [T, B, directions * H].
        turned = graph.node("Transpose", [f"y{index}"], [f"turned{index}"], perm=[0, 2, 1, 3])
        x = graph.node("Reshape", [turned, "sequence_shape"], [f"x{index + 1}"])
    turned = graph.node("Transpose", [last], ["turned_last"], perm=[1, 0, 2])
    rows = graph.node("Reshape", [turned, "row_shape"], ["rows"])
    graph.constant("out_weight", model.out.weight.T)
    graph.constant("out_bias", model.out.bias)
    graph.node("Gemm", [rows, "out_weight", "out_bias"], ["scores"])
    return graph


def forecaster_graph(model: Forecaster) -> Graph:
    """Series [T, B, D] to the next values [B, horizon]."""
    graph = Graph()
    graph.input("series", TensorProto.FLOAT, ["T", "B", model.FEATURES])
    graph.output("forecast", TensorProto.FLOAT, ["B", model.HORIZON])
    last = _plain_stack(graph, model.stack, "series", model.HIDDEN)
    graph.constant("out_weight", model.out.weight.T)
    graph.constant("out_bias", model.out.bias)
    graph.node("Gemm", [last, "out_weight", "out_bias"], ["forecast"])
    return graph


def _plain_stack(graph: Graph, stack: RecurrentStack, x: str, size: int) -> str:
    direction = graph.constant("direction_axis", np.array([1], np.int64))
    last = ""
    for index, layer in enumerate(stack.recurrent_layers()):
        names = _lstm_constants(graph, index, [layer.weights()])
        graph.node("LSTM", [x, *names], [f"y{index}", f"last{index}"], hidden_size=size)
        x = graph.node("Squeeze", [f"y{index}", direction], [f"x{index}"])
        last = f"last{index}"
    axis = graph.constant("last_axis", np.array([0], np.int64))
    return graph.node("Squeeze", [last, axis], ["rows"])
