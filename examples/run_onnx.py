"""Landmarks by a file of `learned-descent export`, with numpy and onnxruntime alone:

    python run_onnx.py mdm.onnx crops.npy landmarks.npy

Crops are uint8 (B, S, S, 3), red first, cut as docs/export.md says; landmarks are float32
(B, L, 2), (column, row) in px of the crop."""

import json
import sys

import numpy as np
import onnxruntime


def landmarks(file: str, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    side, start = json.loads(texts["crop"]), json.loads(texts["start"])
    if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
        raise SystemExit(
            f"expected crops uint8 (B, {side}, {side}, 3), got {crops.dtype} {crops.shape}"
        )
    images = np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
    x0 = np.tile(np.float32(start).reshape(1, -1), (len(crops), 1))
    (x,) = session.run(None, {"image": images, "x0": x0})
    return x.reshape(len(crops), -1, 2)


if __name__ == "__main__":
    np.save(sys.argv[3], landmarks(sys.argv[1], np.load(sys.argv[2])))
