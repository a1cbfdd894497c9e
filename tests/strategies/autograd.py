"""The head once more, written in torch, for gradients that owe nothing to ours."""

import numpy as np


def logits(torch, head, flat, latents, gates=None):
    """Logits of flat torch weights; `gates` by hidden layer multiply its units' outputs."""
    start, width, active = 0, head.dim, torch.as_tensor(latents, dtype=torch.float64)
    for layer, out in enumerate(head.hidden):
        matrix = flat[start : start + out * width].view(out, width)
        bias = flat[start + out * width : start + out * (width + 1)]
        active = torch.relu(active @ matrix.T + bias)
        if gates is not None:
            active = active * gates[layer]
        start, width = start + out * (width + 1), out
    rows = flat[start:].view(-1, width + head.bias)
    return active @ rows[:, :width].T + (rows[:, -1] if head.bias else 0)


def leaf(torch, values):
    """A float64 copy of an array whose gradient is wanted."""
    return torch.tensor(np.asarray(values), dtype=torch.float64, requires_grad=True)
