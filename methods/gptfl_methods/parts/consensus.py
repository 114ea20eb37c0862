"""What an ensemble of clients agrees and disagrees on: Fed-ET's weighted consensus.

Cho, Manoel, Joshi, Sim, Dimitriadis, "Heterogeneous Ensemble Knowledge Transfer for Training Large
Models in Federated Learning", IJCAI 2022, arXiv 2204.12703.
"""

import torch
from torch import Tensor


def consensus(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the labels that clients agree on and the soft labels of those who disagree.

    With s_k a client's logits and v_k their variance over classes, its confidence: the label is
    argmax of sum_k v_k s_k / sum_k v_k, and the soft label the softmax of the same mean over the
    clients whose own argmax is another. Confidence grows with the scale of a client's logits.

    Args:
        logits: Logits of m clients on N samples, (m, N, C).

    Returns:
        Labels (N,), and soft labels (N, C) whose rows are zero where no client disagrees.
    """
    confidence = logits.var(2, keepdim=True)
    labels = _mean(logits, confidence).argmax(1)
    dissent = confidence * (logits.argmax(2) != labels).unsqueeze(2)
    return labels, _mean(logits, dissent).softmax(1) * (dissent.sum(0) > 0)


def _mean(logits: Tensor, weight: Tensor) -> Tensor:
    return (weight * logits).sum(0) / weight.sum(0).clamp(min=torch.finfo(weight.dtype).tiny)
