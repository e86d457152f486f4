"""Keras weights <-> PyTorch weights of the same layer.

Keras stores kernels as [in, G*H] with gates i f c o (LSTM) and z r h (GRU); PyTorch stores
[G*H, in] with gates i f g o and r z n, and two biases per gate.
"""

import numpy as np

# PyTorch gate k is Keras gate TORCH_ORDER[k]; both maps are their own inverse.
TORCH_ORDER = {"rnn": [0], "lstm": [0, 1, 2, 3], "gru": [1, 0, 2]}


def reorder(cell, matrix):
    """Swap between the gate orders along the last axis."""
    gates = np.split(matrix, len(TORCH_ORDER[cell]), axis=-1)
    return np.concatenate([gates[k] for k in TORCH_ORDER[cell]], axis=-1)


def to_torch(cell, keras_weights, layer=0):
    """[kernel, recurrent_kernel, bias] -> {weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0}.

    A GRU must be reset-after (bias [2, 3H]); PyTorch has no other.
    """
    kernel, recurrent, bias = (reorder(cell, w) for w in keras_weights)
    bias_ih, bias_hh = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    named = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": bias_ih, "bias_hh": bias_hh}
    return {f"{name}_l{layer}": np.ascontiguousarray(w) for name, w in named.items()}


def to_keras(cell, torch_weights, layer=0):
    """The inverse of `to_torch`, except that the biases of RNN and LSTM become their sum."""
    w_ih, w_hh, b_ih, b_hh = (
        torch_weights[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    bias = np.stack([b_ih, b_hh]) if cell == "gru" else b_ih + b_hh
    return [reorder(cell, w) for w in (w_ih.T, w_hh.T, bias)]
