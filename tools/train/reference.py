"""Recurrent layers in float64 NumPy, in PyTorch's conventions.

Written from the formulas of the torch.nn documentation and independent of Keras, so that a mistake
in one reference cannot hide in the other. Weights are a dict with PyTorch's names; sequences are
x [N, T, I]; every layer starts from zero state and returns its output at every step, [N, T, H].
"""

import numpy as np


def sigmoid(a):
    return 0.5 * (1.0 + np.tanh(0.5 * a))


def relu(a):
    return np.maximum(a, 0.0)


def softmax(a):
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def parameters(weights, layer):
    """W_ih [G*H, I], W_hh [G*H, H], b_ih [G*H], b_hh [G*H] of one layer, in float64."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [np.asarray(weights[f"{name}_l{layer}"], np.float64) for name in names]


def rnn(weights, x, layer=0, activation=np.tanh):
    """h' = act(W_ih x + b_ih + W_hh h + b_hh)"""
    w_ih, w_hh, b_ih, b_hh = parameters(weights, layer)
    h = np.zeros((len(x), w_hh.shape[1]))
    steps = []
    for t in range(x.shape[1]):
        h = activation(x[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
        steps.append(h)
    return np.stack(steps, axis=1)


def lstm(weights, x, layer=0):
    """Gate rows i, f, g, o. Returns h at every step and the final cell state [N, H].

    weight_hr [P, H] projects h (proj_size: Sak et al. 2014); peepholes [3*H], which PyTorch does not
    have, are those of i, f, o (Gers and Schmidhuber 2000), o's taking the new cell state.
    """
    w_ih, w_hh, b_ih, b_hh = parameters(weights, layer)
    projection = weights.get(f"weight_hr_l{layer}")
    h = np.zeros((len(x), w_hh.shape[1]))
    c = np.zeros((len(x), len(w_ih) // 4))
    p_i, p_f, p_o = np.split(np.asarray(weights.get("peepholes", np.zeros(3 * c.shape[1])), np.float64), 3)
    steps = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=1)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
        h = sigmoid(o + p_o * c) * np.tanh(c)
        if projection is not None:
            h = h @ np.asarray(projection, np.float64).T
        steps.append(h)
    return np.stack(steps, axis=1), c


def gru(weights, x, layer=0):
    """Gate rows r, z, n; r multiplies W_hn h + b_hn, after the matrix (reset-after)."""
    w_ih, w_hh, b_ih, b_hh = parameters(weights, layer)
    h = np.zeros((len(x), w_hh.shape[1]))
    steps = []
    for t in range(x.shape[1]):
        r_x, z_x, n_x = np.split(x[:, t] @ w_ih.T + b_ih, 3, axis=1)
        r_h, z_h, n_h = np.split(h @ w_hh.T + b_hh, 3, axis=1)
        r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        h = (1.0 - z) * np.tanh(n_x + r * n_h) + z * h
        steps.append(h)
    return np.stack(steps, axis=1)


def fast(weights, x):
    """FastRNN and FastGRNN (Kusupati et al. 2018) under EdgeML's names, W and U whole or W2 W1 and U2 U1."""
    weights = {name: np.asarray(w, np.float64) for name, w in weights.items()}
    w, u = (weights[m] if m in weights else weights[f"{m}2"] @ weights[f"{m}1"] for m in "WU")
    h = np.zeros((len(x), len(u)))
    steps = []
    for t in range(x.shape[1]):
        p = x[:, t] @ w.T + h @ u.T
        n = np.tanh(p + weights["bias_update"])
        if "zeta" in weights:
            z = sigmoid(p + weights["bias_gate"])
            h = z * h + (sigmoid(weights["zeta"]) * (1.0 - z) + sigmoid(weights["nu"])) * n
        else:
            h = sigmoid(weights["beta"]) * h + sigmoid(weights["alpha"]) * n
        steps.append(h)
    return np.stack(steps, axis=1)


def layer_norm(weights, x, epsilon=1e-5):
    """weight, bias [I], over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    root = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return centred / root * np.asarray(weights["weight"], np.float64) + np.asarray(weights["bias"], np.float64)


def linear(weights, x):
    """weight [O, I], bias [O]"""
    return x @ np.asarray(weights["weight"], np.float64).T + np.asarray(weights["bias"], np.float64)
