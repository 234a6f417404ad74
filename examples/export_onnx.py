"""Take a trained pipeline to ONNX, and run it without scikit-learn or fastmlp.

    python -m pip install "fastmlp[onnx]" onnxruntime
    python examples/export_onnx.py                      # --output model.onnx

The pipeline scales the features of the breast cancer set and classifies them. One graph holds both
steps. onnxruntime, which has bindings for many languages, computes the probabilities from it.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp.onnx
from fastmlp import MLPBinaryClassifier


def trained_pipeline(X, y):
    """A scaler and a network, trained in float32, as the graph will compute."""
    network = MLPBinaryClassifier((100,), max_iter=500, dtype="float32", random_state=0)
    return make_pipeline(StandardScaler(), network).fit(X, y)


def to_graph(pipeline, X):
    """The graph of a whole pipeline; skl2onnx reads the type of the input from a row of X."""
    import skl2onnx

    fastmlp.onnx.register_converter()
    return skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})


def run(path, X):
    """Labels and probabilities that onnxruntime computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["label", "probabilities"], {"X": X})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="model.onnx", help="where the graph goes")
    output = parser.parse_args().output

    data = load_breast_cancer()
    names = data.target_names[data.target]
    X_train, X_test, y_train, y_test = train_test_split(
        data.data.astype(np.float32), names, random_state=0, stratify=names
    )
    pipeline = trained_pipeline(X_train, y_train)
    graph = to_graph(pipeline, X_train)
    Path(output).write_bytes(graph.SerializeToString())
    print(f"{output}: {Path(output).stat().st_size:,} bytes, inputs and outputs:")
    for value in (*graph.graph.input, *graph.graph.output):
        print(f"  {value.name}")

    label, probabilities = run(output, X_test)
    gap = np.abs(probabilities - pipeline.predict_proba(X_test)).max()
    print(f"onnxruntime is right about {np.mean(label == y_test):.1%} of {len(label)} rows")
    print(f"its probabilities differ from predict_proba by at most {gap:.0e}")

    # A network by itself needs no registration: its graph takes what the scaler has made.
    graph = pipeline[-1].to_onnx()
    version = {each.key: each.value for each in graph.metadata_props}["fastmlp"]
    print(f"the network alone: {len(graph.graph.node)} nodes, written by fastmlp {version}")


if __name__ == "__main__":
    main()
