"""Trains an LSTM with a softmax at every step, in NumPy.

On a CPU and for a network this small that is five times as fast as a framework's loop over the steps:
the products with the input and all gradients of weights are one matrix product over all steps. Gate
order and formulas are those of Keras (i f c o), so its weights go there and back.
"""

import numpy as np


def sigmoid(x):
    return 0.5 * np.tanh(0.5 * x) + 0.5


class Lstm:
    """Weights of LSTM(units) and Dense(classes): kernel, recurrent, bias, dense kernel, dense bias."""

    def __init__(self, inputs, units, classes, rng):
        def glorot(a, b):
            limit = np.sqrt(6.0 / (a + b))
            return rng.uniform(-limit, limit, (a, b))

        orthogonal = [np.linalg.qr(rng.standard_normal((units, units)))[0] for _ in range(4)]
        bias = np.zeros(4 * units)
        bias[units : 2 * units] = 1.0
        weights = glorot(inputs, 4 * units), np.hstack(orthogonal), bias, glorot(units, classes), np.zeros(classes)
        self.weights = [w.astype(np.float32) for w in weights]
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in self.weights]
        self.steps = 0

    def gradients(self, x, y, weight, drop):
        """Loss and gradients of the mean weighted cross-entropy. Time comes first: x [T, N, I], y and
        weight [T, N]; `drop` [T, N, units] scales what the softmax sees of h."""
        kernel, recurrent, bias, head, head_bias = self.weights
        steps, samples, _ = x.shape
        units = len(recurrent)
        gates = (x.reshape(-1, x.shape[2]) @ kernel + bias).reshape(steps, samples, 4 * units)
        h, c, t = (np.zeros((steps + 1, samples, units), np.float32) for _ in range(3))
        for k in range(steps):
            z = gates[k]
            z += h[k] @ recurrent
            z[:, : 2 * units] = sigmoid(z[:, : 2 * units])
            z[:, 2 * units : 3 * units] = np.tanh(z[:, 2 * units : 3 * units])
            z[:, 3 * units :] = sigmoid(z[:, 3 * units :])
            i, f, g, o = np.split(z, 4, axis=1)
            c[k + 1] = f * c[k] + i * g
            t[k + 1] = np.tanh(c[k + 1])
            h[k + 1] = o * t[k + 1]

        seen = (h[1:] * drop).reshape(-1, units)
        logits = seen @ head + head_bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        y, weight = y.ravel(), weight.ravel()
        rows, total = np.arange(len(y)), weight.sum()
        loss = -(weight * np.log(p[rows, y] + 1e-9)).sum() / total
        p[rows, y] -= 1.0
        p *= (weight / total)[:, None]

        d_seen = (p @ head.T).reshape(steps, samples, units) * drop
        dh, dc = np.zeros((samples, units), np.float32), np.zeros((samples, units), np.float32)
        dz = np.empty_like(gates)
        for k in reversed(range(steps)):
            i, f, g, o = np.split(gates[k], 4, axis=1)
            dh += d_seen[k]
            dc += dh * o * (1.0 - t[k + 1] ** 2)
            dz[k, :, :units] = dc * g * i * (1.0 - i)
            dz[k, :, units : 2 * units] = dc * c[k] * f * (1.0 - f)
            dz[k, :, 2 * units : 3 * units] = dc * i * (1.0 - g**2)
            dz[k, :, 3 * units :] = dh * t[k + 1] * o * (1.0 - o)
            dc *= f
            dh = dz[k] @ recurrent.T
        dz = dz.reshape(-1, 4 * units)
        before = h[:-1].reshape(-1, units)
        of_weights = x.reshape(-1, x.shape[2]).T @ dz, before.T @ dz, dz.sum(axis=0), seen.T @ p, p.sum(axis=0)
        return loss, of_weights

    def adam(self, gradients, rate, decay=1e-3, clip=1.0):
        """One step of AdamW (Loshchilov and Hutter 2019), the gradients' norm clipped."""
        self.steps += 1
        norm = np.sqrt(sum(float((g**2).sum()) for g in gradients))
        scale = min(1.0, clip / (norm + 1e-9))
        for w, (mean, square), g in zip(self.weights, self.moments, gradients):
            g = g * scale
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            corrected = mean / (1.0 - 0.9**self.steps)
            w -= rate * (corrected / (np.sqrt(square / (1.0 - 0.999**self.steps)) + 1e-7) + decay * w)

    def predict(self, x):
        """Probabilities [N, T, classes] of x [N, T, I]."""
        kernel, recurrent, bias, head, head_bias = self.weights
        h = c = np.zeros((len(x), len(recurrent)), np.float32)
        answers = []
        for k in range(x.shape[1]):
            i, f, g, o = np.split(x[:, k] @ kernel + h @ recurrent + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            logits = h @ head + head_bias
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            answers.append(p / p.sum(axis=1, keepdims=True))
        return np.stack(answers, axis=1)


def train(x, y, weight, units, classes, epochs, batch, peak, change, rng):
    """The network of x [N, T, I] for y and weight [N, T]. `change` makes of a batch what it should
    learn from; the rate warms up to `peak` and falls as a cosine."""
    net = Lstm(x.shape[2], units, classes, rng)
    total = epochs * (len(x) // batch)
    for epoch in range(epochs):
        order, losses = rng.permutation(len(x)), []
        for first in range(0, len(x) - batch + 1, batch):
            chosen = order[first : first + batch]
            seen = np.ascontiguousarray(change(x[chosen]).transpose(1, 0, 2), np.float32)
            drop = (rng.random((len(seen), batch, units), np.float32) < 0.8) / np.float32(0.8)
            loss, gradients = net.gradients(seen, y[chosen].T, weight[chosen].T, drop)
            done = net.steps / total
            rate = peak * min(1.0, 10.0 * done + 0.03) * (0.5 + 0.5 * np.cos(np.pi * done))
            net.adam(gradients, rate)
            losses.append(loss)
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return net
