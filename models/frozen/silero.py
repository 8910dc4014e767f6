"""Silero VAD: the probability of speech in every 32 ms, from the network in the silero-vad wheel."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.frozen import Wave, code_of, fingerprint_of, onnx_session, wheel_file

FRAME = 512
CONTEXT = 64
BLOCK_FRAMES = 512
COLUMNS, WINDOW, STEP = 4, 256, 128
"""Spectra of a frame and its context: how many, of how many samples, how far apart."""


class Silero:
    """Speech probabilities; the recurrent state lives inside a call, so calls neither influence nor disturb another."""

    RATE_HZ = 16000
    FRAME_SECONDS = FRAME / 16000

    def __init__(self) -> None:
        self.path = wheel_file("silero_vad", "data", "silero_vad_16k_sequence.onnx")

    @property
    def fingerprint(self) -> str:
        """Version and weights."""
        return fingerprint_of("silero", package="silero-vad", weights=[self.path], code=code_of("frozen/silero.py"))

    def __call__(self, waves: Sequence[Wave]) -> list[NDArray[np.float32]]:
        """One array a waveform (16 kHz): the probability of speech in each 32 ms frame, the last one zero-padded."""
        return [self.probabilities(wave_S) for wave_S in waves]

    def probabilities(self, wave_S: Wave) -> NDArray[np.float32]:
        """Frames with the 4 ms before them, in blocks: the same numbers as frame by frame, in few calls."""
        count = -(-len(wave_S) // FRAME)
        padded = np.zeros(CONTEXT + count * FRAME, dtype=np.float32)
        padded[CONTEXT : CONTEXT + len(wave_S)] = wave_S
        frames = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME] if count else padded[:0]
        hidden, cell = np.zeros((2, 1, 1, 128), dtype=np.float32)
        found = [np.zeros(0, dtype=np.float32)]
        for start in range(0, count, BLOCK_FRAMES):
            block = np.ascontiguousarray(frames[start : start + BLOCK_FRAMES])
            feed = {"input": block, "h": hidden, "c": cell}
            speech, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], feed)
            found.append(speech.reshape(-1))
        return np.concatenate(found)

    @cached_property
    def _session(self) -> Any:
        return onnx_session(by_products(self.path))


def by_products(path: Path) -> bytes:
    """The released network with its convolutions as products of matrices, for onnxruntime.

    They go over the four columns of one frame, and such short ones are computed frame by frame: as products over all
    frames of a block, the network takes a third of the time, and gives the same to 1e-4.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    weights = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    recurrent = next(number for number, node in enumerate(graph.node) if node.op_type == "LSTM")
    basis, *layers = [
        [weights[name] for name in node.input[1:]] for node in graph.node[:recurrent] if node.op_type == "Conv"
    ]
    bins = WINDOW // 2 + 1
    made: dict[str, NDArray[Any]] = {"each": np.array([-1, 2 * bins]), "all": np.array([-1, COLUMNS * bins])}
    made["parts"] = np.array([bins, bins])
    nodes = []
    for column in range(COLUMNS):
        made[f"basis{column}"] = spectrum_matrix(basis[0], column=column)
        made |= {f"from{column}": np.array([column * STEP]), f"to{column}": np.array([column * STEP + WINDOW])}
        nodes += [
            helper.make_node("Slice", ["input", f"from{column}", f"to{column}", "axis"], [f"window{column}"]),
            helper.make_node("MatMul", [f"window{column}", f"basis{column}"], [f"spectrum{column}"]),
        ]
    made["axis"] = np.array([1])
    nodes += [
        helper.make_node("Concat", [f"spectrum{column}" for column in range(COLUMNS)], ["spectra"], axis=1),
        helper.make_node("Mul", ["spectra", "spectra"], ["squares"]),
        helper.make_node("Reshape", ["squares", "each"], ["columns"]),
        helper.make_node("Split", ["columns", "parts"], ["real", "imaginary"], axis=1),
        helper.make_node("Add", ["real", "imaginary"], ["power"]),  # ReduceL2 over pairs takes twice the time
        helper.make_node("Sqrt", ["power"], ["size"]),
        helper.make_node("Reshape", ["size", "all"], ["layer0"]),
    ]
    length = COLUMNS
    for number, ((kernel, bias), stride) in enumerate(zip(layers, (1, 2, 2, 1), strict=True)):
        made[f"kernel{number}"] = convolution_matrix(kernel, length=length, stride=stride)
        length = -(-length // stride)
        made[f"bias{number}"] = np.tile(bias, length)
        nodes += [
            helper.make_node("Gemm", [f"layer{number}", f"kernel{number}", f"bias{number}"], [f"sum{number}"]),
            helper.make_node("Relu", [f"sum{number}"], [f"layer{number + 1}"]),
        ]
    heard = graph.node[recurrent].input[0]
    nodes.append(helper.make_node("Unsqueeze", [f"layer{len(layers)}", "axis"], [heard]))
    kept = [*nodes, *graph.node[recurrent:]]
    used = {name for node in kept for name in node.input}
    initializers = [numpy_helper.from_array(array, name) for name, array in made.items()]
    initializers += [item for item in graph.initializer if item.name in used]
    whole = helper.make_graph(kept, "silero", graph.input, graph.output, initializers)
    return bytes(
        helper.make_model(whole, opset_imports=model.opset_import, ir_version=model.ir_version).SerializeToString()
    )


def spectrum_matrix(basis: NDArray[np.float32], *, column: int) -> NDArray[np.float32]:
    """[samples, bins]: what a frame's samples are multiplied by; those past its end mirror the ones before it."""
    window = basis[:, 0].T
    inside = min(CONTEXT + FRAME - column * STEP, WINDOW)
    matrix = window[:inside].copy()
    matrix[2 * inside - WINDOW - 1 : inside - 1] += window[inside:][::-1]
    return matrix


def convolution_matrix(kernel: NDArray[np.float32], *, length: int, stride: int) -> NDArray[np.float32]:
    """[columns x channels in, columns x channels out]: the convolution, zero-padded, over so many columns."""
    channels_out, channels_in, taps = kernel.shape
    matrix = np.zeros((length, channels_in, -(-length // stride), channels_out), dtype=np.float32)
    for column in range(matrix.shape[2]):
        for tap in range(taps):
            at = column * stride + tap - taps // 2
            if 0 <= at < length:
                matrix[at, :, column] = kernel[:, :, tap].T
    return matrix.reshape(length * channels_in, -1)
